//! Our entries in the `ValidatingWebhookConfiguration`, of which only `caBundle` is ours to write.

use k8s_openapi::api::admissionregistration::v1::{ValidatingWebhook, ValidatingWebhookConfiguration};
use kube::ResourceExt;
use serde_json::{Value, json};

/// The webhooks that this program answers. The chart registers exactly these.
pub const WEBHOOKS: &[&str] = &["pods.policy.k3k.io"];

/// The server-side apply patch that gives every webhook of ours in `found` this bundle; nothing when they have it.
pub fn patch(found: &ValidatingWebhookConfiguration, bundle: &str) -> Option<Value> {
    let stale = |webhook: &&ValidatingWebhook| bundle_of(webhook) != Some(bundle.as_bytes());
    ours(found).find(stale)?;
    // All of them: what an apply leaves out, it gives up.
    let webhooks: Vec<Value> = ours(found)
        .map(|webhook| {
            let bundle = k8s_openapi::ByteString(bundle.as_bytes().to_vec());
            json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}})
        })
        .collect();
    Some(json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": found.name_any()},
        "webhooks": webhooks,
    }))
}

/// The bundle by which API servers verify us; nothing unless all of our webhooks are registered, with the same one.
pub fn registered(found: &ValidatingWebhookConfiguration) -> Option<String> {
    let mut bundles: Vec<&[u8]> = ours(found).filter_map(bundle_of).collect();
    let complete = bundles.len() == WEBHOOKS.len();
    bundles.dedup();
    match bundles.as_slice() {
        [bundle] if complete => String::from_utf8(bundle.to_vec()).ok(),
        _ => None,
    }
}

fn ours(found: &ValidatingWebhookConfiguration) -> impl Iterator<Item = &ValidatingWebhook> {
    found.webhooks.iter().flatten().filter(|webhook| WEBHOOKS.contains(&webhook.name.as_str()))
}

fn bundle_of(webhook: &ValidatingWebhook) -> Option<&[u8]> {
    webhook.client_config.ca_bundle.as_ref().map(|bundle| bundle.0.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bundle: Option<&str>) -> ValidatingWebhookConfiguration {
        let bundle = bundle.map(|text| k8s_openapi::ByteString(text.as_bytes().to_vec()));
        let webhook = |name: &str| {
            json!({"name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                   "clientConfig": {"url": "https://x", "caBundle": bundle}})
        };
        serde_json::from_value(json!({
            "metadata": {"name": "k3k-webhook"},
            "webhooks": [webhook("other.example.com"), webhook(WEBHOOKS[0])],
        }))
        .unwrap()
    }

    #[test]
    fn only_our_bundle_is_patched_and_only_when_it_differs() {
        assert_eq!(patch(&found(Some("new")), "new"), None);
        for old in [None, Some("old")] {
            let patch = patch(&found(old), "new").unwrap();
            assert_eq!(
                patch["webhooks"],
                json!([{"name": WEBHOOKS[0], "clientConfig": {"caBundle": "bmV3"}}])
            );
            assert_eq!(patch["metadata"], json!({"name": "k3k-webhook"}));
        }
        assert_eq!(patch(&ValidatingWebhookConfiguration::default(), "new"), None);
    }

    #[test]
    fn registered_means_all_of_ours() {
        assert_eq!(registered(&found(Some("new"))).as_deref(), Some("new"));
        assert_eq!(registered(&found(None)), None);
        assert_eq!(registered(&ValidatingWebhookConfiguration::default()), None);
    }
}
