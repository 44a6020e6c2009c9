//! `policy test`: what a policy would say to manifests. With the policy in a file, nothing is connected to.

pub(super) mod report;

use super::verdict::{self, Given, Outcome, Side};
use crate::cli::{ConnectionFlags, PolicyTestArgs, TestFormat};
use crate::connect;
use crate::error::{Error, Exit};
use crate::manifests;
use crate::output::terminal::Terminal;
use crate::policies::{self, Meant};
use k3k_policy::{Governing, Policy, Source};
use report::{Judged, Report};
use serde_json::Value;
use std::sync::Arc;

/// Runs `policy test`.
pub(super) async fn run(
    args: &PolicyTestArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let policy = policies::meant(&args.policy)?;
    if policy == Meant::File("-".into()) && args.filenames.iter().any(|path| path.as_os_str() == "-") {
        return Err(Error::usage("the policy and the manifests cannot both come from stdin"));
    }
    let documents = manifests::all(&args.filenames, args.recursive)?;
    let policy = match policy {
        Meant::File(path) => policies::from_file(&path)?,
        Meant::Name(name) => {
            let connection = connect::connect(&without_cluster(flags), terminal).await?;
            policies::compile(&policies::find(&connection, &name).await?)?
        }
    };
    let report = judge(args, flags.namespace.as_deref(), policy, &documents);
    let text = match args.output {
        TestFormat::Text => report.text(),
        TestFormat::Json => report.json()?,
        TestFormat::Junit => report.junit()?,
    };
    terminal.data(&text)?;
    Ok(if report.worst() == Outcome::Denied { Exit::Error } else { Exit::Done })
}

/// `--cluster` names one of k3k's here, not one of the kubeconfig.
pub(super) fn without_cluster(flags: &ConnectionFlags) -> ConnectionFlags {
    ConnectionFlags { cluster: None, ..flags.clone() }
}

fn judge(
    args: &PolicyTestArgs,
    namespace: Option<&str>,
    policy: Policy,
    documents: &[manifests::Document],
) -> Report {
    let name = policy.name.clone();
    let governing = Governing::Named(Arc::new(policy));
    let given = Given::new(&governing, jiff::Timestamp::now());
    let cluster = args.cluster.as_deref().unwrap_or_default();
    let cluster = cluster.rsplit('/').next().unwrap_or(cluster);
    let objects = documents.iter().map(|document| {
        let own = document.object["metadata"]["namespace"].as_str();
        let place = if args.host {
            own.or(namespace).unwrap_or("default")
        } else {
            args.virtual_namespace.as_deref().or(own).or(namespace).unwrap_or("default")
        };
        let side = if args.host {
            Side::Host(place)
        } else {
            Side::Tenant(Source { cluster, virtual_namespace: place })
        };
        let verdict = verdict::manifest(&document.object, side, &given);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&document.object["metadata"]["name"]);
        Judged {
            file: document.file.clone(),
            document: document.number,
            api_version: text(&document.object["apiVersion"]),
            kind: text(&document.object["kind"]),
            namespace: place.to_owned(),
            name: if name.is_empty() { text(&document.object["metadata"]["generateName"]) } else { name },
            verdict,
        }
    });
    Report { policy: name, host: args.host, cluster: cluster.to_owned(), objects: objects.collect() }
}
