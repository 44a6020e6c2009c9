//! Service-account tokens: bound to the nested pod, carried into the host pod by a Secret, renewed before they expire.

use super::{Error, Pods};
use crate::watch::Name;
use crate::world::lock;
use k3k_api::managers;
use k3k_translate::Origin;
use k3k_translate::pod::Translated;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

/// When the tokens of each nested pod, by UID, are to be renewed.
#[derive(Debug, Default)]
pub(super) struct Refreshes(Mutex<HashMap<String, Timestamp>>);

impl Refreshes {
    pub(super) fn forget(&self, uid: &str) {
        lock(&self.0).remove(uid);
    }

    /// Time left until the tokens of `uid` are to be renewed; zero if they are due or we do not know.
    pub(super) fn remaining(&self, uid: &str, now: Timestamp) -> Duration {
        let due = lock(&self.0).get(uid).copied();
        due.and_then(|due| Duration::try_from(due.duration_since(now)).ok()).unwrap_or_default()
    }

    fn set(&self, uid: &str, due: Timestamp) {
        lock(&self.0).insert(uid.to_owned(), due);
    }
}

/// When a token issued at `now` and valid until `expiry` is renewed: after 80 % of its life, as the kubelet does.
fn renewal(now: Timestamp, expiry: Timestamp) -> Timestamp {
    let life = expiry.as_second().saturating_sub(now.as_second()).max(0);
    Timestamp::from_second(now.as_second() + life * 4 / 5).unwrap_or(now)
}

impl Pods {
    /// Requests the tokens of a pod and writes the Secret that carries them. `owner` is the host pod once it exists.
    pub(super) async fn write_tokens(
        &self,
        name: &Name,
        origin: &Origin,
        translated: &Translated,
        owner: Option<&Value>,
    ) -> Result<(), Error> {
        if translated.tokens.is_empty() {
            return Ok(());
        }
        let world = &self.world;
        let accounts: Api<ServiceAccount> = Api::namespaced(world.nested.clone(), &name.namespace);
        let now = Timestamp::now();
        let mut due: Option<Timestamp> = None;
        let mut data = Map::new();
        for token in &translated.tokens {
            let request = TokenRequest {
                spec: Some(TokenRequestSpec {
                    audiences: Some(token.audience.iter().cloned().collect()),
                    expiration_seconds: Some(token.expiration_seconds),
                    bound_object_ref: Some(BoundObjectReference {
                        api_version: Some("v1".into()),
                        kind: Some("Pod".into()),
                        name: Some(name.name.clone()),
                        uid: Some(origin.uid.clone()),
                    }),
                }),
                ..TokenRequest::default()
            };
            let answer = accounts
                .create_token_request(&translated.service_account, &PostParams::default(), &request)
                .await
                .map_err(Error::api("request a token of the pod's service account"))?;
            let status = answer.status.unwrap_or_default();
            let renewal = renewal(now, status.expiration_timestamp.map_or(now, |time| time.0));
            due = Some(due.map_or(renewal, |due| due.min(renewal)));
            data.insert(token.key.clone(), status.token.unwrap_or_default().into());
        }
        let context = &world.context.owner;
        let mut metadata = context.metadata(origin, None);
        metadata["name"] = translated.token_secret.clone().into();
        if let Some(owner) = owner {
            metadata["ownerReferences"] = json!([owner]);
        }
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": data});
        let params = PatchParams::apply(managers::KUBELET).force();
        world
            .host_api("Secret")
            .patch(&translated.token_secret, &params, &Patch::Apply(&secret))
            .await
            .map_err(Error::api("write the Secret with the pod's tokens"))?;
        if let Some(due) = due {
            self.refreshes.set(&origin.uid, due);
        }
        Ok(())
    }

    /// Makes the host pod the owner of its tokens, so that they go with it.
    pub(super) async fn hand_over_tokens(&self, translated: &Translated, owner: &Value) -> Result<(), Error> {
        if translated.tokens.is_empty() {
            return Ok(());
        }
        let patch = json!({"metadata": {"ownerReferences": [owner]}});
        self.world
            .host_api("Secret")
            .patch(&translated.token_secret, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .map(drop)
            .map_err(Error::api("hand the tokens over to the host pod"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_in_time() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(renewal(at(1000), at(4600)), at(3880));
        assert_eq!(renewal(at(1000), at(900)), at(1000), "an expired one at once");
        let refreshes = Refreshes::default();
        assert_eq!(refreshes.remaining("u", at(0)), Duration::ZERO, "unknown after a restart: renew");
        refreshes.set("u", at(100));
        assert_eq!(refreshes.remaining("u", at(40)), Duration::from_secs(60));
        assert_eq!(refreshes.remaining("u", at(140)), Duration::ZERO);
    }
}
