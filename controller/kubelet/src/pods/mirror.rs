//! A pod that runs: changes go to the host, the status comes back.

use super::create::{APPLIED, applied, generation, pod_reference};
use super::{Error, Pods, gone_is_fine};
use crate::converge::Next;
use crate::sync::data::Existing;
use crate::watch::Name;
use crate::world::lock;
use k3k_api::labels::VIRTUAL_GENERATION;
use k3k_translate::Origin;
use k3k_translate::pod::{Translated, amounts, changed, ephemeral_containers, mutable, translate};
use k3k_translate::status::of_pod;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::Status;
use serde_json::{Value, json};
use std::time::Duration;

impl Pods {
    pub(super) async fn mirror(&self, name: &Name, nested: &Value, host: &Value) -> Result<Next, Error> {
        let status = of_pod(nested, host, &self.world.context.node_ip);
        if nested["status"] != status {
            self.write_status(name, nested, &status).await?;
        }
        let ending = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
        if ending(nested) || ending(host) {
            return Ok(Next::Done);
        }
        // It ran before, so it was translated before; only a newer version of ourselves could refuse it now.
        let services = self.world.services_in(&name.namespace);
        let Ok(translated) = translate(&self.world.context, nested, &services) else { return Ok(Next::Done) };
        // The Secret first: the change of the pod makes the host's kubelet look into it.
        let next = self.keep_secret(name, nested, host, &translated).await?;
        self.carry_over(name, nested, host, &translated).await?;
        Ok(next)
    }

    /// Replaces the status of the nested pod, if nobody has written since we read it: conditions of the nested control plane, which are
    /// kept, must not be lost to an older view of them.
    pub(super) async fn write_status(
        &self,
        name: &Name,
        nested: &Value,
        status: &Value,
    ) -> Result<(), Error> {
        if nested["status"] == *status {
            return Ok(());
        }
        let patch = json!([
            {"op": "test", "path": "/metadata/resourceVersion", "value": nested["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/status", "value": status},
        ]);
        let patch: Patch<Value> = Patch::Json(serde_json::from_value(patch).map_err(|error| Error::Api {
            action: "shape the status",
            source: kube::Error::SerdeError(error),
        })?);
        let api = self.world.nested_api("Pod", &name.namespace);
        let result = api.patch_status(&name.name, &PatchParams::default(), &patch).await;
        match result {
            // The test failed. What was written in between, or another pod of that name, brings us back.
            Err(kube::Error::Api(status)) if is_failed_test(&status) => Ok(()),
            result => gone_is_fine(result.map(drop)).map_err(Error::api("write the pod's status")),
        }
    }

    /// What may change in a running pod: labels, images, `activeDeadlineSeconds`, amounts, files of its Secret, and ephemeral containers,
    /// which are added.
    async fn carry_over(
        &self,
        name: &Name,
        nested: &Value,
        host: &Value,
        translated: &Translated,
    ) -> Result<(), Error> {
        let host_name = host["metadata"]["name"].as_str().unwrap_or_default();
        let api = self.world.host_api("Pod");
        let params = PatchParams::default();
        let wanted = applied(translated);
        let before = host["metadata"]["annotations"][APPLIED].as_str();
        let before: Value =
            before.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_else(|| wanted.clone());
        if before[1] != wanted[1] {
            let amounts = Patch::Strategic(amounts(&translated.object));
            let resized = api.patch_subresource("resize", host_name, &params, &amounts).await;
            resized.map_err(Error::api("resize the host pod"))?;
        }
        self.add_ephemeral_containers(name, nested, host).await?;
        // Last, because it says that everything has been carried over.
        let generation = generation(nested);
        if before != wanted
            || host["metadata"]["labels"] != translated.object["metadata"]["labels"]
            || host["metadata"]["annotations"][VIRTUAL_GENERATION].as_str() != generation.as_deref()
        {
            let mut patch = mutable(&translated.object);
            // The host's admission may have pinned images: only those are touched that the tenant has changed.
            patch["spec"] = changed(&before[0], &wanted[0]);
            patch["metadata"]["annotations"] =
                json!({APPLIED: wanted.to_string(), VIRTUAL_GENERATION: generation});
            for (key, _) in host["metadata"]["labels"].as_object().into_iter().flatten() {
                if patch["metadata"]["labels"].get(key).is_none() {
                    patch["metadata"]["labels"][key] = Value::Null;
                }
            }
            let carried = api.patch(host_name, &params, &Patch::Strategic(&patch)).await;
            carried.map_err(Error::api("carry a change over to the host pod"))?;
        }
        Ok(())
    }

    async fn add_ephemeral_containers(&self, name: &Name, nested: &Value, host: &Value) -> Result<(), Error> {
        let names = |pod: &Value| -> Vec<Value> {
            let containers = pod["spec"]["ephemeralContainers"].as_array().into_iter().flatten();
            containers.map(|container| container["name"].clone()).collect()
        };
        // Those that are there cannot be changed, and the host's admission may have made them other than they were.
        let there = names(host);
        if names(nested).iter().any(|name| !there.contains(name)) {
            let mut containers =
                ephemeral_containers(&self.world.context, nested, &self.world.services_in(&name.namespace))?;
            containers.retain(|container| !there.contains(&container["name"]));
            let patch = json!({"spec": {"ephemeralContainers": containers}});
            self.world
                .host_api("Pod")
                .patch_subresource(
                    "ephemeralcontainers",
                    host["metadata"]["name"].as_str().unwrap_or_default(),
                    &PatchParams::default(),
                    &Patch::Strategic(&patch),
                )
                .await
                .map_err(Error::api("add an ephemeral container to the host pod"))?;
        }
        Ok(())
    }

    async fn keep_secret(
        &self,
        name: &Name,
        nested: &Value,
        host: &Value,
        translated: &Translated,
    ) -> Result<Next, Error> {
        let Some(origin) = Origin::of_nested(nested) else { return Ok(Next::Done) };
        let text = |key: &str| host["metadata"][key].as_str().unwrap_or_default();
        lock(&self.world.origins).insert(text("name").to_owned(), origin.clone());
        // News only when we were restarted: what the pod uses is on record again.
        let owner = pod_reference(text("name"), text("uid"));
        match self.own_data(name, translated, &owner, Existing::Unknown).await {
            // The pod runs with what it has; only its next start would suffer.
            Err(error) if error.is_final() => tracing::warn!(pod = %name, %error, "a copy is not ours"),
            result => result?,
        }
        if translated.tokens.is_empty() && translated.files.is_empty() {
            return Ok(Next::Done);
        }
        if !self.secrets.is_current(&origin.uid, &translated.files, Timestamp::now()) {
            let tokens = self.request_tokens(name, &origin, translated).await?;
            self.write_pod_secret(&origin, translated, tokens, &owner, false).await?;
        }
        let left = self.secrets.remaining(&origin.uid, Timestamp::now());
        Ok(left.map_or(Next::Done, |left| Next::After(left.max(Duration::from_secs(1)))))
    }
}

/// Whether a JSON patch was refused for its test: like an invalid object, but without a field to blame.
fn is_failed_test(status: &Status) -> bool {
    status.code == 422 && status.details.as_ref().is_none_or(|details| details.causes.is_empty())
}
