//! Questions about the host that installing and removing have in common.

use crate::connect::Connection;
use crate::error::{Action, Error};
use crate::install::CONTROLLER;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;

/// The host's version, `v1.36.3`.
pub(super) async fn version(connection: &Connection) -> Result<String, Error> {
    connection
        .client
        .apiserver_version()
        .await
        .map(|info| info.git_version)
        .map_err(|error| connection.explain(Action::new("get", "/version"), &error))
}

/// Whether the namespace exists.
pub(super) async fn namespace_exists(connection: &Connection, name: &str) -> Result<bool, Error> {
    Api::<Namespace>::all(connection.client.clone())
        .get_metadata_opt(name)
        .await
        .map(|found| found.is_some())
        .map_err(|error| connection.explain(Action::new("get", "namespaces").on(name), &error))
}

/// The controller's Deployment, if it is there.
pub(super) async fn controller(
    connection: &Connection,
    namespace: &str,
) -> Result<Option<Deployment>, Error> {
    Api::<Deployment>::namespaced(connection.client.clone(), namespace).get_opt(CONTROLLER).await.map_err(
        |error| {
            connection
                .explain(Action::new("get", "deployments.apps").on(CONTROLLER).within(namespace), &error)
        },
    )
}

/// Fails if Helm manages the installation: two owners would undo each other's work.
pub(super) async fn not_helms(connection: &Connection, namespace: &str) -> Result<(), Error> {
    let release = controller(connection, namespace)
        .await?
        .and_then(|deployment| deployment.metadata.annotations)
        .and_then(|annotations| annotations.get("meta.helm.sh/release-name").cloned());
    match release {
        None => Ok(()),
        Some(release) => Err(Error::State {
            message: format!(
                "the installation in namespace \"{namespace}\" belongs to the Helm release \"{release}\""
            ),
            notes: vec![
                ("upgrade", format!("helm upgrade {release} CHART -n {namespace}")),
                ("remove", format!("helm uninstall {release} -n {namespace}")),
            ],
        }),
    }
}
