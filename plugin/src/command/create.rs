//! `create`: apply the Cluster, follow it until it is ready, add it to the kubeconfig.

pub(super) mod follow;
mod hint;
mod manifest;
mod namespace;

pub(super) use hint::fix;

use super::kubeconfig;
use crate::cli::{ConnectionFlags, CreateArgs, DryRun};
use crate::clusters::{self, RESOURCE, Target};
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::merge;
use crate::output::object::{self, Format};
use crate::output::progress::Progress;
use crate::output::{age, terminal::Terminal};
use k3k_api::managers;
use k3k_api::v1beta1::Mode;
use kube::api::{Api, DynamicObject, Patch, PatchParams, ValidationDirective};
use kube::core::{NamespaceResourceScope, Status};
use serde_json::Value;

/// Runs `create`.
pub(super) async fn run(
    args: &CreateArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let base = args.filename.as_deref().map(manifest::read).transpose()?;
    let target = manifest::target(args, flags.namespace.as_deref(), base.as_ref())?;
    target.fit_for_creation()?;
    let namespace = target.candidates("default").remove(0);
    let cluster = manifest::build(args, &target.name, &namespace, base)?;
    let dry = args.dry_run.dry_run;
    if dry == DryRun::Client {
        return print(terminal, args.output, cluster, dry);
    }

    let connection = connect::connect(flags, terminal).await?;
    clusters::installed(&connection, &namespace).await?;
    absent(&connection, &target.name, &namespace).await?;
    let wanted = namespace::Wanted {
        name: &namespace,
        may_make: args.create_namespace || target.namespace.is_none(),
        policy: args.policy.as_deref(),
    };
    let prepared = namespace::prepare(&connection, terminal, &wanted, dry).await?;

    let applied = match apply(&connection, &cluster, prepared.apply_in(&namespace), dry).await {
        Ok(applied) => applied,
        Err(error) => {
            // A refused cluster leaves nothing behind.
            prepared.undo(&connection).await;
            return Err(error);
        }
    };
    print(terminal, args.output, clusters::json(&applied), dry)?;
    if dry == DryRun::Server {
        return Ok(Exit::Done);
    }
    if !args.wait.waits() {
        terminal.notes(&[("watch", format!("kubectl k3k describe {namespace}/{}", target.name))]);
        return Ok(Exit::Done);
    }

    let uid = applied.metadata.uid.clone().unwrap_or_default();
    let mut progress = Progress::new(terminal, &target.name);
    progress.done("Request accepted", &manifest::summary(&cluster));
    let ready =
        follow::until_ready(&connection, &target.name, &namespace, &uid, args.wait.timeout, &mut progress);
    Box::pin(ready).await?;
    finish(args, &connection, terminal, &target.name, &namespace, progress).await
}

/// Fails if the cluster exists.
async fn absent(connection: &Connection, name: &str, namespace: &str) -> Result<(), Error> {
    match clusters::api(connection, namespace).get_metadata_opt(name).await {
        Ok(None) => Ok(()),
        Ok(Some(existing)) if existing.metadata.deletion_timestamp.is_some() => Err(Error::State {
            message: format!("cluster \"{name}\" in namespace \"{namespace}\" is still being deleted"),
            notes: vec![("watch", format!("kubectl k3k describe {namespace}/{name}"))],
        }),
        Ok(Some(_)) => Err(Error::AlreadyExists { name: name.to_owned(), namespace: namespace.to_owned() }),
        Err(error) => {
            match connection.explain(Action::new("get", RESOURCE).on(name).within(namespace), &error) {
                // Server-side apply decides then.
                Error::Forbidden { .. } => Ok(()),
                error => Err(error),
            }
        }
    }
}

async fn apply(
    connection: &Connection,
    cluster: &Value,
    namespace: &str,
    dry: DryRun,
) -> Result<DynamicObject, Error> {
    let name = cluster["metadata"]["name"].as_str().unwrap_or_default();
    let mut cluster = cluster.clone();
    cluster["metadata"]["namespace"] = namespace.into();
    // Create only: an object of that name has another version.
    cluster["metadata"]["resourceVersion"] = "0".into();
    let parameters = PatchParams {
        dry_run: dry == DryRun::Server,
        force: false,
        field_manager: Some(managers::PLUGIN.to_owned()),
        field_validation: Some(ValidationDirective::Strict),
    };
    Api::<DynamicObject>::namespaced_with(connection.client.clone(), namespace, &clusters::resource())
        .patch(name, &parameters, &Patch::Apply(&cluster))
        .await
        .map_err(|error| match &error {
            kube::Error::Api(status) if exists(status) => {
                Error::AlreadyExists { name: name.to_owned(), namespace: namespace.to_owned() }
            }
            error => connection.explain(Action::new("create", RESOURCE).on(name).within(namespace), error),
        })
}

/// Whether the host refused a version that no existing object has.
pub(super) fn exists(status: &Status) -> bool {
    status.code == 409
        || status.details.as_ref().is_some_and(|details| {
            details.causes.iter().any(|cause| cause.field == "metadata.resourceVersion")
        })
}

fn print(terminal: &Terminal, output: Option<Format>, cluster: Value, dry: DryRun) -> Result<Exit, Error> {
    let text = match output {
        Some(format @ (Format::Json | Format::Yaml | Format::Name)) => {
            object::render(format, &[object::without_managed_fields(cluster)], true)?
        }
        _ => format!("{} created{}\n", object::reference(&cluster), dry.suffix()),
    };
    terminal.data(&text)?;
    Ok(Exit::Done)
}

/// The kubeconfig and the last words.
async fn finish(
    args: &CreateArgs,
    connection: &Connection,
    terminal: &Terminal,
    name: &str,
    namespace: &str,
    mut progress: Progress,
) -> Result<Exit, Error> {
    let target = Target { name: name.to_owned(), namespace: Some(namespace.to_owned()) };
    let entry = kubeconfig::entry(connection, &target, args.kubeconfig_server.as_deref(), None).await?;
    let took = age::short(progress.elapsed());
    let join =
        (args.mode == Some(Mode::Hcp)).then(|| ("join", super::join::command(&short(name, namespace))));
    if args.no_kubeconfig {
        terminal.note(&format!("{name}: ready after {took}"));
        let mut notes = vec![("use", format!("kubectl k3k kubectl {namespace}/{name} -- get nodes"))];
        notes.extend(join);
        terminal.notes(&notes);
        return Ok(Exit::Done);
    }
    let options = merge::Options { switch: args.connect, overwrite: false };
    let merged = match merge::add(&connection.files, &entry, options) {
        Ok(merged) => merged,
        Err(error) => {
            progress.fail("Kubeconfig", &error.to_string());
            return Err(Error::Waited {
                message: format!("{name} is ready, but it was not added to your kubeconfig"),
                notes: vec![
                    ("cause", error.to_string()),
                    ("try", format!("kubectl k3k kubeconfig merge {namespace}/{name} --context-name NAME")),
                    ("or", format!("kubectl k3k kubectl {namespace}/{name} -- get nodes")),
                ],
            });
        }
    };
    let context = &entry.name;
    let path = kubeconfig::shown(&merged.path);
    progress.done("Kubeconfig", &format!("context \"{context}\" added to {path}"));
    terminal.note(&format!("{name}: ready after {took}"));
    let switch = format!("kubectl config use-context {context}");
    let mut notes = Vec::new();
    match (connect::current_context(&connection.files), merged.previous) {
        (Some(current), Some(previous)) if current == *context => {
            terminal.note(&format!("Your current context is \"{context}\" now (was \"{previous}\")."));
            notes.push(("back", format!("kubectl config use-context {previous}")));
        }
        (Some(current), _) if current == *context => {
            terminal.note(&format!("Your current context is \"{context}\"."));
        }
        (Some(current), _) => {
            terminal.note(&format!("Your current context is still \"{current}\"."));
            notes.push(("switch", switch));
        }
        (None, _) => notes.push(("switch", switch)),
    }
    notes.push(("use", format!("kubectl k3k kubectl {} -- get nodes", short(name, namespace))));
    notes.extend(join);
    terminal.notes(&notes);
    Ok(Exit::Done)
}

/// The shortest form of a cluster's name that finds it again.
pub(super) fn short(name: &str, namespace: &str) -> String {
    if namespace == k3k_api::names::default_namespace(name) {
        name.to_owned()
    } else {
        format!("{namespace}/{name}")
    }
}

/// A namespaced API of the connection.
pub(super) fn namespaced<K>(connection: &Connection, namespace: &str) -> Api<K>
where
    K: kube::Resource<Scope = NamespaceResourceScope>,
    K::DynamicType: Default,
{
    Api::namespaced(connection.client.clone(), namespace)
}
