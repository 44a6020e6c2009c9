//! `policy audit`: running objects that the policies would not let in now.

mod report;

use super::kinds::{self, Kind, What};
use super::verdict::{self, Given, Outcome};
use crate::cli::{ConnectionFlags, PolicyAuditArgs};
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::output::object;
use crate::output::terminal::Terminal;
use crate::policies;
use k3k_api::labels;
use k3k_policy::{Governing, hosts};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use kube::core::GroupVersionKind;
use report::{Found, Report};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What is looked at.
const KINDS: [Kind; 5] = [kinds::CLUSTER, kinds::POD, kinds::SERVICE, kinds::INGRESS, kinds::CLAIM];

/// An object of a namespace.
struct Live {
    kind: Kind,
    namespace: String,
    object: Value,
}

/// Runs `policy audit`.
pub(super) async fn run(
    args: &PolicyAuditArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let file = args.filename.as_deref().map(policies::from_file).transpose()?;
    let named = args.name.as_deref().map(policies::name).transpose()?;
    let only = flags.namespace.as_deref().map(policies::namespace).transpose()?;
    // A file stands for the policy that it names, unless something else is said.
    let policy = named.or_else(|| match (&file, &only) {
        (Some(file), None) => Some(file.name.clone()),
        _ => None,
    });
    if file.is_some() && policy.as_deref() == Some("") {
        return Err(Error::usage("the policy of the file has no name: give NAME or -n"));
    }
    let connection = connect::connect(flags, terminal).await?;
    let namespaces = namespaces(&connection, policy.as_deref(), only.as_deref()).await?;
    let file = file.map(|file| Governing::Named(Arc::new(file)));
    let mut governed = Vec::new();
    let mut objects = Vec::new();
    for namespace in &namespaces {
        let name = namespace.metadata.name.clone().unwrap_or_default();
        let governing = match &file {
            Some(file) => file.clone(),
            None => policies::governing(&connection, namespace).await?,
        };
        for kind in KINDS {
            objects.extend(list(&connection, kind, &name).await?);
        }
        governed.push((name, governing));
    }
    let report = judge(&governed, &objects);
    if let Some(format) = args.output {
        terminal.data(&object::document_text(format.into(), &report.document())?)?;
    } else {
        terminal.data(&report.table(!args.no_headers))?;
        terminal.note(&report.summary());
    }
    Ok(if report.count(Outcome::Denied) > 0 { Exit::Error } else { Exit::Done })
}

/// The namespaces to look at: those of a policy, one, or all that hold clusters.
async fn namespaces(
    connection: &Connection,
    policy: Option<&str>,
    only: Option<&str>,
) -> Result<Vec<Namespace>, Error> {
    if let Some(only) = only {
        let namespace = policies::namespace_of(connection, only).await?;
        if let Some(policy) = policy.filter(|policy| policies::of_namespace(&namespace) != Some(*policy)) {
            return Err(Error::State {
                message: format!("namespace \"{only}\" is not bound to policy \"{policy}\""),
                notes: vec![("bind", format!("kubectl k3k policy bind {policy} {only}"))],
            });
        }
        return Ok(vec![namespace]);
    }
    let mut found = policies::bound(connection, policy).await?;
    match policy {
        // A name that nobody knows is a mistake, not a policy without violations.
        Some(policy) if found.is_empty() => {
            policies::find(connection, policy).await?;
        }
        Some(_) => {}
        None => {
            let clusters =
                policies::namespaces(connection, &format!("{}=true", labels::CLUSTER_NAMESPACE)).await?;
            found
                .extend(clusters.into_iter().filter(|namespace| policies::of_namespace(namespace).is_none()));
        }
    }
    Ok(found)
}

async fn list(connection: &Connection, kind: Kind, namespace: &str) -> Result<Vec<Live>, Error> {
    let gvk = GroupVersionKind::gvk(kind.group, kind.version, kind.kind);
    let resource = ApiResource::from_gvk_with_plural(&gvk, kind.plural);
    let api: Api<DynamicObject> = Api::namespaced_with(connection.client.clone(), namespace, &resource);
    let found = policies::every(&api, &ListParams::default()).await.map_err(|error| {
        let plural = if kind.group.is_empty() {
            kind.plural.to_owned()
        } else {
            format!("{}.{}", kind.plural, kind.group)
        };
        connection.explain(Action::new("list", &plural).within(namespace), &error)
    })?;
    let live =
        found.into_iter().filter(|object| object.metadata.deletion_timestamp.is_none()).map(|object| {
            let mut object = serde_json::to_value(&object).unwrap_or_default();
            object["apiVersion"] = resource.api_version.as_str().into();
            object["kind"] = kind.kind.into();
            Live { kind, namespace: namespace.to_owned(), object }
        });
    // A pod that has ended holds nothing any more.
    Ok(live
        .filter(|live| {
            !matches!(live.object["status"]["phase"].as_str(), Some("Succeeded" | "Failed"))
                || kind.what != What::Pod
        })
        .collect())
}

/// Asks every object's policy. Pure.
fn judge(governed: &[(String, Governing)], objects: &[Live]) -> Report {
    let now = jiff::Timestamp::now();
    let owners = owners(objects);
    let mut found = Vec::new();
    for live in objects {
        let Some((_, governing)) = governed.iter().find(|(name, _)| *name == live.namespace) else {
            continue;
        };
        let taken = |host: &str| owners.get(host).is_some_and(|owner| *owner != live.namespace);
        let given = Given { governing, now, clusters: older_clusters(live, objects), taken: &taken };
        let verdict = verdict::live(&live.object, live.kind, &live.namespace, &given);
        found.push(Found::new(&live.object, &live.namespace, governing, verdict));
    }
    Report { namespaces: governed.len(), objects: found }
}

/// The namespace that has had a host name first.
fn owners(objects: &[Live]) -> BTreeMap<String, &str> {
    let mut ingresses: Vec<&Live> = objects.iter().filter(|live| live.kind.what == What::Ingress).collect();
    ingresses.sort_by_key(|live| created(live));
    let mut owners = BTreeMap::new();
    for live in ingresses {
        for (_, host) in hosts(&live.object) {
            owners.entry(host).or_insert(live.namespace.as_str());
        }
    }
    owners
}

/// How many clusters the namespace held when this one was made.
fn older_clusters(live: &Live, objects: &[Live]) -> usize {
    if live.kind.what != What::Cluster {
        return 0;
    }
    let cluster = |other: &&Live| other.kind.what == What::Cluster && other.namespace == live.namespace;
    objects.iter().filter(cluster).filter(|other| created(other) < created(live)).count()
}

fn created(live: &Live) -> (&str, &str) {
    let metadata = &live.object["metadata"];
    (
        metadata["creationTimestamp"].as_str().unwrap_or_default(),
        metadata["name"].as_str().unwrap_or_default(),
    )
}

#[cfg(test)]
#[path = "audit/tests.rs"]
mod tests;
