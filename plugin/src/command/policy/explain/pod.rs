//! One pod: of the host, by its name there or inside its cluster, or of a manifest.

use super::page::{self, Explained};
use crate::cli::{ConnectionFlags, PolicyExplainArgs};
use crate::clusters::{self, Target};
use crate::command::kubeconfig;
use crate::command::policy::kinds::{self, POD, What};
use crate::command::policy::verdict::{self, Given, Side};
use crate::connect::{self, Connection};
use crate::error::{Action, Error};
use crate::manifests;
use crate::output::terminal::Terminal;
use crate::policies;
use k3k_api::labels;
use k3k_policy::{Governing, Source};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// How long a cluster is waited for: without its answer there is less to say, but something.
const PATIENCE: Duration = Duration::from_secs(5);

/// Explains a pod of a manifest, as a tenant would apply it.
pub(super) async fn file(
    args: &PolicyExplainArgs,
    path: &Path,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<String, Error> {
    let documents = manifests::all(&[path.to_owned()], false)?;
    let pods: Vec<&manifests::Document> = documents
        .iter()
        .filter(|document| {
            kinds::of(&document.object).is_some_and(|kind| matches!(kind.what, What::Pod | What::Template(_)))
        })
        .collect();
    if pods.is_empty() {
        return Err(Error::usage(format!(
            "{}: there is no pod, and nothing that makes pods",
            manifests::shown(path)
        )));
    }
    let governing = match (&args.policy, &flags.namespace) {
        (Some(policy), _) => super::chosen(policy, flags, terminal).await?,
        (None, Some(namespace)) => {
            let connection = connect::connect(flags, terminal).await?;
            super::governing(args, namespace, &connection, flags, terminal).await?
        }
        (None, None) => {
            return Err(Error::usage_hint(
                "by which policy?",
                "--policy FILE|NAME, or -n NAMESPACE for that of a namespace of the host",
            ));
        }
    };
    let now = jiff::Timestamp::now();
    let cluster = args.cluster.as_deref().unwrap_or_default();
    let cluster = cluster.rsplit('/').next().unwrap_or(cluster);
    let mut text = Vec::new();
    for document in pods {
        let object = &document.object;
        let place = object["metadata"]["namespace"].as_str().unwrap_or("default");
        let source = Source { cluster, virtual_namespace: place };
        let verdict = verdict::manifest(object, Side::Tenant(source), &Given::new(&governing, now));
        let name = object["metadata"]["name"].as_str().unwrap_or("-");
        let explained = Explained {
            title: format!(
                "{} {place}/{name} ({}, document {})",
                object["kind"].as_str().unwrap_or_default(),
                document.file,
                document.number
            ),
            role: "a tenant's, as it would be applied inside a cluster".to_owned(),
            governing: &governing,
            source,
            verdict: &verdict,
            changed: "Changed",
            live: false,
        };
        text.push(page::pod(&explained, now));
    }
    Ok(text.join("\n"))
}

/// Explains a pod that runs.
pub(super) async fn live(
    args: &PolicyExplainArgs,
    name: &str,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<String, Error> {
    let connection = connect::connect(flags, terminal).await?;
    let chosen = [&flags.context, &flags.server, &flags.user].iter().any(|flag| flag.is_some());
    let cluster = args.cluster.clone().or_else(|| {
        // A context of a cluster: its pods are meant.
        if chosen { None } else { connect::current_cluster(&connection.files) }
    });
    let now = jiff::Timestamp::now();
    let Some(cluster) = &cluster else {
        let namespace = flags.namespace.as_deref().unwrap_or(&connection.context_namespace);
        let object = json(&get(&connection, namespace, name).await?);
        let governing = super::governing(args, namespace, &connection, flags, terminal).await?;
        return Ok(explained(&object, None, namespace, &governing, now));
    };
    let virtual_namespace = flags.namespace.as_deref().unwrap_or("default");
    let target = Target::parse(cluster, None)?;
    let found = clusters::view(&clusters::find(&connection, &target).await?)?;
    let namespace = found.metadata.namespace.unwrap_or_default();
    let copy = copy(&connection, &target.name, &namespace, virtual_namespace, name).await?;
    let place = Target { namespace: Some(namespace.clone()), ..target };
    let own = inside(&connection, &place, virtual_namespace, name).await;
    let governing = super::governing(args, &namespace, &connection, flags, terminal).await?;
    match (copy, own) {
        (Some(copy), own) => Ok(explained(&json(&copy), own.as_ref(), &namespace, &governing, now)),
        (None, Some(own)) => Ok(refused(&own, &place.name, virtual_namespace, &governing, now)),
        (None, None) => Err(nowhere(&place, virtual_namespace, name)),
    }
}

fn json(pod: &Pod) -> Value {
    let mut object = serde_json::to_value(pod).unwrap_or_default();
    object["apiVersion"] = "v1".into();
    object["kind"] = "Pod".into();
    object
}

/// The pod as it is inside its cluster; nothing if it does not exist, or the cluster cannot be asked from here.
async fn inside(connection: &Connection, target: &Target, namespace: &str, name: &str) -> Option<Value> {
    let entry = kubeconfig::entry(connection, target, None, None).await.ok()?;
    let config = Kubeconfig::from_yaml(&kubeconfig::text(&entry).ok()?).ok()?;
    let mut config = Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.ok()?;
    config.connect_timeout = Some(PATIENCE);
    config.read_timeout = Some(PATIENCE);
    config.default_retry = false;
    let client = Client::try_from(config).ok()?;
    let pod = Api::<Pod>::namespaced(client, namespace).get_opt(name).await.ok()??;
    Some(json(&pod))
}

/// The page of a tenant's pod that the host does not have.
fn refused(
    object: &Value,
    cluster: &str,
    namespace: &str,
    governing: &Governing,
    now: jiff::Timestamp,
) -> String {
    let source = Source { cluster, virtual_namespace: namespace };
    let verdict = verdict::manifest(object, Side::Tenant(source), &Given::new(governing, now));
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let explained = Explained {
        title: format!("Pod {namespace}/{name} of cluster {cluster}"),
        role: "a tenant's; the host has no copy of it".to_owned(),
        governing,
        source,
        verdict: &verdict,
        changed: "Changed",
        live: true,
    };
    page::pod(&explained, now)
}

/// The page of a pod of the host; with the tenant's own, also what the policy has changed in it.
fn explained(
    object: &Value,
    own: Option<&Value>,
    namespace: &str,
    governing: &Governing,
    now: jiff::Timestamp,
) -> String {
    let label = |key: &str| object["metadata"]["labels"][key].as_str();
    let annotation = |key: &str| object["metadata"]["annotations"][key].as_str().unwrap_or_default();
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let role = match (label(labels::COMPONENT), label(labels::CLUSTER_NAME)) {
        (Some(component), _) => {
            let cluster = label(labels::CLUSTER).unwrap_or_default();
            format!("part of the control plane of cluster {cluster} ({component})")
        }
        (None, Some(cluster)) => format!(
            "copy of the tenant's pod {}/{} of cluster {cluster}",
            annotation(labels::VIRTUAL_NAMESPACE),
            annotation(labels::VIRTUAL_NAME)
        ),
        (None, None) => "of no cluster: somebody made it in the host".to_owned(),
    };
    let source = Source {
        cluster: label(labels::CLUSTER_NAME).unwrap_or_default(),
        virtual_namespace: annotation(labels::VIRTUAL_NAMESPACE),
    };
    let given = Given::new(governing, now);
    let mut verdict = verdict::live(object, POD, namespace, &given);
    if let Some(own) = own {
        verdict.changes = verdict::manifest(own, Side::Tenant(source), &given).changes;
    }
    let changed = if own.is_some() { "Changed" } else { "If made anew" };
    let title = format!("Pod {namespace}/{name}");
    page::pod(&Explained { title, role, governing, source, verdict: &verdict, changed, live: true }, now)
}

async fn get(connection: &Connection, namespace: &str, name: &str) -> Result<Pod, Error> {
    match Api::<Pod>::namespaced(connection.client.clone(), namespace).get_opt(name).await {
        Ok(Some(pod)) => Ok(pod),
        Ok(None) => Err(Error::State {
            message: format!("pod \"{name}\" not found in namespace \"{namespace}\" of the host"),
            notes: vec![(
                "inside",
                format!("kubectl k3k policy explain pod {name} --cluster CLUSTER -n NAMESPACE-INSIDE"),
            )],
        }),
        Err(error) => Err(connection.explain(Action::new("get", "pods").on(name).within(namespace), &error)),
    }
}

/// The host's copy of a tenant's pod, if there is one.
async fn copy(
    connection: &Connection,
    cluster: &str,
    namespace: &str,
    virtual_namespace: &str,
    name: &str,
) -> Result<Option<Pod>, Error> {
    let selector = format!("{}={cluster}", labels::CLUSTER_NAME);
    let api = Api::<Pod>::namespaced(connection.client.clone(), namespace);
    let pods = policies::every(&api, &ListParams::default().labels(&selector))
        .await
        .map_err(|error| connection.explain(Action::new("list", "pods").within(namespace), &error))?;
    let annotated = |pod: &Pod, key: &str, value: &str| {
        pod.metadata.annotations.as_ref().and_then(|all| all.get(key)).is_some_and(|found| found == value)
    };
    Ok(pods.into_iter().find(|pod| {
        annotated(pod, labels::VIRTUAL_NAME, name)
            && annotated(pod, labels::VIRTUAL_NAMESPACE, virtual_namespace)
    }))
}

/// What to say when neither the host nor the cluster shows the pod.
fn nowhere(target: &Target, virtual_namespace: &str, name: &str) -> Error {
    let namespace = target.namespace.as_deref().unwrap_or_default();
    let shown = crate::command::create::short(&target.name, namespace);
    Error::State {
        message: format!(
            "the host has no copy of pod \"{name}\" in namespace \"{virtual_namespace}\" of cluster \"{}\", and the \
             cluster itself does not show it from here",
            target.name
        ),
        notes: vec![
            ("look", format!("kubectl k3k kubectl {shown} -- describe pod {name} -n {virtual_namespace}")),
            (
                "why",
                format!(
                    "kubectl k3k kubectl {shown} -- get pod {name} -n {virtual_namespace} -o yaml | kubectl k3k policy explain -f - -n {namespace}"
                ),
            ),
        ],
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
