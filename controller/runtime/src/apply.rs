//! The three ways in which k3k writes objects. Server-side apply keeps what others wrote in fields that we do
//! not mention, and needs no read before the write.

use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Error, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::fmt::Debug;

/// Server-side apply as `manager`, taking over fields that another manager owns: use it on objects that are ours
/// outright. `object` carries its name, `apiVersion` and `kind`, and no `managedFields`.
pub async fn apply<K>(api: &Api<K>, manager: &str, object: &K) -> Result<K, Error>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    api.patch(&object.name_any(), &PatchParams::apply(manager).force(), &Patch::Apply(object)).await
}

/// Server-side apply on the `status` subresource as `manager`, taking over conflicting fields. `status` is the
/// whole patch, with `apiVersion`, `kind` and a `status` field.
pub async fn apply_status<K>(api: &Api<K>, manager: &str, name: &str, status: Value) -> Result<K, Error>
where
    K: Resource + Clone + Debug + DeserializeOwned,
{
    api.patch_status(name, &PatchParams::apply(manager).force(), &Patch::Apply(status)).await
}

/// Creates `object`, or gives the one of that name that is there already, unchanged.
pub async fn create_if_missing<K>(api: &Api<K>, object: &K) -> Result<K, Error>
where
    K: Resource + Clone + Debug + Serialize + DeserializeOwned,
{
    match api.create(&PostParams::default(), object).await {
        Err(Error::Api(status)) if status.is_already_exists() => api.get(&object.name_any()).await,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;
    use k8s_openapi::api::core::v1::ConfigMap;
    use serde_json::json;

    const URI: &str = "/api/v1/namespaces/default/configmaps";

    fn object() -> ConfigMap {
        serde_json::from_value(json!({"metadata": {"name": "x"}, "data": {"a": "b"}})).unwrap()
    }

    #[tokio::test]
    async fn applies_as_the_manager_and_by_force() {
        let (client, mut server) = scenario::client();
        let api = Api::<ConfigMap>::default_namespaced(client);
        let applied = tokio::spawn(async move {
            apply(&api, "k3k-controller", &object()).await?;
            apply_status(&api, "k3k-kubelet", "x", json!({"status": {}})).await
        });
        let call = server.expect("PATCH", &format!("{URI}/x?")).await;
        assert_eq!(call.headers["content-type"], "application/apply-patch+yaml");
        assert!(call.uri.contains("fieldManager=k3k-controller") && call.uri.contains("force=true"));
        assert_eq!((&call.body["kind"], &call.body["data"]["a"]), (&json!("ConfigMap"), &json!("b")));
        call.accept();
        let call = server.expect("PATCH", &format!("{URI}/x/status?")).await;
        assert!(call.uri.contains("fieldManager=k3k-kubelet") && call.uri.contains("force=true"));
        call.answer(200, &json!({"metadata": {"name": "x"}}));
        applied.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_exists_is_given_and_left_alone() {
        let (client, mut server) = scenario::client();
        let api = Api::<ConfigMap>::default_namespaced(client);
        let made = tokio::spawn(async move { create_if_missing(&api, &object()).await });
        server.expect("POST", URI).await.refuse(409, "AlreadyExists", "there");
        server.expect("GET", &format!("{URI}/x")).await.answer(200, &json!({"data": {"a": "old"}}));
        assert_eq!(made.await.unwrap().unwrap().data.unwrap()["a"], "old");
        assert!(server.next().await.is_none());
    }

    #[tokio::test]
    async fn other_refusals_are_errors() {
        let (client, mut server) = scenario::client();
        let api = Api::<ConfigMap>::default_namespaced(client);
        let made = tokio::spawn(async move { create_if_missing(&api, &object()).await });
        server.expect("POST", URI).await.refuse(409, "Conflict", "namespace is being deleted");
        assert!(matches!(made.await.unwrap(), Err(Error::Api(_))));
    }
}
