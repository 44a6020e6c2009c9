//! Which cluster a NAME means: the one rule for all commands.

use crate::cli::ConnectionFlags;
use crate::connect::{self, Connection};
use crate::error::{Action, Error};
use crate::output::terminal::Terminal;
use k3k_api::names::{self, is_label};
use k3k_api::v1beta1::Cluster;
use kube::api::{Api, ApiResource, DynamicObject};
use kube::core::Resource as _;
use serde_json::Value;

/// Plural and group of clusters, as RBAC and kubectl write it.
pub(crate) const RESOURCE: &str = "clusters.k3k.io";

/// Longest name that `create` accepts: with it the longest host object that belongs to a cluster, and the labels
/// that Kubernetes derives from it, keep their full names.
pub(crate) const MAX_NAME: usize = 40;

/// A NAME of the command line, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The cluster's name.
    pub(crate) name: String,
    /// The namespace that was given, by `-n` or by `NAMESPACE/NAME`.
    pub(crate) namespace: Option<String>,
}

impl Target {
    /// Takes `NAME`, `NAMESPACE/NAME`, `cluster/NAME` or `clusters.k3k.io/NAME` apart.
    pub(crate) fn parse(text: &str, flag: Option<&str>) -> Result<Self, Error> {
        let (prefix, name) =
            text.rsplit_once('/').map_or((None, text), |(prefix, name)| (Some(prefix), name));
        let prefix =
            prefix.filter(|prefix| !["cluster", "clusters", RESOURCE, "cluster.k3k.io"].contains(prefix));
        let hint = "lower-case letters, digits and \"-\", beginning and ending with a letter or digit";
        if !is_label(name) {
            return Err(Error::usage_hint(format!("\"{name}\" is not the name of a cluster"), hint));
        }
        for namespace in [prefix, flag].into_iter().flatten() {
            if !is_label(namespace) {
                return Err(Error::usage_hint(
                    format!("\"{namespace}\" is not the name of a namespace"),
                    hint,
                ));
            }
        }
        match (prefix, flag) {
            (Some(prefix), Some(flag)) if prefix != flag => Err(Error::usage(format!(
                "namespace mismatch: --namespace \"{flag}\" and \"{text}\" do not go together"
            ))),
            _ => Ok(Self { name: name.to_owned(), namespace: prefix.or(flag).map(str::to_owned) }),
        }
    }

    /// Checks what only a new cluster must fulfil.
    pub(crate) fn fit_for_creation(&self) -> Result<(), Error> {
        if self.name == "system" {
            return Err(Error::usage(
                "invalid cluster name \"system\": k3k-system is the namespace of k3k itself",
            ));
        }
        if self.name.len() > MAX_NAME {
            return Err(Error::usage(format!(
                "the name \"{}\" is too long: {} characters, at most {MAX_NAME} are possible",
                self.name,
                self.name.len()
            )));
        }
        Ok(())
    }

    /// The namespaces to look in, in order: the given one, else `k3k-NAME`, then the context's.
    pub(crate) fn candidates(&self, context_namespace: &str) -> Vec<String> {
        if let Some(namespace) = &self.namespace {
            return vec![namespace.clone()];
        }
        let mut all = vec![names::default_namespace(&self.name), context_namespace.to_owned()];
        all.dedup();
        all
    }
}

/// Clusters of one namespace, typed.
pub(crate) fn api(connection: &Connection, namespace: &str) -> Api<Cluster> {
    Api::namespaced(connection.client.clone(), namespace)
}

/// The resource of clusters, for untyped access that keeps fields this plugin does not know.
pub(crate) fn resource() -> ApiResource {
    ApiResource::erase::<Cluster>(&())
}

/// Finds the one cluster that is meant; its JSON is complete, with fields this plugin does not know.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Ambiguous`], or what the host said.
pub(crate) async fn find(connection: &Connection, target: &Target) -> Result<Value, Error> {
    let namespaces = target.candidates(&connection.context_namespace);
    let mut found: Vec<(String, DynamicObject)> = Vec::new();
    let mut refused = None;
    for namespace in &namespaces {
        let api = Api::<DynamicObject>::namespaced_with(connection.client.clone(), namespace, &resource());
        match api.get_opt(&target.name).await {
            Ok(Some(object)) => found.push((namespace.clone(), object)),
            // A 404 is also what a host without the resource answers.
            Ok(None) => {}
            Err(error) => {
                let action = Action::new("get", RESOURCE).on(&target.name).within(namespace);
                match connection.explain(action, &error) {
                    // Not allowed in one place does not mean that it is not in the other.
                    error @ Error::Forbidden { .. } => refused = refused.or(Some(error)),
                    error => return Err(error),
                }
            }
        }
    }
    match (found.len(), refused) {
        (0, Some(error)) => Err(error),
        (0, None) => {
            installed(connection, &namespaces[0]).await?;
            Err(Error::NotFound { name: target.name.clone(), namespaces })
        }
        (1, _) => {
            let (_, object) = found.remove(0);
            Ok(json(&object))
        }
        _ => Err(Error::Ambiguous {
            name: target.name.clone(),
            namespaces: found.into_iter().map(|(namespace, _)| namespace).collect(),
        }),
    }
}

/// Asks whether the host knows clusters at all.
///
/// # Errors
/// [`Error::NotInstalled`], or what the host said.
pub(crate) async fn installed(connection: &Connection, namespace: &str) -> Result<(), Error> {
    let list = kube::api::ListParams::default().limit(1);
    let action = Action::new("list", RESOURCE).within(namespace);
    match api(connection, namespace).list_metadata(&list).await {
        Ok(_) => Ok(()),
        Err(error) => match connection.explain(action, &error) {
            // Whoever may not list clusters has a host that knows of them.
            Error::Forbidden { .. } => Ok(()),
            error => Err(error),
        },
    }
}

/// The complete JSON of an untyped object.
pub(crate) fn json(object: &DynamicObject) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        // Items of a list come without.
        map.insert("apiVersion".to_owned(), Cluster::api_version(&()).into());
        map.insert("kind".to_owned(), Cluster::kind(&()).into());
    }
    value
}

/// The typed view of a cluster's JSON.
pub(crate) fn view(object: &Value) -> Result<Cluster, Error> {
    serde_json::from_value(object.clone()).map_err(|error| Error::State {
        message: format!(
            "this plugin cannot read cluster \"{}\": {error}",
            object["metadata"]["name"].as_str().unwrap_or_default()
        ),
        notes: vec![("check", "kubectl k3k version".to_owned())],
    })
}

/// The typed view of the cluster that a command names, and the connection to its host.
pub(crate) async fn named(
    target: &Target,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<(Connection, Cluster), Error> {
    let connection = connect::connect(flags, terminal).await?;
    let cluster = view(&find(&connection, target).await?)?;
    Ok((connection, cluster))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("dev", None, Some(("dev", None)))]
    #[case("dev", Some("ns"), Some(("dev", Some("ns"))))]
    #[case("ns/dev", None, Some(("dev", Some("ns"))))]
    #[case("ns/dev", Some("ns"), Some(("dev", Some("ns"))))]
    #[case("ns/dev", Some("other"), None)]
    #[case("cluster/dev", None, Some(("dev", None)))]
    #[case("clusters.k3k.io/dev", Some("ns"), Some(("dev", Some("ns"))))]
    #[case("a/b/c", None, None)]
    #[case("Dev", None, None)]
    #[case("-dev", None, None)]
    #[case("", None, None)]
    #[case("dev", Some("N"), None)]
    #[case("ns/", None, None)]
    fn names_are_taken_apart(
        #[case] text: &str,
        #[case] flag: Option<&str>,
        #[case] want: Option<(&str, Option<&str>)>,
    ) {
        let got = Target::parse(text, flag);
        assert_eq!(got.as_ref().ok().map(|target| (target.name.as_str(), target.namespace.as_deref())), want);
        if let Err(error) = got {
            assert_eq!(error.exit().code(), 2);
        }
    }

    #[test]
    fn a_name_without_namespace_is_looked_for_in_two_places() {
        let target = Target { name: "dev".into(), namespace: None };
        assert_eq!(target.candidates("team-a"), ["k3k-dev", "team-a"]);
        assert_eq!(target.candidates("k3k-dev"), ["k3k-dev"]);
        let target = Target { name: "dev".into(), namespace: Some("x".into()) };
        assert_eq!(target.candidates("team-a"), ["x"]);
    }

    #[test]
    fn names_that_do_not_fit_are_refused_at_creation() {
        let target = |name: &str| Target { name: name.to_owned(), namespace: None };
        assert!(target("system").fit_for_creation().is_err());
        assert!(target(&"a".repeat(MAX_NAME)).fit_for_creation().is_ok());
        assert!(target(&"a".repeat(MAX_NAME + 1)).fit_for_creation().is_err());
        let longest = names::ClusterNames(&"a".repeat(MAX_NAME)).init_server_config();
        assert!(longest.ends_with("-init-server-config") && longest.len() <= 63);
    }
}
