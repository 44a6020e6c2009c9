//! `policy bind`: have a policy govern namespaces.

use super::sentences;
use crate::cli::{ConnectionFlags, DryRun, PolicyBindArgs};
use crate::clusters;
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::install;
use crate::output::terminal::Terminal;
use crate::policies;
use k3k_api::{labels, managers};
use k3k_policy::Policy;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

/// A namespace that is to be bound.
pub(super) struct Binding {
    namespace: Namespace,
    /// The policy that it is bound to now.
    from: Option<String>,
}

/// Runs `policy bind`.
pub(super) async fn run(
    args: &PolicyBindArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let name = policies::name(&args.name)?;
    let mut names =
        args.namespaces.iter().map(|name| policies::namespace(name)).collect::<Result<Vec<_>, _>>()?;
    names.sort();
    names.dedup();
    let connection = connect::connect(flags, terminal).await?;
    let policy = policies::compile(&policies::find(&connection, &name).await?)?;
    // All are looked at before the first is bound.
    let mut bindings = Vec::new();
    for namespace in &names {
        bindings.push(plan(&connection, &name, namespace, args.overwrite).await?);
    }
    for binding in &bindings {
        carry_out(&connection, terminal, &policy, binding, args.dry_run.dry_run).await?;
    }
    Ok(Exit::Done)
}

/// Looks at a namespace that is to be bound to `policy`.
pub(super) async fn plan(
    connection: &Connection,
    policy: &str,
    name: &str,
    overwrite: bool,
) -> Result<Binding, Error> {
    if ["kube-system", "kube-public", "kube-node-lease", install::NAMESPACE].contains(&name) {
        return Err(Error::State {
            message: format!(
                "namespace \"{name}\" is the host's own and holds no clusters: nothing is bound there"
            ),
            notes: Vec::new(),
        });
    }
    let namespace = policies::namespace_of(connection, name).await?;
    if namespace.metadata.deletion_timestamp.is_some() {
        return Err(Error::State {
            message: format!("namespace \"{name}\" is being deleted"),
            notes: Vec::new(),
        });
    }
    let from = policies::of_namespace(&namespace).map(str::to_owned);
    if let Some(current) = from.as_deref().filter(|current| *current != policy && !overwrite) {
        return Err(Error::State {
            message: format!("namespace \"{name}\" is bound to policy \"{current}\""),
            notes: vec![("change", format!("kubectl k3k policy bind {policy} {name} --overwrite"))],
        });
    }
    Ok(Binding { namespace, from })
}

/// Binds a namespace, and says what changes there.
pub(super) async fn carry_out(
    connection: &Connection,
    terminal: &Terminal,
    policy: &Policy,
    binding: &Binding,
    dry: DryRun,
) -> Result<(), Error> {
    let name = binding.namespace.metadata.name.as_deref().unwrap_or_default();
    if binding.from.as_deref() == Some(policy.name.as_str()) {
        return terminal.data(&format!("namespace/{name} unchanged{}\n", dry.suffix()));
    }
    if dry != DryRun::Client {
        label(connection, &binding.namespace, Some(&policy.name), dry).await?;
    }
    terminal.data(&format!(
        "namespace/{name} bound to {}/{}{}\n",
        policies::REFERENCE,
        policy.name,
        dry.suffix()
    ))?;
    let before = match &binding.from {
        Some(from) => match policies::find(connection, from).await {
            Ok(object) => policies::compile(&object).ok(),
            Err(_) => None,
        },
        None => Some(Policy::default()),
    };
    let was = match &binding.from {
        Some(from) => format!("policy \"{from}\""),
        None => "the default policy".to_owned(),
    };
    terminal.note(&format!("  {name} was governed by {was}. What changes:"));
    let changes = match before {
        Some(before) => sentences::differences(&before, policy),
        None => sentences::areas(policy).into_iter().map(|(area, lines)| (area, lines.join("; "))).collect(),
    };
    if changes.is_empty() {
        terminal.note("    nothing: both say the same");
    }
    for (area, change) in changes {
        terminal.note(&format!("    {area:<12} {change}"));
    }
    clusters_there(connection, terminal, policy, name).await;
    Ok(())
}

/// Clusters that the policy would not allow.
async fn clusters_there(connection: &Connection, terminal: &Terminal, policy: &Policy, namespace: &str) {
    // Whoever may not look at clusters is told nothing of them.
    let Ok(clusters) = clusters::api(connection, namespace).list(&ListParams::default()).await else {
        return;
    };
    let allowed = policy.spec.allowed_mode();
    for cluster in clusters.items.iter().filter(|cluster| cluster.spec.mode() != allowed) {
        let name = cluster.metadata.name.as_deref().unwrap_or_default();
        terminal.warn(&format!(
            "cluster \"{name}\" in namespace \"{namespace}\" is in mode {}, and policy \"{}\" allows only {allowed}",
            cluster.spec.mode(),
            policy.name
        ));
    }
}

/// Writes the label of a namespace as it was looked at.
pub(super) async fn label(
    connection: &Connection,
    namespace: &Namespace,
    policy: Option<&str>,
    dry: DryRun,
) -> Result<(), Error> {
    let name = namespace.metadata.name.as_deref().unwrap_or_default();
    let mut metadata = json!({ "labels": { labels::POLICY_NAME: policy.map_or(Value::Null, Into::into) } });
    if let Some(version) = &namespace.metadata.resource_version {
        metadata["resourceVersion"] = version.as_str().into();
    }
    let parameters = PatchParams {
        dry_run: dry == DryRun::Server,
        field_manager: Some(managers::PLUGIN.to_owned()),
        ..PatchParams::default()
    };
    let patch = Patch::Merge(json!({ "metadata": metadata }));
    match Api::<Namespace>::all(connection.client.clone()).patch_metadata(name, &parameters, &patch).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_conflict() => Err(Error::State {
            message: format!("namespace \"{name}\" was changed by somebody else meanwhile"),
            notes: vec![("try", "the same again".to_owned())],
        }),
        Err(error) => Err(connection.explain(Action::new("patch", "namespaces").on(name), &error)),
    }
}
