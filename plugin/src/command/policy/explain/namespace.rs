//! What a cluster in a namespace is held to.

use super::page;
use crate::cli::{ConnectionFlags, PolicyExplainArgs};
use crate::connect::{self, Connection};
use crate::error::Error;
use crate::output::terminal::Terminal;
use crate::policies;
use k8s_openapi::api::core::v1::ResourceQuota;
use kube::api::{Api, ListParams};

/// Explains a namespace.
pub(super) async fn explain(
    args: &PolicyExplainArgs,
    namespace: &str,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<String, Error> {
    let namespace = policies::namespace(namespace)?;
    let connection = connect::connect(flags, terminal).await?;
    let governing = super::governing(args, &namespace, &connection, flags, terminal).await?;
    let used = used(&connection, &namespace).await;
    Ok(page::namespace(&namespace, &governing, &used, jiff::Timestamp::now()))
}

/// What of each quota is used; nothing if one may not see quotas.
async fn used(connection: &Connection, namespace: &str) -> Vec<String> {
    let api = Api::<ResourceQuota>::namespaced(connection.client.clone(), namespace);
    let quotas = api.list(&ListParams::default()).await.map(|list| list.items).unwrap_or_default();
    let mut lines = Vec::new();
    for quota in quotas {
        let Some(status) = quota.status else { continue };
        let used = status.used.unwrap_or_default();
        for (resource, hard) in status.hard.unwrap_or_default() {
            let used = used.get(&resource).map_or("0", |used| used.0.as_str());
            lines.push(format!("{resource}: {used} of {} used", hard.0));
        }
    }
    lines.sort();
    lines.dedup();
    lines
}
