//! `describe`: one page that says whether a cluster is healthy, and if not, why.

mod page;

use super::create::namespaced;
use crate::cli::{ConnectionFlags, DescribeArgs};
use crate::clusters::{self, Target};
use crate::connect::Connection;
use crate::error::{Error, Exit};
use crate::output::terminal::Terminal;
use k3k_api::labels;
use k3k_api::v1beta1::Cluster;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use kube::api::ListParams;
use serde::de::DeserializeOwned;

/// What the page is made from. What the user may not see is missing.
struct Observed {
    cluster: Cluster,
    pods: Vec<Pod>,
    volumes: Vec<PersistentVolumeClaim>,
    events: Vec<Event>,
    tenants: Option<usize>,
}

/// Runs `describe`.
pub(super) async fn run(
    args: &DescribeArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let (connection, cluster) = clusters::named(&target, flags, terminal).await?;
    let namespace = cluster.metadata.namespace.clone().unwrap_or_default();
    let [ours, tenants] = super::remains::selectors(&target.name);
    let claims = format!("{}={},{}={}", labels::CLUSTER, target.name, labels::ROLE, labels::ROLE_SERVER);
    let observed = Observed {
        cluster,
        pods: seen(&connection, &namespace, &ours).await,
        volumes: seen(&connection, &namespace, &claims).await,
        events: seen(&connection, &namespace, "").await,
        tenants: super::remains::count(&connection, &namespace, "Pod", &tenants).await,
    };
    terminal.data(&page::render(&observed, jiff::Timestamp::now()))?;
    Ok(Exit::Done)
}

/// Objects that match; none if the user may not see them.
async fn seen<K>(connection: &Connection, namespace: &str, selector: &str) -> Vec<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
    K::DynamicType: Default,
{
    let parameters = ListParams::default().labels(selector);
    namespaced::<K>(connection, namespace).list(&parameters).await.map(|list| list.items).unwrap_or_default()
}
