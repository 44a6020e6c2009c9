//! The namespace of a new cluster: made if it is missing and may be made, never changed if it is there.

use crate::cli::DryRun;
use crate::connect::Connection;
use crate::error::{Action, Error};
use crate::output::terminal::Terminal;
use k3k_api::{labels, managers};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use serde_json::json;

/// What the command line says about the namespace.
pub(super) struct Wanted<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// Whether it may be made.
    pub(super) may_make: bool,
    /// The policy to bind it to when it is made.
    pub(super) policy: Option<&'a str>,
}

/// What was done for it.
pub(super) enum Prepared {
    /// It was there.
    Found,
    /// We made it; its UID.
    Made(String, String),
    /// It would be made; a dry run of the cluster has to happen elsewhere.
    WouldBeMade,
}

impl Prepared {
    /// Where to apply the cluster: a dry run cannot happen in a namespace that does not exist.
    pub(super) fn apply_in<'a>(&self, namespace: &'a str) -> &'a str {
        if matches!(self, Self::WouldBeMade) { "default" } else { namespace }
    }

    /// Removes the namespace again if we made it.
    pub(super) async fn undo(&self, connection: &Connection) {
        if let Self::Made(name, uid) = self {
            let preconditions = Preconditions { uid: Some(uid.clone()), resource_version: None };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            // The reason why we undo is what the user has to read.
            let _ = Api::<Namespace>::all(connection.client.clone()).delete(name, &parameters).await;
        }
    }
}

/// Looks at the namespace and makes it if that is what the user wants.
pub(super) async fn prepare(
    connection: &Connection,
    terminal: &Terminal,
    wanted: &Wanted<'_>,
    dry: DryRun,
) -> Result<Prepared, Error> {
    let api = Api::<Namespace>::all(connection.client.clone());
    let found = match api.get_opt(wanted.name).await {
        Ok(found) => found,
        Err(error) => {
            return match connection.explain(Action::new("get", "namespaces").on(wanted.name), &error) {
                // Many users may not look at namespaces; if it is missing, applying the cluster will tell.
                Error::Forbidden { .. } => Ok(Prepared::Found),
                error => Err(error),
            };
        }
    };
    if let Some(namespace) = found {
        if namespace.metadata.deletion_timestamp.is_some() {
            return Err(Error::State {
                message: format!("namespace \"{}\" is being deleted", wanted.name),
                notes: vec![("wait", format!("kubectl wait namespace/{} --for=delete", wanted.name))],
            });
        }
        let bound = namespace.metadata.labels.as_ref().and_then(|labels| labels.get(labels::POLICY_NAME));
        if let Some(policy) = wanted.policy
            && bound.map(String::as_str) != Some(policy)
        {
            terminal.warn(&format!(
                "namespace \"{}\" exists and is left as it is: --policy is for new namespaces",
                wanted.name
            ));
        }
        return Ok(Prepared::Found);
    }
    if !wanted.may_make {
        return Err(Error::State {
            message: format!("namespace \"{}\" does not exist", wanted.name),
            notes: vec![("try", "the same with --create-namespace".to_owned())],
        });
    }
    let mut namespace = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": wanted.name, "labels": { labels::MANAGED_BY: labels::MANAGED_BY_PLUGIN } },
    });
    if let Some(policy) = wanted.policy {
        namespace["metadata"]["labels"][labels::POLICY_NAME] = policy.into();
    }
    let mut parameters = PatchParams::apply(managers::PLUGIN);
    parameters.dry_run = dry == DryRun::Server;
    let made = api
        .patch(wanted.name, &parameters, &Patch::Apply(&namespace))
        .await
        .map_err(|error| connection.explain(Action::new("create", "namespaces").on(wanted.name), &error))?;
    if dry == DryRun::Server {
        terminal.note(&format!(
            "namespace/{} would be created; the cluster is checked in namespace default instead",
            wanted.name
        ));
        return Ok(Prepared::WouldBeMade);
    }
    Ok(Prepared::Made(wanted.name.to_owned(), made.metadata.uid.unwrap_or_default()))
}
