//! `policy get`: the policies of the host.

use crate::cli::{ConnectionFlags, PolicyGetArgs};
use crate::connect::{self, Connection};
use crate::error::{Error, Exit};
use crate::output::object::{self, Format};
use crate::output::terminal::Terminal;
use crate::output::{age, table};
use crate::policies;
use k3k_api::v1beta1::Cluster;
use k3k_api::v1beta1::policy::{DigestRule, EnforcementMode, Placement, VirtualClusterPolicy};
use kube::api::{Api, ListParams};
use serde_json::Value;
use std::collections::BTreeMap;

/// How many namespaces and clusters a policy governs.
pub(super) type Governed = BTreeMap<String, (usize, usize)>;

/// Runs `policy get`.
pub(super) async fn run(
    args: &PolicyGetArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let names = args.names.iter().map(|name| policies::name(name)).collect::<Result<Vec<_>, _>>()?;
    let connection = connect::connect(flags, terminal).await?;
    let mut objects = Vec::new();
    let mut missing = None;
    if names.is_empty() {
        objects = policies::list(&connection).await?;
    }
    for name in &names {
        match policies::find(&connection, name).await {
            Ok(object) => objects.push(object),
            // The others are shown all the same.
            Err(error @ Error::State { .. }) if names.len() > 1 => {
                terminal.error(&error);
                missing = Some(error.exit());
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(format @ (Format::Json | Format::Yaml | Format::Name)) = args.output {
        let objects: Vec<_> = objects.into_iter().map(object::without_managed_fields).collect();
        terminal.data(&object::render(format, &objects, names.len() == 1)?)?;
        return Ok(missing.unwrap_or(Exit::Done));
    }
    let now = jiff::Timestamp::now();
    if let Some(broken) = super::break_glass::line(&connection, now).await {
        terminal.warn(&broken);
    }
    if objects.is_empty() && missing.is_none() {
        terminal.note(
            "No policies found. Clusters are held to the default policy: Pod Security Standard Baseline.",
        );
        return Ok(Exit::Done);
    }
    let governed = governed(&connection).await;
    let wide = args.output == Some(Format::Wide);
    let mut rows = Vec::new();
    for object in &objects {
        match policies::view(object) {
            Ok(policy) => rows.push(row(&policy, wide, governed.as_ref(), now)),
            // The others are shown all the same.
            Err(error) => {
                terminal.warn(&error.to_string());
                rows.push(unreadable(object, heading(wide).len()));
            }
        }
    }
    terminal.data(&table::render((!args.no_headers).then_some(&heading(wide)), &rows))?;
    Ok(missing.unwrap_or(Exit::Done))
}

/// What each policy governs; None if one may not know.
async fn governed(connection: &Connection) -> Option<Governed> {
    let namespaces = policies::bound(connection, None).await.ok()?;
    let clusters =
        Api::<Cluster>::all(connection.client.clone()).list_metadata(&ListParams::default()).await.ok()?;
    let mut governed = Governed::new();
    for namespace in &namespaces {
        let Some(policy) = policies::of_namespace(namespace) else { continue };
        let entry = governed.entry(policy.to_owned()).or_default();
        entry.0 += 1;
        entry.1 += clusters
            .items
            .iter()
            .filter(|cluster| cluster.metadata.namespace == namespace.metadata.name)
            .count();
    }
    Some(governed)
}

fn heading(wide: bool) -> Vec<&'static str> {
    let mut heading =
        vec!["NAME", "MODE", "LEVEL", "DIGEST", "PLACEMENT", "NAMESPACES", "CLUSTERS", "VIOLATIONS", "AGE"];
    if wide {
        heading.extend(["TENANT", "ENFORCEMENT", "EXEMPTIONS", "PULL-POLICY", "REGISTRIES", "STATUS"]);
    }
    heading
}

fn row(
    policy: &VirtualClusterPolicy,
    wide: bool,
    governed: Option<&Governed>,
    now: jiff::Timestamp,
) -> Vec<String> {
    let spec = &policy.spec;
    let name = policy.metadata.name.clone().unwrap_or_default();
    let status = policy.status.clone().unwrap_or_default();
    let images = spec.images.clone().unwrap_or_default();
    let dash = || "-".to_owned();
    // What is there now goes before what the controller has counted some time ago.
    let (namespaces, clusters) = if let Some(governed) = governed {
        governed.get(&name).copied().unwrap_or_default()
    } else {
        (status.namespaces.len(), status.namespaces.iter().map(|bound| bound.clusters as usize).sum())
    };
    let known = governed.is_some() || status.observed_generation.is_some();
    let count = |count: usize| if known { count.to_string() } else { dash() };
    let violations = status.violations.as_ref().map_or_else(dash, |found| {
        if wide {
            format!("{} denied, {} warned, {} audited", found.enforced, found.warned, found.audited)
        } else {
            (found.enforced + found.warned + found.audited).to_string()
        }
    });
    let mut row = vec![
        name,
        spec.allowed_mode().to_string(),
        spec.pod_security_admission_level
            .map_or_else(|| "baseline".to_owned(), |level| level.as_str().to_owned()),
        digest(images.digest.unwrap_or_default()).to_owned(),
        placement(spec.nodes.as_ref().and_then(|nodes| nodes.placement).unwrap_or_default()).to_owned(),
        count(namespaces),
        count(clusters),
        violations,
        age::since(policy.metadata.creation_timestamp.as_ref(), now),
    ];
    if wide {
        let enforcement = spec.enforcement.clone().unwrap_or_default();
        let tenant = spec.tenancy.as_ref().and_then(|tenancy| tenancy.tenant.clone());
        let hosts: Vec<&str> =
            images.allowed_registries.iter().map(|registry| registry.host.as_str()).collect();
        row.push(tenant.unwrap_or_else(dash));
        row.push(mode(enforcement.mode.unwrap_or_default()).to_owned());
        row.push(enforcement.exemptions.len().to_string());
        row.push(images.pull_policy.map_or_else(dash, |policy| policy.as_str().to_owned()));
        row.push(if hosts.is_empty() { "any".to_owned() } else { hosts.join(",") });
        row.push(condition(&status.conditions));
    }
    row
}

/// The row of a policy that this plugin cannot read: its name.
fn unreadable(object: &Value, columns: usize) -> Vec<String> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    std::iter::once(name).chain(std::iter::repeat_n("?".to_owned(), columns - 1)).collect()
}

/// The first condition that is not as it should be, else `Ready`; `-` if nobody has looked.
fn condition(conditions: &[k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition]) -> String {
    match conditions.iter().find(|condition| (condition.status == "True") == (condition.type_ == "Degraded"))
    {
        Some(condition) if condition.reason.is_empty() => format!("not {}", condition.type_),
        Some(condition) => condition.reason.clone(),
        None if conditions.is_empty() => "-".to_owned(),
        None => "Ready".to_owned(),
    }
}

fn digest(rule: DigestRule) -> &'static str {
    match rule {
        DigestRule::Off => "off",
        DigestRule::Require => "require",
        DigestRule::Resolve => "resolve",
    }
}

fn placement(placement: Placement) -> &'static str {
    match placement {
        Placement::Shared => "shared",
        Placement::Dedicated => "dedicated",
        Placement::Exclusive => "exclusive",
    }
}

/// How an enforcement mode is called.
pub(super) fn mode(mode: EnforcementMode) -> &'static str {
    match mode {
        EnforcementMode::Audit => "Audit",
        EnforcementMode::Warn => "Warn",
        EnforcementMode::Enforce => "Enforce",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_table_says_what_matters_most() {
        let policy = |value: serde_json::Value| -> VirtualClusterPolicy {
            serde_json::from_value(value).expect("policy")
        };
        let gold = policy(json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy",
            "metadata": {"name": "gold", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"allowedMode": "virtual", "podSecurityAdmissionLevel": "restricted", "tenancy": {"tenant": "team-a"},
                "images": {"digest": "Require", "pullPolicy": "Always", "allowedRegistries": [{"host": "a.example"}, {"host": "b.example"}]},
                "nodes": {"placement": "Dedicated"}, "enforcement": {"mode": "Warn"}},
            "status": {"observedGeneration": 1, "violations": {"enforced": 1, "warned": 2, "audited": 0},
                "conditions": [{"type": "Accepted", "status": "False", "reason": "Unreadable", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}}));
        let plain = policy(json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy",
            "metadata": {"name": "plain", "creationTimestamp": "2026-01-02T00:00:00Z"}, "spec": {}}));
        let governed = Governed::from([("gold".to_owned(), (2, 3))]);
        let now = "2026-01-03T00:00:00Z".parse().expect("time");
        let render = |wide: bool, governed: Option<&Governed>| {
            let rows: Vec<_> =
                [&gold, &plain].into_iter().map(|policy| row(policy, wide, governed, now)).collect();
            table::render(Some(&heading(wide)), &rows)
        };
        insta::assert_snapshot!("table", render(false, Some(&governed)));
        insta::assert_snapshot!("wide", render(true, None));
    }
}
