//! `get`: the clusters that one may see.

use crate::cli::{ConnectionFlags, GetArgs};
use crate::clusters::{self, RESOURCE, Target};
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::output::object::{self, Format};
use crate::output::terminal::Terminal;
use crate::output::{age, table};
use k3k_api::conditions;
use k3k_api::labels::{COMPONENT, component};
use k3k_api::names::ClusterNames;
use k3k_api::v1beta1::{Cluster, Mode, Storage};
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::api::{Api, DynamicObject, ListParams};
use serde_json::Value;
use std::collections::BTreeMap;

/// Runs `get`.
pub(super) async fn run(args: &GetArgs, flags: &ConnectionFlags, terminal: &Terminal) -> Result<Exit, Error> {
    let targets = args
        .names
        .iter()
        .map(|name| Target::parse(name, flags.namespace.as_deref()))
        .collect::<Result<Vec<_>, _>>()?;
    let connection = connect::connect(flags, terminal).await?;
    let mut scope = if args.all_namespaces { None } else { connection.namespace.clone() };
    let mut objects = Vec::new();
    let mut missing = None;
    if targets.is_empty() {
        (objects, scope) = list(args, &connection, terminal, scope).await?;
    }
    for target in &targets {
        match clusters::find(&connection, target).await {
            Ok(object) => objects.push(object),
            // The others are shown all the same.
            Err(error @ (Error::NotFound { .. } | Error::Ambiguous { .. })) if targets.len() > 1 => {
                terminal.error(&error);
                missing = Some(error.exit());
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(format @ (Format::Json | Format::Yaml | Format::Name)) = args.output {
        let objects: Vec<Value> = objects.into_iter().map(object::without_managed_fields).collect();
        terminal.data(&object::render(format, &objects, targets.len() == 1)?)?;
        return Ok(missing.unwrap_or(Exit::Done));
    }
    if objects.is_empty() && missing.is_none() {
        let place = scope.map_or_else(String::new, |namespace| format!(" in namespace \"{namespace}\""));
        terminal.note(&format!("No clusters found{place}."));
        return Ok(Exit::Done);
    }
    let running = running(&connection, scope.as_deref()).await;
    let clusters = objects.iter().map(clusters::view).collect::<Result<Vec<_>, _>>()?;
    let wide = args.output == Some(Format::Wide);
    let with_namespace = scope.is_none() && (targets.is_empty() || targets.len() > 1);
    let rows: Vec<Vec<String>> = clusters
        .iter()
        .map(|cluster| row(cluster, with_namespace, wide, &running, jiff::Timestamp::now()))
        .collect();
    let heading = heading(with_namespace, wide);
    terminal.data(&table::render((!args.no_headers).then_some(&heading), &rows))?;
    Ok(missing.unwrap_or(Exit::Done))
}

/// Clusters of one namespace or of all, and the namespace it came down to: whoever may not list everywhere sees
/// those of the context's namespace.
async fn list(
    args: &GetArgs,
    connection: &Connection,
    terminal: &Terminal,
    scope: Option<String>,
) -> Result<(Vec<Value>, Option<String>), Error> {
    let mut parameters = ListParams::default();
    if let Some(selector) = &args.selector {
        parameters = parameters.labels(selector);
    }
    match list_in(connection, &parameters, scope.as_deref()).await {
        Err(Error::Forbidden { .. }) if scope.is_none() && !args.all_namespaces => {
            let namespace = connection.context_namespace.clone();
            terminal.warn(&format!(
                "you may not list clusters in all namespaces; these are those of namespace \"{namespace}\""
            ));
            Ok((list_in(connection, &parameters, Some(&namespace)).await?, Some(namespace)))
        }
        result => Ok((result?, scope)),
    }
}

async fn list_in(
    connection: &Connection,
    parameters: &ListParams,
    namespace: Option<&str>,
) -> Result<Vec<Value>, Error> {
    let mut action = Action::new("list", RESOURCE);
    action.namespace = namespace.map(str::to_owned);
    let client = connection.client.clone();
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client, namespace, &clusters::resource()),
        None => Api::all_with(client, &clusters::resource()),
    };
    let list = api.list(parameters).await.map_err(|error| connection.explain(action, &error))?;
    Ok(list.items.iter().map(clusters::json).collect())
}

/// Ready server pods by namespace and StatefulSet; nothing if the user may not see them.
async fn running(connection: &Connection, namespace: Option<&str>) -> BTreeMap<(String, String), i32> {
    let client = connection.client.clone();
    let api: Api<StatefulSet> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let selector = format!("{COMPONENT}={}", component::SERVER);
    let Ok(list) = api.list(&ListParams::default().labels(&selector)).await else { return BTreeMap::new() };
    list.items
        .into_iter()
        .filter_map(|set| {
            let ready = set.status.and_then(|status| status.ready_replicas).unwrap_or(0);
            Some(((set.metadata.namespace?, set.metadata.name?), ready))
        })
        .collect()
}

fn heading(with_namespace: bool, wide: bool) -> Vec<&'static str> {
    let mut heading = if with_namespace { vec!["NAMESPACE"] } else { Vec::new() };
    heading.extend(["NAME", "MODE", "VERSION", "SERVERS", "AGENTS", "STATUS", "AGE"]);
    if wide {
        heading.extend(["POLICY", "ENDPOINT", "STORAGE"]);
    }
    heading
}

fn row(
    cluster: &Cluster,
    with_namespace: bool,
    wide: bool,
    running: &BTreeMap<(String, String), i32>,
    now: jiff::Timestamp,
) -> Vec<String> {
    let none = || "<none>".to_owned();
    let metadata = &cluster.metadata;
    let (name, namespace) =
        (metadata.name.clone().unwrap_or_default(), metadata.namespace.clone().unwrap_or_default());
    let wanted = cluster.spec.servers();
    let servers = running
        .get(&(namespace.clone(), ClusterNames(&name).server()))
        .map_or_else(|| wanted.to_string(), |ready| format!("{ready}/{wanted}"));
    let agents = match cluster.spec.mode() {
        Mode::Virtual => cluster.spec.agents().to_string(),
        Mode::Shared | Mode::Hcp => "-".to_owned(),
    };
    let status = cluster.status.as_ref();
    let version = status
        .and_then(|status| status.version.clone())
        .or_else(|| cluster.spec.version.clone())
        .unwrap_or_else(none);
    let mut row = if with_namespace { vec![namespace] } else { Vec::new() };
    row.extend([name, cluster.spec.mode().to_string(), version, servers, agents, summary(cluster)]);
    row.push(age::since(metadata.creation_timestamp.as_ref(), now));
    if wide {
        row.push(status.and_then(|status| status.policy_name.clone()).unwrap_or_else(none));
        row.push(status.and_then(|status| status.endpoint.clone()).unwrap_or_else(none));
        row.push(match cluster.spec.persistence() {
            Storage::Ephemeral => "ephemeral".to_owned(),
            Storage::Dynamic { class: None, size } => size.0,
            Storage::Dynamic { class: Some(class), size } => format!("{} ({class})", size.0),
        });
    }
    row
}

/// The status in one word: Ready, Terminating, or the reason why it is not ready.
pub(super) fn summary(cluster: &Cluster) -> String {
    if cluster.metadata.deletion_timestamp.is_some() {
        return "Terminating".to_owned();
    }
    let Some(status) = &cluster.status else { return "Unknown".to_owned() };
    match conditions::find(&status.conditions, conditions::READY) {
        Some(ready) if ready.status == "True" => "Ready".to_owned(),
        Some(ready) if !ready.reason.is_empty() => ready.reason.clone(),
        _ => status.phase.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn cluster(value: Value) -> Cluster {
        let mut object = json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "spec": {}});
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), value) {
            object.extend(more);
        }
        serde_json::from_value(object).expect("cluster")
    }

    #[test]
    fn the_table_is_what_kubectl_users_expect() {
        let condition = |status: &str, reason: &str| {
            json!([{"type": "Ready", "status": status, "reason": reason, "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}])
        };
        let clusters = [
            cluster(json!({
                "metadata": {"name": "dev", "namespace": "k3k-dev", "creationTimestamp": "2026-01-01T00:00:00Z"},
                "spec": {"servers": 3, "persistence": {"storageClassName": "fast"}},
                "status": {"phase": "Ready", "version": "v1.35.4+k3s1", "endpoint": "https://10.0.0.7:443",
                    "policyName": "gold", "conditions": condition("True", "Provisioned")},
            })),
            cluster(json!({
                "metadata": {"name": "ci", "namespace": "team-a", "creationTimestamp": "2026-01-02T23:55:00Z"},
                "spec": {"mode": "virtual", "agents": 2, "version": "v1.34.6-k3s1",
                    "persistence": {"type": "ephemeral"}},
                "status": {"phase": "Provisioning", "conditions": condition("False", "ServerStarting")},
            })),
            cluster(json!({
                "metadata": {"name": "new", "namespace": "team-a", "creationTimestamp": "2026-01-03T00:00:00Z"},
            })),
        ];
        let running = BTreeMap::from([(("k3k-dev".to_owned(), "k3k-dev-server".to_owned()), 2)]);
        let now = "2026-01-03T00:00:00Z".parse().expect("time");
        let rows: Vec<Vec<String>> =
            clusters.iter().map(|cluster| row(cluster, true, true, &running, now)).collect();
        insta::assert_snapshot!(table::render(Some(&heading(true, true)), &rows));
    }
}
