//! Looking again at what is there already: objects that were made before their policy, under an exemption that has ended, or while the webhook
//! was away. What breaks a rule is counted in the policy's status and told once; nothing is ever deleted.

use super::Context;
use super::error::Error;
use jiff::Timestamp;
use k3k_api::managers;
use k3k_api::v1beta1::policy::{EnforcementMode, Violations};
use k3k_api::v1beta1::{GROUP, VERSION, VirtualClusterPolicy};
use k3k_policy::{Facts, Governing, Operation, Policy, Question, Requester, judge};
use k3k_runtime::apply;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use k8s_openapi::api::networking::v1::Ingress;
use kube::api::{ApiResource, DynamicObject, ListParams, PartialObjectMeta};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// How often everything is looked at.
const PERIOD: Duration = Duration::from_secs(10 * 60);
/// How soon after the start, when everybody is busy, it is looked at for the first time.
const FIRST: Duration = Duration::from_secs(60);
/// Objects of one answer of the host.
const PAGE: u32 = 200;
/// How many violations are named.
const EXAMPLES: usize = 20;

/// Counts again and again, for as long as it is polled.
pub async fn run(context: &Context) {
    context.caches.ready().await;
    tokio::time::sleep(FIRST).await;
    loop {
        for (name, spec) in context.caches.specs() {
            let generation =
                context.caches.policy(&name).and_then(|policy| policy.meta().generation).unwrap_or_default();
            let Ok(policy) = Policy::compile(&name, generation, spec) else { continue };
            if let Err(error) = look_at(context, policy).await {
                tracing::warn!(policy = name, %error, "looking for violations; trying again later");
            }
        }
        // Not all controllers of a large host at the same moment.
        tokio::time::sleep(PERIOD.mul_f64(fastrand::f64().mul_add(0.2, 0.9))).await;
    }
}

async fn look_at(context: &Context, policy: Policy) -> Result<(), Error> {
    let name = policy.name.clone();
    let governing = Governing::Named(Arc::new(policy));
    let mut counted = Violations::default();
    for namespace in context.caches.bound(&name) {
        let namespace = namespace.name_any();
        for (resource, plural) in kinds() {
            let api: Api<DynamicObject> = Api::namespaced_with(context.client.clone(), &namespace, &resource);
            let mut page = ListParams::default().limit(PAGE);
            loop {
                let list = api.list(&page).await.map_err(|source| Error::Read {
                    what: format!("{plural} in namespace {namespace:?}"),
                    source,
                })?;
                for object in &list.items {
                    let value = serde_json::to_value(object).unwrap_or_default();
                    count(&mut counted, &governing, (&resource.group, plural), &value, Timestamp::now());
                }
                match list.metadata.continue_.filter(|token| !token.is_empty()) {
                    Some(token) => page = page.continue_token(&token),
                    None => break,
                }
            }
        }
    }
    publish(context, &name, counted).await
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
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(source) => {
            Err(Error::Write { what: format!("the violations of VirtualClusterPolicy {name:?}"), source })
        }
    }
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
}
