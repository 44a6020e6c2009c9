//! Our entries in the `ValidatingWebhookConfiguration` and the `MutatingWebhookConfiguration`, of which only `caBundle` is ours to write.

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

/// One of the two kinds of registration.
pub trait Registration:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The webhooks that this program answers. The chart registers exactly these.
    const WEBHOOKS: &'static [&'static str];

    /// Names and bundles of all webhooks.
    fn webhooks(&self) -> Vec<(&str, Option<&ByteString>)>;
}

impl Registration for ValidatingWebhookConfiguration {
    const WEBHOOKS: &'static [&'static str] = &["validate.policy.k3k.io", "namespaces.guard.k3k.io"];

    fn webhooks(&self) -> Vec<(&str, Option<&ByteString>)> {
        let all = self.webhooks.iter().flatten();
        all.map(|webhook| (webhook.name.as_str(), webhook.client_config.ca_bundle.as_ref())).collect()
    }
}

impl Registration for MutatingWebhookConfiguration {
    const WEBHOOKS: &'static [&'static str] = &["mutate.policy.k3k.io"];

    fn webhooks(&self) -> Vec<(&str, Option<&ByteString>)> {
        let all = self.webhooks.iter().flatten();
        all.map(|webhook| (webhook.name.as_str(), webhook.client_config.ca_bundle.as_ref())).collect()
    }
}

/// The server-side apply patch that gives every webhook of ours in `found` this bundle; nothing when they have it.
pub fn patch<R: Registration>(found: &R, bundle: &str) -> Option<Value> {
    let bytes = bundle.as_bytes();
    ours(found).find(|(_, present)| present.is_none_or(|present| present.0 != bytes))?;
    // All of them: what an apply leaves out, it gives up.
    let webhooks: Vec<Value> = ours(found)
        .map(|(name, _)| json!({"name": name, "clientConfig": {"caBundle": ByteString(bytes.to_vec())}}))
        .collect();
    Some(json!({
        "apiVersion": R::api_version(&()),
        "kind": R::kind(&()),
        "metadata": {"name": found.name_any()},
        "webhooks": webhooks,
    }))
}

/// The bundle by which API servers verify us; nothing unless all of our webhooks are registered, with the same one.
pub fn registered<R: Registration>(found: &R) -> Option<String> {
    let mut bundles: Vec<&[u8]> =
        ours(found).filter_map(|(_, bundle)| bundle).map(|bundle| bundle.0.as_slice()).collect();
    let complete = bundles.len() == R::WEBHOOKS.len();
    bundles.dedup();
    match bundles.as_slice() {
        [bundle] if complete => String::from_utf8(bundle.to_vec()).ok(),
        _ => None,
    }
}

fn ours<R: Registration>(found: &R) -> impl Iterator<Item = (&str, Option<&ByteString>)> {
    found.webhooks().into_iter().filter(|(name, _)| R::WEBHOOKS.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBHOOKS: &[&str] = ValidatingWebhookConfiguration::WEBHOOKS;

    fn found(bundle: Option<&str>) -> ValidatingWebhookConfiguration {
        let bundle = bundle.map(|text| k8s_openapi::ByteString(text.as_bytes().to_vec()));
        let webhook = |name: &str| {
            json!({"name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                   "clientConfig": {"url": "https://x", "caBundle": bundle}})
        };
        serde_json::from_value(json!({
            "metadata": {"name": "k3k-webhook"},
            "webhooks": [webhook("other.example.com"), webhook(WEBHOOKS[0]), webhook(WEBHOOKS[1])],
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
                json!([
                    {"name": WEBHOOKS[0], "clientConfig": {"caBundle": "bmV3"}},
                    {"name": WEBHOOKS[1], "clientConfig": {"caBundle": "bmV3"}},
                ])
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
