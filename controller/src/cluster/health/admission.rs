//! Having a nested API server ask the virtual kubelet what the host will say to a pod. For tenants' convenience alone: the host's webhook
//! decides. So tenants may change it, and it is put right without haste.

use super::nested::Target;
use crate::cluster::build::base64;
use futures::TryStreamExt as _;
use k3k_api::labels::{MANAGED_BY, MANAGED_BY_CONTROLLER};
use k3k_api::managers;
use k3k_runtime::apply;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch::Receiver;
use tokio::time::sleep;

/// The name of the configuration.
const NAME: &str = "k3k-policy";
/// How long after it was changed it is put right, and after a failure tried again: nobody is to be out-written.
const PAUSE: Duration = Duration::from_secs(10);

/// Keeps the configuration as it should be, until the watch breaks. It waits for a node that is well: until there is somebody to ask, each
/// question would only cost time.
pub(super) async fn keep(nested: Client, target: &Target, mut node: Receiver<bool>) {
    let Some(url) = &target.admission else { return std::future::pending().await };
    let wanted = configuration(url, target.server_ca());
    let wanted = match serde_json::from_value::<ValidatingWebhookConfiguration>(wanted) {
        Ok(wanted) => wanted,
        Err(error) => {
            tracing::error!(%error, "the nested admission cannot be configured");
            return std::future::pending().await;
        }
    };
    if node.wait_for(|is_well| *is_well).await.is_err() {
        return std::future::pending().await;
    }
    let api: Api<ValidatingWebhookConfiguration> = Api::all(nested);
    let one = watcher::Config::default().fields(&format!("metadata.name={NAME}"));
    let mut events = pin!(watcher(api.clone(), one));
    loop {
        let applied = match apply::apply(&api, managers::CONTROLLER_NESTED, &wanted).await {
            Ok(applied) => (applied.uid(), applied.metadata.generation),
            Err(error) => {
                tracing::debug!(%error, "the nested admission is not configured");
                sleep(PAUSE).await;
                continue;
            }
        };
        let mut is_there = true;
        loop {
            match events.try_next().await {
                Ok(Some(Event::Apply(found) | Event::InitApply(found))) => {
                    is_there = true;
                    // What was there before we wrote is news of the past.
                    if found.uid() != applied.0 || found.metadata.generation > applied.1 {
                        break;
                    }
                }
                Ok(Some(Event::Delete(_))) => break,
                Ok(Some(Event::Init)) => is_there = false,
                Ok(Some(Event::InitDone)) if !is_there => break,
                Ok(Some(Event::InitDone)) => {}
                Ok(None) | Err(_) => return,
            }
        }
        sleep(PAUSE).await;
    }
}

/// The configuration. Pods are asked about however they are written; of what makes pods only what holds a template.
fn configuration(url: &str, authority: &str) -> Value {
    let rule = |group: &str, resources: &[&str]| {
        let version = "v1";
        json!({
            "apiGroups": [group], "apiVersions": [version], "resources": resources,
            "operations": ["CREATE", "UPDATE"], "scope": "Namespaced",
        })
    };
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": NAME, "labels": { MANAGED_BY: MANAGED_BY_CONTROLLER } },
        "webhooks": [{
            "name": "policy.k3k.io",
            "clientConfig": { "url": url, "caBundle": base64(authority) },
            "rules": [
                rule("", &["pods", "pods/ephemeralcontainers", "pods/resize", "replicationcontrollers"]),
                rule("apps", &["deployments", "statefulsets", "daemonsets", "replicasets"]),
                rule("batch", &["jobs", "cronjobs"]),
            ],
            "admissionReviewVersions": ["v1"],
            // The host decides, also when nobody answers here.
            "failurePolicy": "Ignore",
            "matchPolicy": "Equivalent",
            "sideEffects": "None",
            "timeoutSeconds": 2,
            // Said, so that it is put right when somebody narrows it.
            "namespaceSelector": {},
            "objectSelector": {},
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::build::Site;
    use crate::cluster::build::certificates::{Authorities, generate};
    use crate::cluster::build::mode::Nodes;
    use crate::cluster::plan::Addresses;
    use k3k_runtime::scenario::{self, Call, Scenario};
    use tokio::sync::watch;
    use tokio::time::timeout;

    const ALL: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

    fn target() -> Target {
        let site = Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() };
        let ip = "127.0.0.1".parse().unwrap();
        let addresses = Addresses { api: ip, api_port: 443, shown: None };
        let authorities = Authorities::read(&generate("dev").unwrap()).unwrap();
        Target::new(&site, Nodes::Shown, &addresses, authorities)
            .asking(Some("https://10.43.0.6:10250/admission/k".into()))
    }

    async fn applied(server: &mut Scenario, generation: u32) {
        let call = server.expect("PATCH", &format!("{ALL}/{NAME}")).await;
        assert!(
            call.uri.contains("fieldManager=k3k-controller-nested") && call.uri.contains("force=true"),
            "{}",
            call.uri
        );
        let webhook = &call.body["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], "Ignore");
        assert_eq!(webhook["clientConfig"]["url"], "https://10.43.0.6:10250/admission/k");
        assert!(!webhook["clientConfig"]["caBundle"].as_str().unwrap().is_empty());
        call.answer(200, &object(generation));
    }

    fn object(generation: u32) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": NAME, "uid": "w", "generation": generation, "resourceVersion": generation.to_string()},
        })
    }

    async fn listed(server: &mut Scenario, items: &Value) -> Call {
        let call = server.expect("GET", ALL).await;
        assert!(call.uri.contains("fieldSelector=metadata.name%3Dk3k-policy"), "{}", call.uri);
        call.answer(
            200,
            &json!({
                "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfigurationList",
                "metadata": {"resourceVersion": "1"}, "items": items,
            }),
        );
        server.expect("GET", ALL).await
    }

    #[tokio::test(start_paused = true)]
    async fn it_comes_with_the_node_and_is_put_right_without_haste() {
        let (client, mut server) = scenario::client();
        let (node, is_well) = watch::channel(false);
        let task = tokio::spawn(async move { keep(client, &target(), is_well).await });
        assert!(timeout(PAUSE, server.next()).await.is_err(), "nobody could answer yet");
        node.send_replace(true);
        applied(&mut server, 1).await;
        let watch = listed(&mut server, &json!([object(1)])).await;
        node.send_replace(false);
        assert!(timeout(PAUSE * 10, server.next()).await.is_err(), "it is as it should be");
        // A tenant removes it.
        watch.answer(200, &json!({"type": "DELETED", "object": object(1)}));
        let since = tokio::time::Instant::now();
        applied(&mut server, 1).await;
        assert!(since.elapsed() >= PAUSE);
        task.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_not_fought() {
        let (client, mut server) = scenario::client();
        let (_node, is_well) = watch::channel(true);
        let task = tokio::spawn(async move { keep(client, &target(), is_well).await });
        server.expect("PATCH", ALL).await.refuse(403, "Forbidden", "a policy of the tenant's");
        let since = tokio::time::Instant::now();
        server.expect("PATCH", ALL).await.refuse(403, "Forbidden", "a policy of the tenant's");
        assert!(since.elapsed() >= PAUSE);
        task.abort();
    }

    #[test]
    fn tenants_are_not_held_up_by_it() {
        let configuration: ValidatingWebhookConfiguration =
            serde_json::from_value(configuration("https://x", "ca")).unwrap();
        let [webhook] = &configuration.webhooks.unwrap()[..] else { unreachable!() };
        assert_eq!((webhook.failure_policy.as_deref(), webhook.timeout_seconds), (Some("Ignore"), Some(2)));
        assert_eq!(webhook.side_effects, "None");
    }
}
