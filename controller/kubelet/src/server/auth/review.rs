//! The two questions to the nested API server.

use super::{Question, User};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::Digest as _;
use std::time::Duration;

/// How long the API server may take for one answer.
const LIMIT: Duration = Duration::from_secs(10);
/// The group of everyone who has proven who they are.
const AUTHENTICATED: &str = "system:authenticated";

/// SHA-256 of a token.
pub(super) type Digest = [u8; 32];

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("asking for a {what}: {source}")]
    Ask { what: &'static str, source: Box<kube::Error> },
    #[error("asking for a {what}: no answer within {LIMIT:?}")]
    Late { what: &'static str },
}

pub(super) fn digest(token: &str) -> Digest {
    sha2::Sha256::digest(token.as_bytes()).into()
}

/// Who `token` belongs to; None if it is not valid.
pub(super) async fn token(nested: &Client, token: &str) -> Result<Option<User>, Error> {
    let review = TokenReview {
        spec: TokenReviewSpec { token: token.to_owned(), audiences: None },
        ..TokenReview::default()
    };
    let status = create(nested, "TokenReview", &review).await?.status.unwrap_or_default();
    let user = status.user.filter(|_| status.authenticated == Some(true)).unwrap_or_default();
    let Some(name) = user.username.filter(|name| !name.is_empty()) else { return Ok(None) };
    Ok(Some(User {
        name,
        uid: user.uid,
        groups: authenticated(user.groups.unwrap_or_default()),
        extra: user.extra.unwrap_or_default(),
    }))
}

/// Whether the user of `question` may do its verb on `nodes/{subresource}` of `node`.
pub(super) async fn access(
    nested: &Client,
    node: &str,
    question: &Question,
    subresource: &str,
) -> Result<bool, Error> {
    let user = &question.user;
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(user.name.clone()),
            uid: user.uid.clone(),
            groups: Some(user.groups.clone()),
            extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(question.verb.to_owned()),
                version: Some("v1".to_owned()),
                resource: Some("nodes".to_owned()),
                subresource: Some(subresource.to_owned()),
                name: Some(node.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let status = create(nested, "SubjectAccessReview", &review).await?.status.unwrap_or_default();
    Ok(status.allowed && status.denied != Some(true))
}

/// `groups` and [`AUTHENTICATED`].
pub(super) fn authenticated(mut groups: Vec<String>) -> Vec<String> {
    if !groups.iter().any(|group| group == AUTHENTICATED) {
        groups.push(AUTHENTICATED.to_owned());
    }
    groups
}

async fn create<K>(nested: &Client, what: &'static str, review: &K) -> Result<K, Error>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::ClusterResourceScope>,
    K: Clone + std::fmt::Debug + serde::Serialize + serde::de::DeserializeOwned,
{
    let api = Api::<K>::all(nested.clone());
    match tokio::time::timeout(LIMIT, api.create(&PostParams::default(), review)).await {
        Ok(answer) => answer.map_err(|source| Error::Ask { what, source: Box::new(source) }),
        Err(_) => Err(Error::Late { what }),
    }
}
