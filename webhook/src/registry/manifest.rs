//! From a tag to its digest: the registry is asked what it would serve, and only if it does not say, for the thing
//! itself. With an index that is the index's digest, never that of one platform.

use super::challenge::{self, Challenge};
use super::client::{Ask, Client, problem, read};
use super::credentials::Credentials;
use super::error::Problem;
use super::target::Target;
use super::token::Tokens;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri};
use hyper::body::Incoming;
use k3k_api::image::normalized_host;
use sha2::{Digest, Sha256};
use std::fmt::Write;

/// The kinds of manifest that there are. Without the first and the third a registry may choose a platform for us.
const KINDS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
const ACCEPT: HeaderValue = HeaderValue::from_static(
    "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json",
);
const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// Who sends it speaks the registries' protocol, so that its 404 is about the image.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
/// The largest manifest.
const LARGEST: usize = 4 << 20;
/// How often a registry may send us to another of its own addresses.
const REDIRECTS: usize = 3;

/// The digest of the target's tag.
pub(super) async fn digest(client: &Client, tokens: &Tokens, target: &Target) -> Result<String, Problem> {
    let (head, authorization) = ask(client, tokens, target, Method::HEAD, tokens.known(&target.key)).await?;
    let status = head.status();
    let speaks_the_protocol = head.headers().contains_key(API_VERSION);
    match status {
        StatusCode::OK => {
            if let Some(digest) = named_digest(head.headers())? {
                return Ok(digest);
            }
        }
        StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {}
        StatusCode::NOT_FOUND if !speaks_the_protocol => {}
        _ => return Err(problem(&head, target.credentials.is_some())),
    }
    let (got, _) = ask(client, tokens, target, Method::GET, authorization).await?;
    if got.status() != StatusCode::OK {
        return Err(problem(&got, target.credentials.is_some()));
    }
    if !is_a_manifest(got.headers()) {
        return Err(Problem::Lying { why: "what it serves is no manifest" });
    }
    let named = named_digest(got.headers())?;
    let body = read(got.into_body(), LARGEST).await?;
    let digest = sha256(&body);
    if named.is_some_and(|named| named != digest) {
        return Err(Problem::Lying { why: "what it serves has another digest than it says" });
    }
    Ok(digest)
}

/// Asks for the manifest, with one answer to a challenge and a few redirects within the registry. Also returns the
/// authorization that was taken.
async fn ask(
    client: &Client,
    tokens: &Tokens,
    target: &Target,
    method: Method,
    authorization: Option<HeaderValue>,
) -> Result<(Response<Incoming>, Option<HeaderValue>), Problem> {
    let mut ask = Ask {
        method,
        uri: target.key.uri()?,
        accept: ACCEPT,
        authorization,
        private_network: target.key.private_network,
        what: "manifest",
    };
    let (mut challenged, mut redirects) = (false, 0);
    loop {
        let response = client.send(&ask).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED if !challenged => {
                challenged = true;
                ask.authorization = Some(authorize(client, tokens, target, &response, &ask).await?);
            }
            status if status.is_redirection() && redirects < REDIRECTS => {
                redirects += 1;
                ask.uri = redirected(&ask.uri, response.headers())?;
            }
            _ => return Ok((response, ask.authorization)),
        }
    }
}

/// What to say to a registry that asks who we are.
async fn authorize(
    client: &Client,
    tokens: &Tokens,
    target: &Target,
    response: &Response<Incoming>,
    asked: &Ask,
) -> Result<HeaderValue, Problem> {
    let unauthorized = Problem::Unauthorized { with_credentials: target.credentials.is_some() };
    match challenge::choose(response.headers()) {
        Some(Challenge::Bearer { realm, service }) => {
            tokens.obtain(client, target, &realm, service, asked.authorization.as_ref()).await
        }
        // A password is not sent in the clear.
        Some(Challenge::Basic) if asked.uri.scheme_str() == Some("https") => {
            target.credentials.as_ref().and_then(Credentials::basic).ok_or(unauthorized)
        }
        Some(Challenge::Basic) | None => Err(unauthorized),
    }
}

/// Where the registry sends us, if that is itself: what we say about who we are goes along.
fn redirected(from: &Uri, headers: &HeaderMap) -> Result<Uri, Problem> {
    let location =
        headers.get(LOCATION).and_then(|location| location.to_str().ok()).ok_or(Problem::Redirect)?;
    let mut parts = from.clone().into_parts();
    if location.starts_with('/') && !location.starts_with("//") {
        parts.path_and_query = Some(location.parse().map_err(|_| Problem::Redirect)?);
        return Uri::from_parts(parts).map_err(|_| Problem::Redirect);
    }
    let to: Uri = location.parse().map_err(|_| Problem::Redirect)?;
    let (Some(old), Some(new)) = (from.authority(), to.authority()) else { return Err(Problem::Redirect) };
    let same = from.scheme() == to.scheme()
        && !new.as_str().contains('@')
        && normalized_host(old.as_str()) == normalized_host(new.as_str());
    if same { Ok(to) } else { Err(Problem::Redirect) }
}

/// The digest that the registry names, if it names one.
fn named_digest(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut all = headers.get_all(CONTENT_DIGEST).iter();
    let Some(value) = all.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if all.any(|other| other != value) || !is_sha256(text) {
        return Err(Problem::Lying { why: "the digest that it names is none" });
    }
    Ok(Some(text.to_owned()))
}

fn is_sha256(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|value| {
        value.len() == 64 && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn is_a_manifest(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    KINDS.iter().any(|known| known.eq_ignore_ascii_case(kind))
}

/// The digest of these bytes.
fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}"); // a String takes anything
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[test]
    fn all_kinds_are_asked_for() {
        assert_eq!(ACCEPT.to_str().unwrap(), KINDS.join(", "));
    }

    #[test]
    fn digests_are_those_of_sha256sum() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(sha256(b""), empty);
        assert!(is_sha256(empty) && !is_sha256(&empty.to_uppercase()) && !is_sha256("sha256:"));
    }

    #[rstest]
    #[case("/v2/x", Some("https://reg.example/v2/x"))]
    #[case("https://reg.example/y?z", Some("https://reg.example/y?z"))]
    #[case("https://REG.example.:443/y", Some("https://REG.example.:443/y"))]
    #[case("http://reg.example/y", None)]
    #[case("https://reg.example:444/y", None)]
    #[case("https://evil.example/y", None)]
    #[case("https://reg.example@evil.example/y", None)]
    #[case("https://me@reg.example/y", None)]
    #[case("//evil.example/y", None)]
    #[case("y", None)]
    #[case("", None)]
    fn redirects_stay_at_home(#[case] location: &str, #[case] to: Option<&str>) {
        let headers = HeaderMap::from_iter([(LOCATION, HeaderValue::from_str(location).unwrap())]);
        let found = redirected(&"https://reg.example/v2/a/manifests/b".parse().unwrap(), &headers);
        assert_eq!(found.ok().map(|uri| uri.to_string()).as_deref(), to);
    }
}
