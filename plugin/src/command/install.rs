//! `install`: the embedded manifests into the host, in an order that works, and waiting until they run.

use super::host;
use super::interrupt::{asked_to_stop, deadline};
use super::remains::Patience;
use crate::cli::{ConnectionFlags, DryRun, InstallArgs};
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::install::apply::{self, Outcome, marked};
use crate::install::rollout::{self, Rollout};
use crate::install::{CONTROLLER, NAMESPACE, WEBHOOK, chart, values};
use crate::output::object::{self, Format};
use crate::output::progress::Progress;
use crate::output::{age, terminal::Terminal};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ListParams};
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use std::pin::pin;
use std::time::Duration;

/// Runs `install`.
pub(super) async fn run(
    args: &InstallArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let namespace = flags.namespace.as_deref().unwrap_or(NAMESPACE);
    let manifests = Manifests::build(args, namespace)?;
    let dry = args.dry_run.dry_run;
    if let Some(format) = args.output {
        if dry == DryRun::None {
            return Err(Error::usage_hint(
                "-o prints the manifests instead of applying them",
                "add --dry-run=client",
            ));
        }
        terminal.data(&manifests.print(format.into())?)?;
        if dry == DryRun::Client {
            return Ok(Exit::Done);
        }
    }
    if dry == DryRun::Client {
        for object in manifests.all() {
            terminal.data(&format!("{} created{}\n", object::reference(object), dry.suffix()))?;
        }
        return Ok(Exit::Done);
    }

    let connection = connect::connect_here(flags, terminal).await?;
    let host = host::version(&connection).await?;
    host::not_helms(&connection, namespace).await?;
    terminal.note(&format!("Context {} · Kubernetes {host}", connection.context));
    let mut progress = Progress::new(terminal, "install");
    let said = |object: &Value, outcome: Outcome| {
        // With -o, stdout belongs to the manifests.
        if args.output.is_some() {
            return Ok(());
        }
        terminal.data(&format!("{} {}{}\n", object::reference(object), outcome.word(), dry.suffix()))
    };

    progress.show("Resource definitions", "applying");
    for object in &manifests.crds {
        said(object, apply::apply(&connection, object, dry).await?)?;
    }
    if dry == DryRun::None {
        established(&connection, &manifests.crds, args.wait.timeout, &mut progress).await?;
    }
    progress.done("Resource definitions", &format!("{} established", manifests.crds.len()));

    progress.show("Objects", "applying");
    let absent = dry == DryRun::Server && !host::namespace_exists(&connection, namespace).await?;
    for object in std::iter::once(&manifests.namespace).chain(&manifests.objects) {
        if absent && object["metadata"].get("namespace").is_some() {
            // The host judges nothing in a namespace that is not there.
            said(object, Outcome::Created)?;
            continue;
        }
        said(object, apply::apply(&connection, object, dry).await?)?;
    }
    if dry == DryRun::Server {
        progress.done("Objects", "checked by the host");
        return Ok(Exit::Done);
    }
    let pruned = prune(&connection, namespace, &manifests, terminal).await?;
    let more = if pruned == 0 { String::new() } else { format!(", {pruned} old ones removed") };
    progress.done("Objects", &format!("{} in namespace {namespace}{more}", manifests.objects.len()));

    if !args.wait.waits() {
        progress.clear();
        terminal.notes(&[("watch", format!("kubectl rollout status deployment -n {namespace}"))]);
        return Ok(Exit::Done);
    }
    let mut patience = Patience::new(args.wait.timeout);
    for (title, deployment) in [("Controller", CONTROLLER), ("Webhook", WEBHOOK)] {
        running(&connection, namespace, (title, deployment), args.wait.timeout, &mut patience, &mut progress)
            .await?;
    }
    let took = age::short(progress.elapsed());
    drop(progress);
    terminal.note(&format!(
        "\nK3k v{} is ready after {took}. Next:  kubectl k3k create dev",
        env!("CARGO_PKG_VERSION")
    ));
    Ok(Exit::Done)
}

/// Everything that is applied, in its order.
struct Manifests {
    crds: Vec<Value>,
    namespace: Value,
    objects: Vec<Value>,
}

impl Manifests {
    fn build(args: &InstallArgs, namespace: &str) -> Result<Self, Error> {
        let values = values::from_flags(chart::defaults()?, args)?;
        let namespace_object = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": namespace, "labels": { "app.kubernetes.io/part-of": "k3k" } },
        });
        Ok(Self {
            crds: chart::crds()?.into_iter().map(marked).collect(),
            namespace: marked(namespace_object),
            objects: chart::objects(&values, namespace)?.into_iter().map(marked).collect(),
        })
    }

    fn all(&self) -> impl Iterator<Item = &Value> {
        self.crds.iter().chain(std::iter::once(&self.namespace)).chain(&self.objects)
    }

    /// The manifests as one text that `kubectl apply -f -` takes.
    fn print(&self, format: Format) -> Result<String, Error> {
        let all: Vec<Value> = self.all().cloned().collect();
        if format == Format::Json {
            return object::render(format, &all, false);
        }
        let mut text = String::new();
        for object in &all {
            text.push_str("---\n");
            text.push_str(&object::document_text(format, object)?);
        }
        Ok(text)
    }
}

async fn established(
    connection: &Connection,
    crds: &[Value],
    timeout: Duration,
    progress: &mut Progress,
) -> Result<(), Error> {
    let api = Api::<CustomResourceDefinition>::all(connection.client.clone());
    for crd in crds {
        let name = crd["metadata"]["name"].as_str().unwrap_or_default();
        progress.show("Resource definitions", &format!("waiting for {name}"));
        tokio::select! {
            result = await_condition(api.clone(), name, is_crd_established()) => {
                result.map_err(|error| Error::Waited {
                    message: format!("cannot wait for {name}: {error}"),
                    notes: vec![("look", format!("kubectl describe crd {name}"))],
                })?;
            }
            () = deadline(timeout) => {
                return Err(Error::Waited {
                    message: format!("{name} is not established after {}", age::short(timeout)),
                    notes: vec![("look", format!("kubectl describe crd {name}"))],
                });
            }
            () = asked_to_stop() => return Err(interrupted()),
        }
    }
    Ok(())
}

/// Removes what an older version had and this one has not.
async fn prune(
    connection: &Connection,
    namespace: &str,
    manifests: &Manifests,
    terminal: &Terminal,
) -> Result<usize, Error> {
    let same = |old: &Value, new: &Value| {
        old["kind"] == new["kind"]
            && old["metadata"]["name"] == new["metadata"]["name"]
            && old["metadata"]["namespace"] == new["metadata"]["namespace"]
    };
    let mut count = 0;
    for old in apply::inventory(connection, namespace).await? {
        let spared = matches!(old["kind"].as_str(), Some("CustomResourceDefinition" | "Namespace"));
        if spared || manifests.all().any(|new| same(&old, new)) {
            continue;
        }
        apply::delete(connection, &old).await?;
        terminal.note(&format!("{} pruned", object::reference(&old)));
        count += 1;
    }
    Ok(count)
}

async fn running(
    connection: &Connection,
    namespace: &str,
    (title, name): (&str, &str),
    timeout: Duration,
    patience: &mut Patience,
    progress: &mut Progress,
) -> Result<(), Error> {
    let api = Api::<Deployment>::namespaced(connection.client.clone(), namespace);
    let mut watch = pin!(watcher::watch_object(api, name).default_backoff());
    let mut last = "not seen".to_owned();
    progress.show(title, "starting");
    loop {
        match patience.next(&mut watch, progress).await {
            Ok(Some(Ok(Some(deployment)))) => match rollout::of(&deployment) {
                Rollout::Ready(text) => {
                    progress.done(title, &text);
                    return Ok(());
                }
                Rollout::Waiting(text) => {
                    progress.show(title, &text);
                    last = text;
                }
            },
            Ok(Some(Ok(None)) | None) => {
                return Err(Error::Waited {
                    message: format!("deployment {name} disappeared from namespace {namespace}"),
                    notes: vec![("again", "kubectl k3k install".to_owned())],
                });
            }
            Ok(Some(Err(error))) => {
                let action = Action::new("watch", "deployments.apps").on(name).within(namespace);
                match connection.explain_watch(action, &error) {
                    error @ (Error::Forbidden { .. } | Error::Unauthorized { .. }) => return Err(error),
                    error => progress.show("Connection", &format!("lost, trying again: {error}")),
                }
            }
            Err(Some(())) => {
                progress.clear();
                return Err(interrupted());
            }
            Err(None) => {
                progress.fail(title, &last);
                let component = name.trim_start_matches("k3k-");
                let selector =
                    format!("app.kubernetes.io/part-of=k3k,app.kubernetes.io/component={component}");
                let pods = Api::<Pod>::namespaced(connection.client.clone(), namespace)
                    .list(&ListParams::default().labels(&selector))
                    .await
                    .map(|list| list.items)
                    .unwrap_or_default();
                let mut notes: Vec<(&'static str, String)> =
                    pods.iter().filter_map(rollout::trouble).map(|trouble| ("cause", trouble)).collect();
                notes.push(("look", format!("kubectl describe pods -n {namespace}")));
                notes.push(("logs", format!("kubectl logs -n {namespace} deployment/{name}")));
                return Err(Error::Waited {
                    message: format!(
                        "the {} does not run after {}: {last}",
                        title.to_ascii_lowercase(),
                        age::short(timeout)
                    ),
                    notes,
                });
            }
        }
    }
}

fn interrupted() -> Error {
    Error::Interrupted {
        message: "Stopped waiting. What was applied stays.".to_owned(),
        notes: vec![
            ("continue", "kubectl k3k install".to_owned()),
            ("remove", "kubectl k3k uninstall".to_owned()),
        ],
    }
}
