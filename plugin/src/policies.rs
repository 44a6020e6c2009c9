//! Policies: which one is meant, what it says, and where it holds.

use crate::connect::Connection;
use crate::error::{Action, Error};
use crate::manifests;
use k3k_api::labels;
use k3k_api::names::is_label;
use k3k_api::v1beta1::policy::VirtualClusterPolicy;
use k3k_policy::{Governing, Policy};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DynamicObject, ListParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Plural and group of policies, as RBAC and kubectl write it.
pub(crate) const RESOURCE: &str = "virtualclusterpolicies.k3k.io";
/// How kubectl names one in a confirmation.
pub(crate) const REFERENCE: &str = "virtualclusterpolicy.k3k.io";
/// Their API version.
pub(crate) const API_VERSION: &str = "k3k.io/v1beta1";
/// Their kind.
pub(crate) const KIND: &str = "VirtualClusterPolicy";
/// How many objects one answer of the host brings at most.
const PAGE: u32 = 250;

/// The resource of policies, for untyped access that keeps fields this plugin does not know.
pub(crate) fn resource() -> ApiResource {
    ApiResource::erase::<VirtualClusterPolicy>(&())
}

/// All policies, untyped.
pub(crate) fn api(connection: &Connection) -> Api<DynamicObject> {
    Api::all_with(connection.client.clone(), &resource())
}

/// Takes `NAME`, `vcp/NAME` or `virtualclusterpolicies.k3k.io/NAME` apart.
pub(crate) fn name(text: &str) -> Result<String, Error> {
    const PREFIXES: [&str; 5] =
        ["vcp", "virtualclusterpolicy", "virtualclusterpolicies", REFERENCE, RESOURCE];
    let name = match text.split_once('/') {
        Some((prefix, name)) if PREFIXES.contains(&prefix) => name,
        _ => text,
    };
    if name.len() <= 63 && name.split('.').all(is_label) {
        return Ok(name.to_owned());
    }
    Err(Error::usage_hint(
        format!("\"{name}\" is not the name of a policy"),
        "at most 63 lower-case letters, digits, \"-\" and \".\", beginning and ending with a letter or digit",
    ))
}

/// Checks the name of a namespace.
pub(crate) fn namespace(text: &str) -> Result<String, Error> {
    let name = text.strip_prefix("namespace/").or_else(|| text.strip_prefix("ns/")).unwrap_or(text);
    // The rules are those of a cluster's.
    crate::clusters::Target::parse("x", Some(name)).map(|_| name.to_owned())
}

/// A policy of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// In a file.
    File(PathBuf),
    /// In the host.
    Name(String),
}

/// What `--policy` means: a file if there is one of that name or it is written like one, else a name.
pub(crate) fn meant(text: &str) -> Result<Meant, Error> {
    let path = Path::new(text);
    let written_like_one =
        ["yaml", "yml", "json"].iter().any(|end| path.extension().is_some_and(|extension| extension == *end));
    if text == "-" || path.is_file() || written_like_one || text.starts_with(['.', '/', '~']) {
        return Ok(Meant::File(path.to_owned()));
    }
    name(text).map(Meant::Name)
}

/// The policy in a file, compiled.
///
/// # Errors
/// A usage error that names the file and the field.
pub(crate) fn from_file(path: &Path) -> Result<Policy, Error> {
    let object = manifests::one(path, API_VERSION, KIND)?;
    k3k_policy::read_policy(&object)
        .map_err(|error| Error::usage(format!("{}: {error}", manifests::shown(path))))
}

/// The policy of that name in the host, complete.
///
/// # Errors
/// That it does not exist, or what the host said.
pub(crate) async fn find(connection: &Connection, name: &str) -> Result<Value, Error> {
    match api(connection).get_opt(name).await {
        Ok(Some(object)) => Ok(complete(&object)),
        Ok(None) => {
            installed(connection).await?;
            Err(missing(name))
        }
        Err(error) => Err(connection.explain(Action::new("get", RESOURCE).on(name), &error)),
    }
}

/// What to say when there is no such policy.
pub(crate) fn missing(name: &str) -> Error {
    Error::State {
        message: format!("policy \"{name}\" not found"),
        notes: vec![
            ("list", "kubectl k3k policy get".to_owned()),
            ("make", format!("kubectl k3k policy create {name}")),
        ],
    }
}

/// Asks whether the host knows policies at all.
async fn installed(connection: &Connection) -> Result<(), Error> {
    match api(connection).list_metadata(&ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(error) => match connection.explain(Action::new("list", RESOURCE), &error) {
            Error::Forbidden { .. } => Ok(()),
            error => Err(error),
        },
    }
}

/// All policies of the host.
pub(crate) async fn list(connection: &Connection) -> Result<Vec<Value>, Error> {
    let objects = every(&api(connection), &ListParams::default())
        .await
        .map_err(|error| connection.explain(Action::new("list", RESOURCE), &error))?;
    Ok(objects.iter().map(complete).collect())
}

/// The JSON of a policy, with what items of a list come without.
pub(crate) fn complete(object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_else(|_| json!({}));
    value["apiVersion"] = API_VERSION.into();
    value["kind"] = KIND.into();
    value
}

/// The typed view of a policy's JSON.
pub(crate) fn view(object: &Value) -> Result<VirtualClusterPolicy, Error> {
    serde_json::from_value(object.clone()).map_err(|error| unreadable(object, &error.to_string()))
}

/// A policy of the host, compiled.
pub(crate) fn compile(object: &Value) -> Result<Policy, Error> {
    k3k_policy::read_policy(object).map_err(|error| unreadable(object, &error.to_string()))
}

fn unreadable(object: &Value, why: &str) -> Error {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Error::State {
        message: format!("policy \"{name}\" cannot be understood: {why}"),
        notes: vec![
            ("effect", "nothing new can be made in the namespaces that are bound to it".to_owned()),
            ("fix", format!("kubectl edit {REFERENCE}/{name}")),
            ("check", "kubectl k3k version".to_owned()),
        ],
    }
}

/// The policy that a namespace is bound to.
pub(crate) fn of_namespace(namespace: &Namespace) -> Option<&str> {
    namespace.metadata.labels.as_ref()?.get(labels::POLICY_NAME).map(String::as_str)
}

/// Namespaces that are bound to `policy`, or to any.
pub(crate) async fn bound(connection: &Connection, policy: Option<&str>) -> Result<Vec<Namespace>, Error> {
    let selector = policy
        .map_or_else(|| labels::POLICY_NAME.to_owned(), |policy| format!("{}={policy}", labels::POLICY_NAME));
    namespaces(connection, &selector).await
}

/// Namespaces whose labels match.
pub(crate) async fn namespaces(connection: &Connection, selector: &str) -> Result<Vec<Namespace>, Error> {
    every(&Api::<Namespace>::all(connection.client.clone()), &ListParams::default().labels(selector))
        .await
        .map_err(|error| connection.explain(Action::new("list", "namespaces"), &error))
}

/// What governs a namespace: its policy, or that there is none that could be asked.
pub(crate) async fn governing(connection: &Connection, namespace: &Namespace) -> Result<Governing, Error> {
    let Some(name) = of_namespace(namespace) else { return Ok(Governing::Default) };
    match api(connection).get_opt(name).await {
        Ok(Some(object)) => Ok(match k3k_policy::read_policy(&complete(&object)) {
            Ok(policy) => Governing::Named(Arc::new(policy)),
            Err(error) => Governing::Unreadable { name: name.to_owned(), error: error.to_string() },
        }),
        Ok(None) => Ok(Governing::Missing { name: name.to_owned() }),
        Err(error) => Err(connection.explain(Action::new("get", RESOURCE).on(name), &error)),
    }
}

/// A namespace of the host.
///
/// # Errors
/// That it does not exist, or what the host said.
pub(crate) async fn namespace_of(connection: &Connection, name: &str) -> Result<Namespace, Error> {
    match Api::<Namespace>::all(connection.client.clone()).get_opt(name).await {
        Ok(Some(namespace)) => Ok(namespace),
        Ok(None) => Err(Error::State {
            message: format!("namespace \"{name}\" does not exist"),
            notes: vec![("make", format!("kubectl create namespace {name}"))],
        }),
        Err(error) => Err(connection.explain(Action::new("get", "namespaces").on(name), &error)),
    }
}

/// Every object, page by page.
pub(crate) async fn every<K>(api: &Api<K>, parameters: &ListParams) -> Result<Vec<K>, kube::Error>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut objects = Vec::new();
    let mut parameters = parameters.clone().limit(PAGE);
    loop {
        let page = api.list(&parameters).await?;
        objects.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => parameters.continue_token = Some(token),
            None => return Ok(objects),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("gold", Some("gold"))]
    #[case("vcp/gold", Some("gold"))]
    #[case("virtualclusterpolicy.k3k.io/gold.v2", Some("gold.v2"))]
    #[case("Gold", None)]
    #[case("x/gold", None)]
    #[case("", None)]
    #[case("a..b", None)]
    fn names_are_taken_apart(#[case] text: &str, #[case] want: Option<&str>) {
        assert_eq!(name(text).ok().as_deref(), want);
    }

    #[rstest]
    #[case("gold", Some(Meant::Name("gold".into())))]
    #[case("gold.yaml", Some(Meant::File("gold.yaml".into())))]
    #[case("./gold", Some(Meant::File("./gold".into())))]
    #[case("-", Some(Meant::File("-".into())))]
    #[case("a/b", None)]
    fn files_and_names_are_told_apart(#[case] text: &str, #[case] want: Option<Meant>) {
        assert_eq!(meant(text).ok(), want);
    }
}
