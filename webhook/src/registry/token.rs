//! Tokens: asking for them, and keeping them for most of their time. A token is for one registry, one repository and
//! one asker, and is good for reading only.

use super::client::{Ask, Client, problem, read};
use super::credentials::Credentials;
use super::error::Problem;
use super::realm::{self, Asker};
use super::target::{Key, Machine, Target};
use http::{HeaderValue, Method, StatusCode, Uri};
use lru::LruCache;
use serde::Deserialize;
use std::num::NonZeroUsize;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How many tokens are kept.
const TOKENS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);
/// The longest answer of a token service.
const LONGEST_ANSWER: usize = 128 * 1024;
/// How long a token is good for that does not say.
const USUAL_LIFETIME: Duration = Duration::from_secs(60);
/// However long a token is good for, another is asked for after this time.
const LONGEST_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The tokens that we have.
pub(super) struct Tokens {
    known: Mutex<LruCache<Owner, Token>>,
}

/// Whom a token is for. Realm and service are those that the registry last named.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Owner {
    machine: Machine,
    repository: String,
    identity: Option<[u8; 32]>,
}

struct Token {
    authorization: HeaderValue,
    realm: Uri,
    service: Option<String>,
    until: Instant,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<Zeroizing<String>>,
    access_token: Option<Zeroizing<String>>,
    expires_in: Option<u64>,
}

impl Default for Tokens {
    fn default() -> Self {
        Self { known: Mutex::new(LruCache::new(TOKENS)) }
    }
}

impl Tokens {
    /// A token that is still good, as a request carries it.
    pub(super) fn known(&self, key: &Key) -> Option<HeaderValue> {
        let mut known = self.lock();
        let token = known.get(&owner(key))?;
        (Instant::now() < token.until).then(|| token.authorization.clone())
    }

    /// The token that a challenge with this realm and service asks for. `refused` is one that the registry does not
    /// take any more.
    pub(super) async fn obtain(
        &self,
        client: &Client,
        target: &Target,
        realm: &str,
        service: Option<String>,
        refused: Option<&HeaderValue>,
    ) -> Result<HeaderValue, Problem> {
        let asker = Asker {
            registry: &target.key.registry,
            realm_hosts: &target.key.realm_hosts,
            insecure_http: target.key.insecure_http,
        };
        let realm = realm::check(realm, asker)?;
        // Another lookup may have fetched it meanwhile.
        if let Some(token) = self.lock().get(&owner(&target.key))
            && Instant::now() < token.until
            && (&token.realm, &token.service) == (&realm, &service)
            && refused != Some(&token.authorization)
        {
            return Ok(token.authorization.clone());
        }
        let asked_at = Instant::now();
        let answer = fetch(client, target, &realm, service.as_deref()).await?;
        let lying = Problem::Lying { why: "its token is none" };
        let Some(text) = answer.token.or(answer.access_token).filter(|token| !token.is_empty()) else {
            return Err(lying);
        };
        let text = Zeroizing::new(format!("Bearer {}", text.as_str()));
        let mut authorization = HeaderValue::from_str(&text).map_err(|_| lying)?;
        authorization.set_sensitive(true);
        let lifetime = answer.expires_in.map_or(USUAL_LIFETIME, Duration::from_secs).min(LONGEST_LIFETIME);
        let until = asked_at + lifetime * 4 / 5;
        let token = Token { authorization: authorization.clone(), realm, service, until };
        self.lock().put(owner(&target.key), token);
        Ok(authorization)
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<Owner, Token>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn owner(key: &Key) -> Owner {
    Owner { machine: key.machine(), repository: key.repository.clone(), identity: key.identity }
}

async fn fetch(
    client: &Client,
    target: &Target,
    realm: &Uri,
    service: Option<&str>,
) -> Result<Answer, Problem> {
    // A password is not sent in the clear, not even to whom it is for.
    let secure = realm.scheme_str() == Some("https");
    let credentials = target.credentials.as_ref().filter(|_| secure);
    let authorization = credentials.and_then(Credentials::basic);
    let with_credentials = authorization.is_some();
    let ask = Ask {
        method: Method::GET,
        uri: address(realm, service, &target.key.repository)?,
        accept: HeaderValue::from_static("application/json"),
        authorization,
        private_network: target.key.private_network,
        what: "token",
    };
    let response = client.send(&ask).await?;
    match response.status() {
        StatusCode::OK => {}
        // There is no image behind a realm: what is not found is the token service.
        StatusCode::NOT_FOUND => return Err(Problem::unreachable("its token service is not there")),
        _ => return Err(problem(&response, with_credentials)),
    }
    let body = read(response.into_body(), LONGEST_ANSWER).await?;
    serde_json::from_slice(&body).map_err(|_| Problem::Lying { why: "its token cannot be read" })
}

/// The realm with the question. The scope is ours, whatever the registry asked for: reading, and this repository alone.
fn address(realm: &Uri, service: Option<&str>, repository: &str) -> Result<Uri, Problem> {
    let mut query = form_urlencoded::Serializer::new(realm.query().unwrap_or_default().to_owned());
    if let Some(service) = service {
        query.append_pair("service", service);
    }
    query.append_pair("scope", &format!("repository:{repository}:pull"));
    let mut parts = realm.clone().into_parts();
    let path = format!("{}?{}", realm.path(), query.finish());
    parts.path_and_query = path.parse().ok();
    Uri::from_parts(parts).map_err(|_| Problem::Lying { why: "its realm is no address" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_realm_may_have_a_query_of_its_own() {
        let of = |realm: &str, service| address(&realm.parse().unwrap(), service, "a/b").unwrap().to_string();
        assert_eq!(
            of("https://r/t", Some("x y&z")),
            "https://r/t?service=x+y%26z&scope=repository%3Aa%2Fb%3Apull"
        );
        assert_eq!(of("https://r/t?a=b", None), "https://r/t?a=b&scope=repository%3Aa%2Fb%3Apull");
        assert_eq!(of("https://r", None), "https://r/?scope=repository%3Aa%2Fb%3Apull");
    }
}
