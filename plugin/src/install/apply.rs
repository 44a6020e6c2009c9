//! Applying the manifests, object by object, and taking them away again.

use super::kinds;
use crate::cli::DryRun;
use crate::connect::Connection;
use crate::error::{Action, Error};
use k3k_api::{labels, managers};
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, Preconditions,
};
use serde_json::Value;

/// Label that marks every object of an installation, with the field manager's name as its value. By it `install`
/// finds what an older version had and a newer one has not, and `uninstall` finds everything.
pub(crate) const INVENTORY: &str = labels::MANAGED_BY;

/// What applying an object did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was not there.
    Created,
    /// It was different.
    Configured,
    /// It was as it should be.
    Unchanged,
}

impl Outcome {
    /// kubectl's word for it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The object with the mark of the inventory.
pub(crate) fn marked(mut object: Value) -> Value {
    object["metadata"]["labels"][INVENTORY] = managers::INSTALL.into();
    object
}

/// Applies one object.
pub(crate) async fn apply(connection: &Connection, object: &Value, dry: DryRun) -> Result<Outcome, Error> {
    let Some((resource, namespaced)) = kinds::of(object) else {
        return Err(super::chart::Error::Kind {
            file: object["metadata"]["name"].to_string(),
            kind: object["kind"].to_string(),
        }
        .into());
    };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().filter(|_| namespaced);
    let api = api(connection, &resource, namespace);
    let action = |verb| action(verb, &resource, namespace).on(name);
    let before = api
        .get_metadata_opt(name)
        .await
        .map_err(|error| connection.explain(action("get"), &error))?
        .map(|found| found.metadata.resource_version);
    // Ours to the last field: whoever edited it by hand is overruled, as an upgrade has to be.
    let mut parameters = PatchParams::apply(managers::INSTALL).force().validation_strict();
    parameters.dry_run = dry == DryRun::Server;
    let after = api.patch(name, &parameters, &Patch::Apply(object)).await.map_err(|error| {
        connection.explain(action(if before.is_some() { "patch" } else { "create" }), &error)
    })?;
    Ok(match before {
        None => Outcome::Created,
        Some(version) if version == after.metadata.resource_version => Outcome::Unchanged,
        Some(_) => Outcome::Configured,
    })
}

/// All objects of the installation in `namespace` and outside of namespaces, in the reverse order of application.
///
/// # Errors
/// What the host said.
pub(crate) async fn inventory(connection: &Connection, namespace: &str) -> Result<Vec<Value>, Error> {
    let selector = ListParams::default().labels(&format!("{INVENTORY}={}", managers::INSTALL));
    let mut found = Vec::new();
    for (resource, namespaced) in kinds::all().rev() {
        let scope = namespaced.then_some(namespace);
        let list = match api(connection, &resource, scope).list(&selector).await {
            Ok(list) => list,
            // A host without the kind has none of it.
            Err(kube::Error::Api(status)) if status.code == 404 => continue,
            Err(error) => return Err(connection.explain(action("list", &resource, scope), &error)),
        };
        for object in list.items {
            let mut value = serde_json::to_value(&object).unwrap_or_default();
            value["apiVersion"] = resource.api_version.as_str().into();
            value["kind"] = resource.kind.as_str().into();
            found.push(value);
        }
    }
    Ok(found)
}

/// Deletes one object; that it is gone already is as good.
pub(crate) async fn delete(connection: &Connection, object: &Value) -> Result<(), Error> {
    let Some((resource, namespaced)) = kinds::of(object) else { return Ok(()) };
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().filter(|_| namespaced);
    let mut parameters = DeleteParams::background();
    parameters.preconditions = Some(Preconditions {
        uid: object["metadata"]["uid"].as_str().map(str::to_owned),
        resource_version: None,
    });
    match api(connection, &resource, namespace).delete(name, &parameters).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(connection.explain(action("delete", &resource, namespace).on(name), &error)),
    }
}

/// An untyped API of the kind.
pub(crate) fn api(
    connection: &Connection,
    resource: &ApiResource,
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(connection.client.clone(), namespace, resource),
        None => Api::all_with(connection.client.clone(), resource),
    }
}

fn action(verb: &'static str, resource: &ApiResource, namespace: Option<&str>) -> Action {
    let plural = if resource.group.is_empty() {
        resource.plural.clone()
    } else {
        format!("{}.{}", resource.plural, resource.group)
    };
    let mut action = Action::new(verb, &plural);
    action.namespace = namespace.map(str::to_owned);
    action
}
