//! The Secret of a pod: its service-account tokens, bound to the nested pod and renewed before they expire, and its labels and
//! annotations as files.

use super::{Error, Pods};
use crate::clients::signed;
use crate::sync::data::put;
use crate::watch::Name;
use crate::world::lock;
use k3k_translate::Origin;
use k3k_translate::pod::Translated;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DynamicObject, PostParams};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

/// Tokens by their keys in the pod's Secret.
pub(super) struct Tokens {
    by_key: Map<String, Value>,
    /// When to renew the first of them.
    due: Option<Timestamp>,
}

/// What was last written into the Secret of each nested pod, by UID.
#[derive(Debug, Default)]
pub(super) struct Secrets(Mutex<HashMap<String, Written>>);

#[derive(Debug)]
struct Written {
    /// When the tokens are to be renewed; never when there are none.
    due: Option<Timestamp>,
    files: BTreeMap<String, String>,
    /// The nested pod.
    pod: Name,
    /// Version of the Secret. Another one is another's doing.
    version: String,
}

impl Secrets {
    pub(super) fn forget(&self, uid: &str) {
        lock(&self.0).remove(uid);
    }

    /// Whether the Secret of `uid` holds these files, and tokens that are not due yet. After a restart we do not know, so it does not.
    pub(super) fn is_current(&self, uid: &str, files: &BTreeMap<String, String>, now: Timestamp) -> bool {
        lock(&self.0)
            .get(uid)
            .is_some_and(|written| written.files == *files && written.due.is_none_or(|due| now < due))
    }

    /// Time left until the tokens of `uid` are to be renewed, if it has any.
    pub(super) fn remaining(&self, uid: &str, now: Timestamp) -> Option<Duration> {
        let due = lock(&self.0).get(uid)?.due?;
        Some(Duration::try_from(due.duration_since(now)).unwrap_or_default())
    }

    fn written(&self, uid: &str, written: Written) {
        lock(&self.0).insert(uid.to_owned(), written);
    }
}

/// When a token issued at `now` and valid until `expiry` is renewed: after 80 % of its life, as the kubelet does.
fn renewal(now: Timestamp, expiry: Timestamp) -> Timestamp {
    let life = expiry.as_second().saturating_sub(now.as_second()).max(0);
    Timestamp::from_second(now.as_second() + life * 4 / 5).unwrap_or(now)
}

impl Pods {
    /// Writes the Secret of a pod, owned by the host pod `owner` and gone with it. Of a pod that was made just now it is new, too.
    pub(super) async fn write_pod_secret(
        &self,
        origin: &Origin,
        translated: &Translated,
        tokens: Tokens,
        owner: &Value,
        is_new: bool,
    ) -> Result<(), Error> {
        if translated.tokens.is_empty() && translated.files.is_empty() {
            return Ok(());
        }
        let mut data = tokens.by_key;
        data.extend(translated.files.iter().map(|(key, content)| (key.clone(), content.clone().into())));
        let mut metadata = self.world.context.owner.metadata(origin, None);
        metadata["name"] = translated.secret.clone().into();
        metadata["ownerReferences"] = json!([owner]);
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": data});
        let made = self.put_secret(&translated.secret, &secret, is_new).await;
        let made = made.map_err(Error::api("write the pod's Secret"))?;
        let written = Written {
            due: tokens.due,
            files: translated.files.clone(),
            pod: Name::from(origin.clone()),
            version: made.metadata.resource_version.unwrap_or_default(),
        };
        self.secrets.written(&origin.uid, written);
        Ok(())
    }

    async fn put_secret(
        &self,
        name: &str,
        secret: &Value,
        is_new: bool,
    ) -> Result<DynamicObject, kube::Error> {
        let host = self.world.host_api("Secret");
        if !is_new {
            return put(&host, name, secret).await;
        }
        // Making costs the API server less than applying.
        let new: DynamicObject = serde_json::from_value(secret.clone()).map_err(kube::Error::SerdeError)?;
        match host.create(&signed::create(), &new).await {
            Err(kube::Error::Api(status)) if status.is_already_exists() => put(&host, name, secret).await,
            result => result,
        }
    }

    /// The nested pods, by UID, that have a Secret.
    pub fn with_secrets(&self) -> Vec<String> {
        lock(&self.secrets.0).keys().cloned().collect()
    }

    /// Notes that the host has the Secret of the nested pod `uid` in `version`, or not at all. Gives the pod if that is not what we
    /// wrote, so that it must be written again.
    pub fn secret_seen(&self, uid: &str, version: Option<&str>) -> Option<Name> {
        let mut secrets = lock(&self.secrets.0);
        if secrets.get(uid).is_none_or(|written| Some(written.version.as_str()) == version) {
            return None;
        }
        secrets.remove(uid).map(|written| written.pod)
    }

    /// Requests the tokens that the pod wants.
    pub(super) async fn request_tokens(
        &self,
        name: &Name,
        origin: &Origin,
        translated: &Translated,
    ) -> Result<Tokens, Error> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.world.nested.clone(), &name.namespace);
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
        Ok(Tokens { by_key: data, due })
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
        let (secrets, files) =
            (Secrets::default(), BTreeMap::from([("labels".to_owned(), "a=\"b\"".to_owned())]));
        assert!(!secrets.is_current("u", &files, at(0)), "unknown after a restart: write");
        let written = |due| Written {
            due,
            files: files.clone(),
            pod: Name { namespace: "a".into(), name: "b".into() },
            version: "1".into(),
        };
        secrets.written("u", written(Some(at(100))));
        assert!(secrets.is_current("u", &files, at(40)));
        assert_eq!(secrets.remaining("u", at(40)), Some(Duration::from_secs(60)));
        assert!(!secrets.is_current("u", &files, at(100)), "the tokens are due");
        assert!(!secrets.is_current("u", &BTreeMap::new(), at(40)), "the labels changed");
        secrets.written("v", written(None));
        assert!(secrets.is_current("v", &files, at(1_000_000)), "without tokens nothing falls due");
        assert_eq!(secrets.remaining("v", at(0)), None);
    }
}
