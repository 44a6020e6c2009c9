//! `policy describe`: one page that says what a policy is, where it holds and what breaks it.

mod page;

use crate::cli::{ConnectionFlags, PolicyDescribeArgs};
use crate::connect::{self, Connection};
use crate::error::{Error, Exit};
use crate::output::terminal::Terminal;
use crate::policies;
use k3k_api::v1beta1::Cluster;
use k3k_api::v1beta1::policy::{BoundNamespace, VirtualClusterPolicy};
use k3k_policy::{CompileError, Policy};
use k8s_openapi::api::core::v1::Event;
use kube::api::{Api, ListParams};

/// What the page is made from.
struct Observed {
    /// The object, as far as this plugin can read it.
    object: VirtualClusterPolicy,
    /// The same, compiled.
    compiled: Result<Policy, CompileError>,
    /// Where it holds; None if one may not know.
    namespaces: Option<Vec<BoundNamespace>>,
    /// That the glass is broken, if it is.
    broken: Option<String>,
    /// Events about it.
    events: Vec<Event>,
}

/// Runs `policy describe`.
pub(super) async fn run(
    args: &PolicyDescribeArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let name = policies::name(&args.name)?;
    let connection = connect::connect(flags, terminal).await?;
    let object = policies::find(&connection, &name).await?;
    let now = jiff::Timestamp::now();
    let observed = Observed {
        broken: super::break_glass::line(&connection, now).await,
        compiled: k3k_policy::read_policy(&object),
        object: policies::view(&object)?,
        namespaces: namespaces(&connection, &name).await,
        events: events(&connection, &name).await,
    };
    terminal.data(&page::render(&observed, now))?;
    Ok(Exit::Done)
}

async fn namespaces(connection: &Connection, policy: &str) -> Option<Vec<BoundNamespace>> {
    let namespaces = policies::bound(connection, Some(policy)).await.ok()?;
    let mut bound = Vec::new();
    for name in namespaces.into_iter().filter_map(|namespace| namespace.metadata.name) {
        let clusters = Api::<Cluster>::namespaced(connection.client.clone(), &name)
            .list_metadata(&ListParams::default())
            .await
            .ok()?;
        bound
            .push(BoundNamespace { name, clusters: u32::try_from(clusters.items.len()).unwrap_or(u32::MAX) });
    }
    Some(bound)
}

/// Events about the policy; none if one may not see them.
async fn events(connection: &Connection, policy: &str) -> Vec<Event> {
    let fields = format!("involvedObject.kind={},involvedObject.name={policy}", policies::KIND);
    let found =
        Api::<Event>::all(connection.client.clone()).list(&ListParams::default().fields(&fields)).await;
    let mut events = found.map(|list| list.items).unwrap_or_default();
    events.retain(|event| {
        let about = &event.involved_object;
        about.kind.as_deref() == Some(policies::KIND) && about.name.as_deref() == Some(policy)
    });
    events
}
