//! Making the host pod, or saying why it is not made.

use super::{Error, Pods};
use crate::converge::Next;
use crate::sync::copy::Unseen;
use crate::sync::data::{self, Existing, discard, write};
use crate::sync::denied::denied;
use crate::uses::Key;
use crate::watch::Name;
use crate::world::{World, lock};
use futures::future::{join, join_all, try_join};
use k3k_api::labels::VIRTUAL_GENERATION;
use k3k_api::v1beta1::SyncedKind;
use k3k_translate::pod::{Translated, amounts, mutable, translate};
use k3k_translate::status::refused;
use k3k_translate::{Origin, Refusal, class};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, ApiResource, DynamicObject, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::events::{Event, EventType};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// The annotation of host pods with what was last carried over of the parts that may change in a running pod: see [`applied`].
pub(super) const APPLIED: &str = "k3k.io/applied-spec";

/// Images and the like, amounts, and a digest of what its Secret holds as files. Compared with what the tenant wants, not with the host
/// pod: the host's admission may have changed it. The digest is there because the host's kubelet renews a pod's volumes when the pod
/// changes, and otherwise only about once a minute.
pub(super) fn applied(translated: &Translated) -> Value {
    let mut applied =
        vec![mutable(&translated.object)["spec"].clone(), amounts(&translated.object)["spec"].clone()];
    if !translated.files.is_empty() {
        applied.push(digest(&translated.files).into());
    }
    applied.into()
}

/// The generation of a pod, as [`VIRTUAL_GENERATION`] has it.
pub(super) fn generation(nested: &Value) -> Option<String> {
    nested["metadata"]["generation"].as_u64().map(|generation| generation.to_string())
}

fn digest(files: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (name, content) in files {
        for text in [name, content] {
            hash.update(text.len().to_be_bytes());
            hash.update(text);
        }
    }
    hash.finalize().iter().take(16).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

impl Pods {
    pub(super) async fn create(&self, name: &Name, nested: &Value) -> Result<Next, Error> {
        let world = &self.world;
        let mut translated = translate(&world.context, nested, &world.services_in(&name.namespace))?;
        class::runtime(&world.offered, nested)?;
        if let Some(name) = self.host_priority(nested).await? {
            translated.object["spec"]["priorityClassName"] = name.into();
        }
        let origin =
            Origin::of_nested(nested).ok_or_else(|| Refusal::new("metadata", "the pod has no UID"))?;
        let host_name = world.context.owner.host_name(&name.namespace, &name.name);
        lock(&world.origins).insert(host_name.clone(), origin.clone());
        translated.object["metadata"]["annotations"][APPLIED] = applied(&translated).to_string().into();
        if let Some(generation) = generation(nested) {
            translated.object["metadata"]["annotations"][VIRTUAL_GENERATION] = generation.into();
        }

        let missing = self.write_missing_data(name, &translated).await?;
        let pod: DynamicObject = serde_json::from_value(translated.object.clone()).map_err(|error| {
            Error::Api { action: "shape the host pod", source: kube::Error::SerdeError(error) }
        })?;
        let api = world.host_api("Pod");
        let (made, tokens) =
            join(api.create(&PostParams::default(), &pod), self.request_tokens(name, &origin, &translated))
                .await;
        let made = match made {
            Ok(made) => made,
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                return match self.find_again(name).await? {
                    // The watch shows it soon.
                    Unseen::Ours => Ok(Next::Done),
                    Unseen::Others => Err(Error::Taken { host_name }),
                    Unseen::Nothing => Ok(Next::Retry),
                };
            }
            Err(error) => {
                join_all(missing.iter().map(|key| discard(world, key))).await;
                return Err(denied(&world.context.owner, name, error)
                    .map_or_else(Error::api("create the host pod"), Error::Denied));
            }
        };
        let uid = made.metadata.uid.unwrap_or_default();
        let owner = pod_reference(&host_name, &uid);
        // The host takes longer to place the pod and to make its sandbox than we take to write what it mounts; and this way the
        // Secret belongs to the pod from the start.
        try_join(
            async { self.write_pod_secret(&origin, &translated, tokens?, &owner, true).await },
            self.own_data(name, &translated, &owner, Existing::Ours),
        )
        .await?;
        Ok(Next::Done)
    }

    /// The class by which the pod has its priority in the host, if the host knows its class.
    async fn host_priority(&self, nested: &Value) -> Result<Option<String>, Error> {
        let World { context, sync, offered, .. } = &*self.world;
        let asks = sync.copies(SyncedKind::PriorityClass) || sync.copies(SyncedKind::HostPriorityClass);
        let name =
            nested["spec"]["priorityClassName"].as_str().filter(|name| asks && !class::is_built_in(name));
        let Some(name) = name else { return Ok(None) };
        let resource =
            ApiResource::from_gvk(&GroupVersionKind::gvk("scheduling.k8s.io", "v1", "PriorityClass"));
        let classes: Api<DynamicObject> = Api::all_with(self.world.nested.clone(), &resource);
        let class =
            classes.get_metadata_opt(name).await.map_err(Error::api("read the pod's PriorityClass"))?;
        let class = class.and_then(|class| serde_json::to_value(class).ok()).unwrap_or_default();
        Ok(class::priority(&context.owner, sync, offered, &class))
    }

    /// Copies what the pod needs and the host does not have yet, before there is a pod to mount it: a name that is another's must stop us
    /// first. Returns what was missing.
    async fn write_missing_data(&self, name: &Name, translated: &Translated) -> Result<Vec<Key>, Error> {
        let missing: Vec<(Key, bool)> = {
            let uses = lock(&self.world.uses);
            keys(name, translated).filter(|(key, _)| !uses.is_written(key)).collect()
        };
        self.write_all(&missing, Existing::Unknown).await?;
        Ok(missing.into_iter().map(|(key, _)| key).collect())
    }

    /// Writes copies, each with whether the pod can do without it.
    async fn write_all(&self, wanted: &[(Key, bool)], existing: Existing) -> Result<(), Error> {
        let written = wanted.iter().map(|(key, may_miss)| async move {
            match write(&self.world, key, existing).await {
                Err(data::Error::LeftOut { .. }) if *may_miss => Ok(()),
                result => result,
            }
        });
        Ok(join_all(written).await.into_iter().collect::<Result<(), _>>()?)
    }

    /// Puts on record what the host pod uses, and makes it an owner of the copies, so that the host removes a copy with its last user.
    pub(super) async fn own_data(
        &self,
        name: &Name,
        translated: &Translated,
        pod: &Value,
        existing: Existing,
    ) -> Result<(), Error> {
        let news: Vec<(Key, bool)> = {
            let mut uses = lock(&self.world.uses);
            // A change of the original is heard of by its watch.
            keys(name, translated).filter(|(key, _)| uses.add(key, pod) && !uses.is_owned(key)).collect()
        };
        self.write_all(&news, existing).await
    }

    /// Lets the tenant know, in the pod's status and by an Event, that and why the pod is not run.
    pub(super) async fn tell_refusal(&self, name: &Name, error: &Error) {
        let world = &self.world;
        let Some(nested) = world.nested_pod(name) else { return };
        let reason = match error {
            Error::Denied(denied) => denied.reason,
            Error::Data(data::Error::LeftOut { .. }) => "NotSynced",
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

/// A host pod as an owner.
pub(super) fn pod_reference(host_name: &str, uid: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "name": host_name, "uid": uid})
}

/// What the pod uses, each with whether it can do without.
fn keys(name: &Name, translated: &Translated) -> impl Iterator<Item = (Key, bool)> {
    let namespace = name.namespace.clone();
    translated.references.iter().map(move |((kind, object), may_miss)| {
        ((*kind, Name { namespace: namespace.clone(), name: object.clone() }), *may_miss)
    })
}
