//! Making the host pod, or saying why it is not made.

use super::decide::is_finished;
use super::{Error, Pods};
use crate::converge::Next;
use crate::sync::copy::Unseen;
use crate::sync::data::{self, Existing, discard, write};
use crate::sync::denied::denied;
use crate::uses::Key;
use crate::watch::Name;
use crate::world::{World, lock};
use futures::future::{join, join_all};
use k3k_api::labels::VIRTUAL_GENERATION;
use k3k_api::v1beta1::SyncedKind;
use k3k_translate::pod::ports::{collide, host_ports};
use k3k_translate::pod::{Translated, amounts, mutable, translate};
use k3k_translate::status::{refused, rejected};
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
        if self.lacks_host_port(nested) {
            let message =
                "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
            return Err(Error::Rejected { reason: "NodePorts", message: message.to_owned() });
        }
        let host_name = world.context.owner.host_name(&name.namespace, &name.name);
        // Nothing is waited for in between: of two pods that want the same, one comes first.
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
        // Neither is cut short by a failure of the other: a copy without its pod as owner would stay.
        let (secret, data) = join(
            async { self.write_pod_secret(&origin, &translated, tokens?, &owner, true).await },
            self.own_data(name, &translated, &owner, Existing::Ours),
        )
        .await;
        secret.and(data).map(|()| Next::Done)
    }

    /// Whether another pod of the cluster has a port of the node that this one wants. Of what the scheduler looks at only this is not
    /// judged by the host. It matters to pods that were bound to the node without the scheduler.
    fn lacks_host_port(&self, nested: &Value) -> bool {
        let wanted = host_ports(nested);
        let world = &self.world;
        let has_it = |other: &Value| {
            let text = |field: &str| other["metadata"][field].as_str().unwrap_or_default();
            let host_name = world.context.owner.host_name(text("namespace"), text("name"));
            other["metadata"]["uid"] != nested["metadata"]["uid"]
                && other["spec"]["nodeName"] == nested["spec"]["nodeName"]
                && !is_finished(other)
                && lock(&world.origins).get(&host_name).is_some_and(|made_for| made_for.uid == text("uid"))
                && collide(&wanted, &host_ports(other))
        };
        !wanted.is_empty() && world.nested_pods.all().any(|other| has_it(&other))
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
        self.write_all(&missing, Existing::Awaited).await?;
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
            keys(name, translated).filter(|(key, _)| uses.must_own(key, pod)).collect()
        };
        self.write_all(&news, existing).await
    }

    /// Lets the tenant know, in the pod's status and by an Event, that and why the pod is not run.
    pub(super) async fn tell_refusal(&self, name: &Name, error: &Error) {
        let world = &self.world;
        let Some(nested) = world.nested_pod(name) else { return };
        let reason = match error {
            Error::Denied(denied) => denied.reason,
            Error::Rejected { reason, .. } => reason,
            Error::Data(data::Error::LeftOut { .. }) => "NotSynced",
            Error::Taken { .. } | Error::Data(_) => "HostNameTaken",
            _ => "NotSupported",
        };
        let message = error.to_string();
        tracing::info!(pod = %name, reason, message, "a pod is not run");
        let status = match error {
            Error::Rejected { .. } => rejected(&nested, reason, &message),
            _ => refused(&nested, reason, &message, &Timestamp::now().to_string()),
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Seen, world};
    use kube::runtime::watcher;
    use std::sync::Arc;

    fn pod(name: &str, port: u16) -> Value {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "shop", "uid": name, "resourceVersion": "5"},
            "spec": {"nodeName": "k3k-dev", "containers": [{"name": "c", "image": "busybox", "ports": [{"hostPort": port}]}]},
            "status": {"phase": "Pending"},
        })
    }

    /// What becomes of pod `late`, with another on its node that the host has if `is_made`.
    fn lacks_host_port(other: &Value, is_made: bool) -> bool {
        let late = pod("late", 80);
        let (world, ..) = world(Seen { nested_pod: Some(late.clone()), ..Seen::default() });
        world.nested_pods.take(&watcher::Event::Apply(serde_json::from_value(other.clone()).unwrap()));
        if is_made {
            let origin = Origin::of_nested(other).unwrap();
            lock(&world.origins).insert(world.context.owner.host_name("shop", "first"), origin);
        }
        Pods::new(Arc::new(world)).lacks_host_port(&late)
    }

    #[tokio::test]
    async fn a_port_of_the_node_is_had_by_who_came_first() {
        assert!(lacks_host_port(&pod("first", 80), true));
        assert!(!lacks_host_port(&pod("first", 80), false), "neither was made");
        assert!(!lacks_host_port(&pod("first", 81), true));
        let mut ended = pod("first", 80);
        ended["status"]["phase"] = "Succeeded".into();
        assert!(!lacks_host_port(&ended, true));
        let mut elsewhere = pod("first", 80);
        elsewhere["spec"]["nodeName"] = "other".into();
        assert!(!lacks_host_port(&elsewhere, true));
    }

    #[tokio::test]
    async fn a_pod_without_its_port_fails_as_on_a_node() {
        let (late, first) = (pod("late", 80), pod("first", 80));
        let (world, mut host, mut nested) = world(Seen { nested_pod: Some(late), ..Seen::default() });
        world.nested_pods.take(&watcher::Event::Apply(serde_json::from_value(first.clone()).unwrap()));
        let host_name = world.context.owner.host_name("shop", "first");
        lock(&world.origins).insert(host_name, Origin::of_nested(&first).unwrap());
        let pods = Pods::new(Arc::new(world));
        let (requests, _) = crate::converge::queue();
        pods.ask(&requests, true, &crate::watch::Change::Relisted);
        pods.ask(&requests, false, &crate::watch::Change::Relisted);
        let name = Name { namespace: "shop".into(), name: "late".into() };
        let step = tokio::spawn(async move { pods.step(&name).await });
        let call = nested.expect("PATCH", "/api/v1/namespaces/shop/pods/late/status").await;
        let status = call.body[1]["value"].clone();
        assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("NodePorts")));
        assert!(status["message"].as_str().unwrap().starts_with("Pod was rejected: "), "{status}");
        call.accept();
        nested.expect("POST", "/apis/events.k8s.io/v1/namespaces/shop/events").await.accept();
        assert_eq!(step.await.unwrap(), Next::Refused);
        assert!(host.next().await.is_none(), "the host hears nothing of it");
    }
}
