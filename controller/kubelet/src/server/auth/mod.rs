//! Who is calling, and whether they may. The nested cluster decides: its client authority vouches for certificates,
//! its API server for tokens, its RBAC for what is allowed. Nobody is exempt, and nothing is allowed while it cannot
//! be asked.

mod attributes;
mod cache;
mod review;

use super::State;
use super::answer::Refusal;
use axum::extract::{ConnectInfo, Request, State as Extract};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use cache::Cache;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use k3k_runtime::tls::{Peer, PeerCertificate};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long what was allowed stays so without asking again.
const ALLOWED: Duration = Duration::from_secs(30);
/// How long what was refused stays so: shorter, for people who mend a role and try again.
const REFUSED: Duration = Duration::from_secs(5);
/// How many answers of either kind are remembered.
const REMEMBERED: usize = 1024;
/// The longest token that is looked at, in bytes. Bound tokens have about 1 KiB.
const LONGEST_TOKEN: usize = 16 * 1024;

/// A caller who has proven who they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct User {
    name: String,
    uid: Option<String>,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

/// A question to RBAC: may `user` do `verb` on one of `subresources` of our node?
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Question {
    user: User,
    verb: &'static str,
    subresources: &'static [&'static str],
}

/// Asks the nested cluster, and remembers.
pub(super) struct Gate {
    nested: kube::Client,
    node: String,
    /// By digest, so that the tokens themselves are not kept.
    tokens: Cache<review::Digest, Option<User>>,
    decisions: Cache<Question, bool>,
}

/// The middleware in front of every route that is not open.
pub(super) async fn require(Extract(state): Extract<Arc<State>>, request: Request, next: Next) -> Response {
    let certificate = request
        .extensions()
        .get::<ConnectInfo<Peer>>()
        .and_then(|ConnectInfo(peer)| peer.certificate.clone());
    let asked = (request.method().clone(), request.uri().path().to_owned());
    match state.gate.check(certificate, request.headers(), &asked.0, &asked.1).await {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

impl Gate {
    pub(super) fn new(nested: kube::Client, node: &str) -> Self {
        Self {
            nested,
            node: node.to_owned(),
            tokens: Cache::new(REMEMBERED),
            decisions: Cache::new(REMEMBERED),
        }
    }

    async fn check(
        &self,
        certificate: Option<PeerCertificate>,
        headers: &HeaderMap,
        method: &http::Method,
        path: &str,
    ) -> Result<(), Refusal> {
        let user = match certificate.and_then(of_certificate) {
            Some(user) => user,
            None => self.of_token(headers).await?,
        };
        let verb = attributes::verb(method).ok_or_else(Refusal::method)?;
        let question = Question { user, verb, subresources: attributes::subresources(path) };
        if self.allows(&question).await? {
            return Ok(());
        }
        tracing::info!(user = question.user.name, verb, path, "refused a request");
        Err(Refusal::forbidden(&question.user.name, verb, &self.node, question.subresources))
    }

    /// The user that a bearer token belongs to, by the nested API server's word.
    async fn of_token(&self, headers: &HeaderMap) -> Result<User, Refusal> {
        let token = bearer(headers).ok_or_else(Refusal::unauthorized)?;
        let digest = review::digest(token);
        let known = if let Some(known) = self.tokens.recall(&digest) {
            known
        } else {
            let user = review::token(&self.nested, token).await.map_err(|error| unreviewed(&error))?;
            let term = if user.is_some() { ALLOWED } else { REFUSED };
            self.tokens.remember(digest, user.clone(), term);
            user
        };
        known.ok_or_else(Refusal::unauthorized)
    }

    async fn allows(&self, question: &Question) -> Result<bool, Refusal> {
        if let Some(decision) = self.decisions.recall(question) {
            return Ok(decision);
        }
        let mut allowed = false;
        for subresource in question.subresources {
            allowed = review::access(&self.nested, &self.node, question, subresource)
                .await
                .map_err(|error| unreviewed(&error))?;
            if allowed {
                break;
            }
        }
        let term = if allowed { ALLOWED } else { REFUSED };
        self.decisions.remember(question.clone(), allowed, term);
        Ok(allowed)
    }
}

fn unreviewed(error: &review::Error) -> Refusal {
    tracing::warn!(%error, "cannot tell whether a request is allowed");
    Refusal::unreviewed()
}

/// The user that a verified certificate names; None if it names nobody.
fn of_certificate(certificate: PeerCertificate) -> Option<User> {
    if certificate.common_name.is_empty() {
        return None;
    }
    Some(User {
        name: certificate.common_name,
        uid: None,
        groups: review::authenticated(certificate.organizations),
        extra: BTreeMap::new(),
    })
}

/// The one bearer token in `headers`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty() && token.len() <= LONGEST_TOKEN)
        .then_some(token)
}

#[cfg(test)]
mod tests;
