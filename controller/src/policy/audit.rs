//! Looking again at what is there already: objects that were made before their policy, under an exemption that has ended, or while the webhook
//! was away. What breaks a rule is counted in the policy's status and told once; nothing is ever deleted.

pub mod items;
pub mod turns;

use super::Context;
use super::build::Owner;
use super::error::Error;
use super::status;
use futures::AsyncBufReadExt as _;
use items::Items;
use jiff::Timestamp;
use k3k_api::managers;
use k3k_api::v1beta1::policy::{EnforcementMode, Violations};
use k3k_api::v1beta1::{GROUP, VERSION, VirtualClusterPolicy, VirtualClusterPolicySpec};
use k3k_policy::{Facts, Governing, Operation, Policy, Question, Requester, judge};
use k3k_runtime::apply;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ListMeta;
use kube::api::{ApiResource, DynamicObject, ListParams, PartialObjectMeta};
use kube::core::Request;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use turns::Turns;

/// How soon after the start, when everybody is busy, it is looked at for the first time.
const FIRST: Duration = Duration::from_secs(60);
/// Changes that come within so short a time are looked at together.
const SETTLE: Duration = Duration::from_secs(5);
/// Objects of one answer of the host.
const PAGE: u32 = 200;
/// How many violations are named.
const EXAMPLES: usize = 20;

/// Says that it is time to look again.
#[derive(Debug, Default)]
pub struct Bell {
    rung: Notify,
    everything: AtomicBool,
}

impl Bell {
    /// Policies, or what they govern, may have changed.
    pub fn ring(&self) {
        self.rung.notify_one();
    }

    /// Anything may have been let in.
    pub fn look_at_all(&self) {
        self.everything.store(true, Ordering::Relaxed);
        self.ring();
    }
}

/// Counts again and again, for as long as it is polled.
pub async fn run(context: &Context) {
    context.caches.ready().await;
    tokio::time::sleep(FIRST).await;
    let mut turns = Turns::default();
    loop {
        if context.audit.everything.swap(false, Ordering::Relaxed) {
            turns.forget();
        }
        let policies = context.caches.specs();
        turns.keep(|name| policies.contains_key(name));
        for (name, spec) in policies {
            let state = state(context, &name);
            if !turns.is_due(&name, &state, Instant::now()) {
                continue;
            }
            let found = Box::pin(count_all(context, &name, state.0, spec)).await.unwrap_or_else(|error| {
                tracing::warn!(policy = name, %error, "looking for violations; trying again later");
                None
            });
            turns.looked(&name, state, found, Instant::now());
        }
        tokio::select! {
            () = tokio::time::sleep(turns.next_in(Instant::now())) => {}
            () = context.audit.rung.notified() => tokio::time::sleep(SETTLE).await,
        }
    }
}

/// What the findings about a policy depend on, besides the objects: its generation, and the namespaces that it governs.
fn state(context: &Context, name: &str) -> turns::State {
    let policy = context.caches.policy(name);
    let generation = policy.and_then(|policy| policy.meta().generation).unwrap_or_default();
    let mut bound: Vec<String> =
        context.caches.bound(name).iter().map(|namespace| namespace.name_any()).collect();
    bound.sort_unstable();
    (generation, bound)
}

/// How many violations of a policy there are; nothing if it cannot be understood.
async fn count_all(
    context: &Context,
    name: &str,
    generation: i64,
    spec: VirtualClusterPolicySpec,
) -> Result<Option<u32>, Error> {
    let Ok(policy) = Policy::compile(name, generation, spec) else { return Ok(None) };
    Box::pin(look_at(context, policy)).await.map(|found| Some(total(&found)))
}

/// All of them.
fn total(found: &Violations) -> u32 {
    found.enforced.saturating_add(found.warned).saturating_add(found.audited)
}

async fn look_at(context: &Context, policy: Policy) -> Result<Violations, Error> {
    let name = policy.name.clone();
    let governing = Governing::Named(Arc::new(policy));
    let mut counted = Violations::default();
    for namespace in context.caches.bound(&name) {
        let namespace = namespace.name_any();
        for (resource, plural) in kinds() {
            let what = || format!("{plural} in namespace {namespace:?}");
            let url = DynamicObject::url_path(&resource, Some(&namespace));
            let mut page = ListParams::default().limit(PAGE);
            loop {
                let next = each(&context.client, &url, &page, |object| {
                    count(&mut counted, &governing, (&resource.group, plural), object, Timestamp::now());
                });
                match next.await.map_err(|source| Error::Read { what: what(), source })? {
                    Some(token) => page = page.continue_token(&token),
                    None => break,
                }
            }
        }
    }
    publish(context, &name, counted.clone()).await?;
    Ok(counted)
}

/// Gives `look` one object after the other of a page of a list, and says where the next begins, if there is more.
async fn each(
    client: &Client,
    url: &str,
    page: &ListParams,
    mut look: impl FnMut(&Value),
) -> Result<Option<String>, kube::Error> {
    let request = Request::new(url).list(page).map_err(kube::Error::BuildRequest)?;
    let mut text = pin!(client.request_stream(request).await?);
    let mut items = Items::default();
    loop {
        let piece = text.fill_buf().await.map_err(kube::Error::ReadEvents)?;
        if piece.is_empty() {
            break;
        }
        let length = piece.len();
        let fed = items.feed(piece, |item| {
            if let Ok(object) = serde_json::from_slice(item) {
                look(&object);
            }
        });
        fed.map_err(|error| kube::Error::Service(Box::new(error)))?;
        text.consume_unpin(length);
    }
    let metadata: ListMeta = serde_json::from_slice(items.metadata()).map_err(kube::Error::SerdeError)?;
    Ok(metadata.continue_.filter(|token| !token.is_empty()))
}

/// Kinds that policies have a word on, with their plurals.
fn kinds() -> [(ApiResource, &'static str); 4] {
    [
        (ApiResource::erase::<Pod>(&()), "pods"),
        (ApiResource::erase::<Service>(&()), "services"),
        (ApiResource::erase::<PersistentVolumeClaim>(&()), "persistentvolumeclaims"),
        (ApiResource::erase::<Ingress>(&()), "ingresses"),
    ]
}

/// Adds what `object` breaks. Guards are left out: what they keep out is never there by mistake of a policy.
fn count(
    counted: &mut Violations,
    governing: &Governing,
    (group, resource): (&str, &str),
    object: &Value,
    now: Timestamp,
) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    // What has ended harms nobody.
    if matches!(text("/status/phase"), "Succeeded" | "Failed") {
        return;
    }
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let question = Question {
        operation: Operation::Create,
        group,
        resource,
        sub_resource: "",
        namespace,
        name,
        requester: &Requester::System,
        object: Some(object),
        old: None,
    };
    let mut told = None;
    for violation in
        judge(&question, &Facts::new(governing, now)).into_iter().filter(|found| !found.is_guard())
    {
        match violation.mode {
            EnforcementMode::Enforce => counted.enforced = counted.enforced.saturating_add(1),
            EnforcementMode::Warn => counted.warned = counted.warned.saturating_add(1),
            EnforcementMode::Audit => counted.audited = counted.audited.saturating_add(1),
        }
        if told != Some(violation.rule) && counted.examples.len() < EXAMPLES {
            counted.examples.push(format!("{namespace}/{name}: {}", violation.rule));
            told = Some(violation.rule);
        }
    }
}

async fn publish(context: &Context, name: &str, mut counted: Violations) -> Result<(), Error> {
    let known = context.caches.policy(name).and_then(|policy| policy.0.as_ref().ok().cloned());
    let Some(known) = known else { return Ok(()) };
    let before = known.status.as_ref().and_then(|status| status.violations.clone());
    let same = before.as_ref().is_some_and(|before| {
        Violations { counted_at: None, ..before.clone() }
            == Violations { counted_at: None, ..counted.clone() }
    });
    if same || (before.is_none() && counted == Violations::default()) {
        return Ok(());
    }
    let now = Timestamp::now();
    counted.counted_at = Some(Timestamp::from_second(now.as_second()).unwrap_or(now).to_string());
    let patch = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "VirtualClusterPolicy",
        "metadata": { "name": name, "uid": known.metadata.uid },
        "status": { "violations": counted },
    });
    let policies: Api<PartialObjectMeta<VirtualClusterPolicy>> = Api::all(context.client.clone());
    match apply::apply_status(&policies, managers::AUDIT, name, patch).await {
        Ok(_) => {
            if let Some(event) = event(before.as_ref(), &counted, name) {
                context.events.publish(event, &status::reference(&Owner::of(&known))).await;
            }
            Ok(())
        }
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => {
            Err(Error::Write { what: format!("the violations of VirtualClusterPolicy {name:?}"), source })
        }
    }
}

/// The event for a change, if it deserves one: there are more than before, or none any more.
fn event(before: Option<&Violations>, after: &Violations, policy: &str) -> Option<Event> {
    let (then, now) = (before.map_or(0, total), total(after));
    let (type_, reason, note) = if now > then {
        let first =
            after.examples.first().map_or_else(String::new, |example| format!(", for example {example}"));
        let Violations { enforced, warned, audited, .. } = after;
        let note = format!(
            "Of what runs, {enforced} would be denied, {warned} warned about and {audited} audited if they were made now{first}. \
             All of them: kubectl k3k policy audit {policy}"
        );
        (EventType::Warning, "ViolationsFound", note)
    } else if now == 0 && then > 0 {
        (EventType::Normal, "NoViolations", "Nothing that runs breaks the policy any more".to_owned())
    } else {
        return None;
    };
    Some(Event {
        type_,
        reason: reason.to_owned(),
        note: Some(note),
        action: "Audit".to_owned(),
        secondary: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_and_would_not_get_in_is_counted() {
        let spec = serde_json::from_value(json!({
            "podSecurityAdmissionLevel": "baseline", "images": { "digest": "Require" },
            "enforcement": { "rules": [{ "name": "images.digest", "mode": "Audit" }] },
        }))
        .unwrap();
        let governing = Governing::Named(Arc::new(Policy::compile("gold", 1, spec).unwrap()));
        let pod = |phase: &str, host: bool| {
            json!({ "metadata": { "namespace": "t", "name": "p" }, "status": { "phase": phase },
                "spec": { "nodeName": "n", "hostPID": host, "containers": [{ "name": "c", "image": "a" }, { "name": "d", "image": "b" }] } })
        };
        let mut counted = Violations::default();
        count(&mut counted, &governing, ("", "pods"), &pod("Running", true), Timestamp::UNIX_EPOCH);
        assert_eq!((counted.enforced, counted.warned, counted.audited), (1, 0, 2));
        assert_eq!(counted.examples, ["t/p: podSecurity.hostNamespaces", "t/p: images.digest"]);
        let before = counted.clone();
        count(&mut counted, &governing, ("", "pods"), &pod("Succeeded", true), Timestamp::UNIX_EPOCH);
        assert_eq!(counted, before);
    }
    #[test]
    fn an_event_tells_of_more_and_of_the_end() {
        let counted = |enforced: u32| Violations {
            enforced,
            examples: (0..enforced).map(|n| format!("t/{n}: images.digest")).collect(),
            ..Violations::default()
        };
        let reason = |before: Option<u32>, after: u32| {
            let before = before.map(counted);
            event(before.as_ref(), &counted(after), "gold").map(|event| event.reason)
        };
        assert_eq!(reason(None, 2).as_deref(), Some("ViolationsFound"));
        assert_eq!(reason(Some(1), 2).as_deref(), Some("ViolationsFound"));
        assert_eq!(reason(Some(2), 1), None);
        assert_eq!(reason(Some(2), 0).as_deref(), Some("NoViolations"));
        assert_eq!(reason(Some(0), 0), None);
        let note = event(None, &counted(2), "gold").unwrap().note.unwrap();
        assert!(note.contains("t/0: images.digest") && note.contains("policy audit gold"), "{note}");
    }
}
