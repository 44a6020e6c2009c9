//! Making the host pod, or saying why it is not made.

use super::{Error, Pods};
use crate::converge::Next;
use crate::sync::data::{Existing, write};
use crate::uses::Key;
use crate::watch::Name;
use crate::world::lock;
use futures::future::{join_all, try_join};
use k3k_translate::pod::{Translated, amounts, mutable, translate};
use k3k_translate::status::{for_tenant, refused};
use k3k_translate::{Origin, Refusal};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DynamicObject, PostParams};
use kube::runtime::events::{Event, EventType};
use serde_json::{Value, json};

/// The annotation of host pods with what was last carried over of the parts that may change in a running pod: see [`applied`].
pub(super) const APPLIED: &str = "k3k.io/applied-spec";

/// Images and the like, and amounts. Compared with what the tenant wants, not with the host pod: the host's admission may have changed it.
pub(super) fn applied(translated: &Value) -> Value {
    json!([mutable(translated)["spec"], amounts(translated)["spec"]])
}

impl Pods {
    pub(super) async fn create(&self, name: &Name, nested: &Value) -> Result<Next, Error> {
        let world = &self.world;
        let mut translated = translate(&world.context, nested, &world.services_in(&name.namespace))?;
        let origin =
            Origin::of_nested(nested).ok_or_else(|| Refusal::new("metadata", "the pod has no UID"))?;
        let host_name = world.context.owner.host_name(&name.namespace, &name.name);
        lock(&world.origins).insert(host_name.clone(), origin.clone());
        translated.object["metadata"]["annotations"][APPLIED] =
            applied(&translated.object).to_string().into();

        try_join(
            self.write_missing_data(name, &translated),
            self.write_pod_secret(name, &origin, &translated, None),
        )
        .await?;
        let pod: DynamicObject = serde_json::from_value(translated.object.clone()).map_err(|error| {
            Error::Api { action: "shape the host pod", source: kube::Error::SerdeError(error) }
        })?;
        let made = match world.host_api("Pod").create(&PostParams::default(), &pod).await {
            Ok(made) => made,
            // The cache has not shown it yet; the watch brings us back.
            Err(kube::Error::Api(status)) if status.is_already_exists() => return Ok(Next::Done),
            Err(kube::Error::Api(status))
                if status.code == 403 || status.code == 422 || status.code == 400 =>
            {
                let owner = &world.context.owner;
                let message =
                    for_tenant(&status.message, &host_name, &owner.namespace, &name.name, &name.namespace);
                let reason = if status.code == 403 { "HostAdmissionDenied" } else { "HostRejected" };
                return Err(Error::Denied { reason, message });
            }
            Err(source) => return Err(Error::Api { action: "create the host pod", source }),
        };
        let uid = made.metadata.uid.unwrap_or_default();
        let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": host_name, "uid": uid});
        try_join(
            self.own_data(name, &translated, &host_name, &uid, Existing::Ours),
            self.hand_over_secret(&translated, &owner),
        )
        .await?;
        Ok(Next::Done)
    }

    /// Copies what the pod needs and the host does not have yet.
    async fn write_missing_data(&self, name: &Name, translated: &Translated) -> Result<(), Error> {
        let missing: Vec<Key> = {
            let uses = lock(&self.world.uses);
            keys(name, translated).filter(|key| !uses.is_written(key)).collect()
        };
        let results = join_all(missing.iter().map(|key| write(&self.world, key, Existing::Unknown))).await;
        results.into_iter().collect::<Result<(), _>>().map_err(Error::from)
    }

    /// Makes the host pod an owner of every copy it uses, so that the host removes a copy with its last user.
    pub(super) async fn own_data(
        &self,
        name: &Name,
        translated: &Translated,
        host_name: &str,
        uid: &str,
        existing: Existing,
    ) -> Result<(), Error> {
        let news: Vec<Key> = {
            let mut uses = lock(&self.world.uses);
            keys(name, translated).filter(|key| uses.add(key, uid, host_name)).collect()
        };
        let results = join_all(news.iter().map(|key| write(&self.world, key, existing))).await;
        results.into_iter().collect::<Result<(), _>>().map_err(Error::from)
    }

    /// Lets the tenant know, in the pod's status and by an Event, that and why the pod is not run.
    pub(super) async fn tell_refusal(&self, name: &Name, error: &Error) {
        let world = &self.world;
        let Some(nested) = world.nested_pod(name) else { return };
        let reason = match error {
            Error::Denied { reason, .. } => reason,
            Error::Taken { .. } | Error::Data(_) => "HostNameTaken",
            _ => "NotSupported",
        };
        let message = error.to_string();
        tracing::info!(pod = %name, reason, message, "a pod is not run");
        let status = refused(&nested, reason, &message, &Timestamp::now().to_string());
        if let Err(error) = self.write_status(name, &nested, &status).await {
            tracing::warn!(pod = %name, %error, "the refusal could not be written into the pod's status");
        }
        let reference = serde_json::from_value::<DynamicObject>(nested)
            .map(|pod| kube::Resource::object_ref(&pod, &crate::world::core("Pod")));
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(message.chars().take(1000).collect()),
            action: "Create".to_owned(),
            secondary: None,
        };
        if let Ok(reference) = reference
            && let Err(error) = world.recorder.publish(&event, &reference).await
        {
            tracing::warn!(pod = %name, %error, "the refusal could not be recorded as an event");
        }
    }
}

fn keys(name: &Name, translated: &Translated) -> impl Iterator<Item = Key> {
    let namespace = name.namespace.clone();
    translated
        .references
        .keys()
        .map(move |(kind, object)| (*kind, Name { namespace: namespace.clone(), name: object.clone() }))
}
