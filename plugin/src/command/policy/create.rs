//! `policy create`: apply the policy, and bind namespaces to it.

use super::bind;
use crate::cli::{
    ConnectionFlags, DigestFlag, DryRun, PlacementFlag, PolicyCreateArgs, PullPolicyFlag, RegistryFlag,
    ServiceTypeFlag,
};
use crate::command::create::exists as is_taken;
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::manifests;
use crate::output::object::{self, Format};
use crate::output::terminal::Terminal;
use crate::policies::{self, API_VERSION, KIND, RESOURCE};
use k3k_api::managers;
use k3k_api::v1beta1::policy::{DigestRule, Placement};
use kube::api::{Patch, PatchParams, ValidationDirective};
use serde_json::{Map, Value, json};

/// Runs `policy create`.
pub(super) async fn run(
    args: &PolicyCreateArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let base = args.filename.as_deref().map(|path| manifests::one(path, API_VERSION, KIND)).transpose()?;
    let object = build(args, base)?;
    let policy = check(&object)?;
    let namespaces =
        args.namespaces.iter().map(|name| policies::namespace(name)).collect::<Result<Vec<_>, _>>()?;
    let dry = args.dry_run.dry_run;
    if dry == DryRun::Client {
        print(terminal, args.output, object, dry)?;
        return Ok(Exit::Done);
    }
    let connection = connect::connect(flags, terminal).await?;
    absent(&connection, &policy.name).await?;
    // All namespaces are looked at before anything is made.
    let mut bindings = Vec::new();
    for name in &namespaces {
        bindings.push(bind::plan(&connection, &policy.name, name, args.overwrite).await?);
    }
    let applied = apply(&connection, &object, dry).await?;
    print(terminal, args.output, applied, dry)?;
    for binding in &bindings {
        bind::carry_out(&connection, terminal, &policy, binding, dry).await?;
    }
    if namespaces.is_empty() && dry == DryRun::None {
        terminal.notes(&[("bind", format!("kubectl k3k policy bind {} NAMESPACE", policy.name))]);
    }
    Ok(Exit::Done)
}

/// The policy: the file, with the flags over it.
fn build(args: &PolicyCreateArgs, base: Option<Value>) -> Result<Value, Error> {
    let mut object = base.unwrap_or_else(|| json!({}));
    let in_file = object["metadata"]["name"].as_str().map(str::to_owned);
    let name = match (&args.name, in_file) {
        (Some(name), in_file) => {
            let name = policies::name(name)?;
            if let Some(in_file) = in_file.filter(|in_file| *in_file != name) {
                return Err(Error::usage(format!("the file describes \"{in_file}\", not \"{name}\"")));
            }
            name
        }
        (None, Some(in_file)) => policies::name(&in_file)?,
        (None, None) => {
            return Err(Error::usage("the policy has no name: give NAME, or metadata.name in the file"));
        }
    };
    object["apiVersion"] = API_VERSION.into();
    object["kind"] = KIND.into();
    object["metadata"]["name"] = name.into();
    if let Some(map) = object.as_object_mut() {
        map.remove("status");
    }
    for (key, pairs) in [("labels", &args.labels), ("annotations", &args.annotations)] {
        if !object["metadata"][key].is_object() && !object["metadata"][key].is_null() {
            return Err(Error::usage(format!("metadata.{key}: must be a map")));
        }
        for (name, value) in pairs {
            object["metadata"][key][name] = value.as_str().into();
        }
    }
    if object["spec"].is_null() {
        object["spec"] = json!({});
    }
    // Flags are laid over what can be understood.
    k3k_policy::read_policy(&object).map_err(|error| Error::usage(error.to_string()))?;
    fill(args, &mut object["spec"]);
    Ok(object)
}

fn fill(args: &PolicyCreateArgs, spec: &mut Value) {
    if let Some(mode) = args.mode {
        spec["allowedMode"] = mode.as_str().into();
    }
    if let Some(level) = args.level {
        spec["podSecurityAdmissionLevel"] = level.as_str().into();
    }
    if let Some(digest) = args.digest {
        spec["images"]["digest"] = match digest {
            DigestFlag::Off => "Off",
            DigestFlag::Require => "Require",
            DigestFlag::Resolve => "Resolve",
        }
        .into();
    }
    if let Some(pull_policy) = args.pull_policy {
        spec["images"]["pullPolicy"] = match pull_policy {
            PullPolicyFlag::Always => "Always",
            PullPolicyFlag::IfNotPresent => "IfNotPresent",
        }
        .into();
    }
    if !args.registries.is_empty() {
        spec["images"]["allowedRegistries"] = registries(&args.registries);
    }
    if !args.service_types.is_empty() {
        let types = args.service_types.iter().map(|kind| match kind {
            ServiceTypeFlag::ClusterIP => "ClusterIP",
            ServiceTypeFlag::NodePort => "NodePort",
            ServiceTypeFlag::LoadBalancer => "LoadBalancer",
            ServiceTypeFlag::ExternalName => "ExternalName",
        });
        spec["network"]["services"]["types"] = types.collect::<Vec<_>>().into();
    }
    if !args.node_selector.is_empty() {
        spec["nodes"]["requiredSelector"] = map(&args.node_selector);
    }
    if let Some(placement) = args.placement {
        spec["nodes"]["placement"] = match placement {
            PlacementFlag::Shared => "Shared",
            PlacementFlag::Dedicated => "Dedicated",
            PlacementFlag::Exclusive => "Exclusive",
        }
        .into();
    }
    if !args.quota.is_empty() {
        spec["quota"]["hard"] = map(&args.quota);
    }
}

fn map(pairs: &[(String, String)]) -> Value {
    Value::Object(
        pairs.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect::<Map<_, _>>(),
    )
}

/// One entry for each host. A host without repositories means all of them.
fn registries(flags: &[RegistryFlag]) -> Value {
    let mut hosts: Vec<(&str, Option<Vec<&str>>)> = Vec::new();
    for flag in flags {
        let repositories = flag.repositories.as_deref();
        match hosts.iter_mut().find(|(host, _)| *host == flag.host) {
            Some((_, known)) => match (known.as_mut(), repositories) {
                (Some(known), Some(more)) => known.push(more),
                _ => *known = None,
            },
            None => hosts.push((&flag.host, repositories.map(|one| vec![one]))),
        }
    }
    let entries = hosts.into_iter().map(|(host, repositories)| match repositories {
        Some(repositories) => json!({ "host": host, "repositories": repositories }),
        None => json!({ "host": host }),
    });
    Value::Array(entries.collect())
}

/// What the API server and the webhook would refuse, or what nobody can have meant. They have the last word.
fn check(object: &Value) -> Result<k3k_policy::Policy, Error> {
    let policy = k3k_policy::read_policy(object).map_err(|error| Error::usage(error.to_string()))?;
    let images = policy.spec.images.clone().unwrap_or_default();
    if policy.digest() == DigestRule::Resolve
        && images.allowed_registries.is_empty()
        && images.pins.is_empty()
    {
        return Err(Error::usage_hint(
            "spec.images.digest: Resolve needs registries that may be asked",
            "--registry registry.example.com, or --digest require",
        ));
    }
    let nodes = policy.spec.nodes.clone().unwrap_or_default();
    let held = nodes.required_selector.keys().any(|key| key.contains("node-restriction.kubernetes.io/"));
    if policy.placement() != Placement::Shared && !held {
        return Err(Error::usage_hint(
            format!(
                "spec.nodes.placement: {:?} needs a label of nodes that no node can give itself",
                policy.placement()
            ),
            "--node-selector k3k.node-restriction.kubernetes.io/tenant=TENANT",
        ));
    }
    Ok(policy)
}

/// Fails if the policy exists.
async fn absent(connection: &Connection, name: &str) -> Result<(), Error> {
    match policies::find(connection, name).await {
        Ok(_) => Err(exists(name)),
        // Server-side apply decides when one may not look.
        Err(Error::Forbidden { .. } | Error::State { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

fn exists(name: &str) -> Error {
    Error::State {
        message: format!("policy \"{name}\" already exists"),
        notes: vec![
            ("look", format!("kubectl k3k policy describe {name}")),
            ("change", format!("kubectl edit {}/{name}", policies::REFERENCE)),
            ("bind", format!("kubectl k3k policy bind {name} NAMESPACE")),
        ],
    }
}

async fn apply(connection: &Connection, object: &Value, dry: DryRun) -> Result<Value, Error> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let mut object = object.clone();
    // Create only: an object of that name has another version.
    object["metadata"]["resourceVersion"] = "0".into();
    let parameters = PatchParams {
        dry_run: dry == DryRun::Server,
        force: false,
        field_manager: Some(managers::PLUGIN.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    policies::api(connection)
        .patch(name, &parameters, &Patch::Apply(&object))
        .await
        .map(|applied| policies::complete(&applied))
        .map_err(|error| match &error {
            kube::Error::Api(status) if is_taken(status) => exists(name),
            error => connection.explain(Action::new("create", RESOURCE).on(name), error),
        })
}

fn print(terminal: &Terminal, output: Option<Format>, object: Value, dry: DryRun) -> Result<(), Error> {
    match output {
        Some(format @ (Format::Json | Format::Yaml | Format::Name)) => {
            terminal.data(&object::render(format, &[object::without_managed_fields(object)], true)?)
        }
        Some(Format::Wide) | None => {
            terminal.data(&format!("{} created{}\n", object::reference(&object), dry.suffix()))
        }
    }
}

#[cfg(test)]
#[path = "create/tests.rs"]
mod tests;
