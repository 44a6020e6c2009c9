//! Answers that are no stream: a `Status`, as every part of Kubernetes expects, in the tenant's words. What the host
//! says about itself (its names, its nodes, our own rights there) goes to our log, not to the tenant.

use super::HostPod;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

/// The longest answer of the host that is looked into, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;

/// Why a request gets no stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    code: StatusCode,
    reason: &'static str,
    message: String,
    pod: Option<String>,
}

impl Refusal {
    fn new(code: StatusCode, message: impl Into<String>) -> Self {
        Self { code, reason: reason(code), message: message.into(), pod: None }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized")
    }

    pub(super) fn forbidden(user: &str, verb: &str, node: &str, subresources: &[&str]) -> Self {
        let what = subresources.iter().map(|sub| format!("nodes/{sub}")).collect::<Vec<_>>().join(" or ");
        let message = format!("user {user:?} may not {verb} {what} of node {node:?}");
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(super) fn unreviewed() -> Self {
        let message = "the cluster's API server could not be asked whether this is allowed; try again";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    pub(super) fn no_such_path() -> Self {
        Self::new(StatusCode::NOT_FOUND, "the virtual kubelet does not offer this path")
    }

    pub(super) fn method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "the virtual kubelet takes GET and POST here")
    }

    pub(super) fn no_such_pod(namespace: &str, name: &str) -> Self {
        let message = format!(
            "pod {namespace}/{name} does not run; kubectl describe pod --namespace {namespace} {name} tells why"
        );
        Self { pod: Some(name.to_owned()), ..Self::new(StatusCode::NOT_FOUND, message) }
    }

    pub(super) fn too_many() -> Self {
        let message = "the virtual kubelet carries as many streams as it can; close some, or try again later";
        Self::new(StatusCode::TOO_MANY_REQUESTS, message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn unreachable() -> Self {
        let message = "the host cluster cannot be reached; see the virtual kubelet's log";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    pub(super) fn stopping() -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "the virtual kubelet is being replaced; try again")
    }

    pub(super) fn bad_upgrade() -> Self {
        let message = "the host cluster answered with another protocol; see the virtual kubelet's log";
        Self::new(StatusCode::BAD_GATEWAY, message)
    }

    /// What to tell a tenant about the host's refusal. `body` is what the host said, `host` the pod that it speaks of
    /// and `namespace/name` what the tenant calls that pod.
    pub(super) fn from_host(
        code: StatusCode,
        body: &[u8],
        host: &HostPod,
        namespace: &str,
        name: &str,
    ) -> Self {
        let said = message(body);
        let own = |text: &str| {
            let text = replace_word(text, &host.name, name);
            hide_addresses(&replace_word(&text, &host.namespace, namespace))
        };
        let refusal = match code.as_u16() {
            // Our identity in the host, or a policy there. Only the latter is the tenant's business.
            401 | 403 => match said.split_once("denied the request:") {
                Some((_, why)) => Self::new(StatusCode::FORBIDDEN, own(why.trim())),
                None => Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the host cluster does not let the virtual kubelet do this; see its log",
                ),
            },
            400 | 404 | 405 | 409 | 410 | 413 | 422 | 429 if !said.is_empty() => Self::new(code, own(&said)),
            400..500 => Self::new(code, "the host cluster refused"),
            // Where a container is gone a kubelet answers 500.
            _ => match said.find("container not found") {
                Some(at) => Self::new(StatusCode::NOT_FOUND, own(&said[at..])),
                None => Self::new(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "the host cluster failed to do this; see the virtual kubelet's log",
                ),
            },
        };
        Self { pod: Some(name.to_owned()), ..refusal }
    }

    /// The same for a log. There an API server takes the body of a 400 or a 500 as the message, and has one of its own for
    /// a 404 (`response_checker.go` of apiserver), so this is a plain text, and never a 404.
    pub(super) fn into_text(self) -> Response {
        let code = if self.code == StatusCode::NOT_FOUND { StatusCode::BAD_REQUEST } else { self.code };
        (code, self.message).into_response()
    }

    fn status(&self) -> Value {
        let mut status = json!({
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code.as_u16(),
        });
        if let Some(pod) = &self.pod {
            status["details"] = json!({"name": pod, "kind": "pods"});
        }
        status
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.code, axum::Json(self.status())).into_response();
        let headers = response.headers_mut();
        if self.code == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        if self.code == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The machine-readable reason that goes with a code (`StatusReason` of apimachinery's `meta/v1`).
fn reason(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => "BadRequest",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        409 => "Conflict",
        410 => "Gone",
        413 => "RequestEntityTooLarge",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        500 | 502 => "InternalError",
        _ => "",
    }
}

/// What the host says: the message of a `Status`, or a plain text.
pub(super) fn message(body: &[u8]) -> String {
    match serde_json::from_slice::<Value>(body) {
        Ok(status) => status["message"].as_str().unwrap_or_default().to_owned(),
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

/// `text` with `from` replaced by `to` wherever it stands alone, not as a part of a longer name.
fn replace_word(text: &str, from: &str, to: &str) -> String {
    let part_of_name = |c: char| c.is_ascii_alphanumeric() || c == '-';
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find(from).filter(|_| !from.is_empty()) {
        let (before, after) = (&rest[..at], &rest[at + from.len()..]);
        let preceded = before.chars().next_back().or(out.chars().next_back()).is_some_and(part_of_name);
        let followed = after.chars().next().is_some_and(part_of_name);
        out.push_str(before);
        out.push_str(if preceded || followed { from } else { to });
        rest = after;
    }
    out + rest
}

/// `text` without URLs and IP addresses: they are the host's.
fn hide_addresses(text: &str) -> String {
    let hidden = |word: &str| {
        let bare = word.trim_matches(|c: char| "\"'`()<>,;:".contains(c));
        let bare_host = bare.rsplit_once(':').map_or(bare, |(host, _)| host);
        bare.contains("://")
            || bare.parse::<std::net::IpAddr>().is_ok()
            || bare_host.parse::<std::net::IpAddr>().is_ok()
            || bare.parse::<std::net::SocketAddr>().is_ok()
    };
    text.split(' ').map(|word| if hidden(word) { "…" } else { word }).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host() -> HostPod {
        HostPod { namespace: "k3k-dev".into(), name: "web-shop-dev-7765622b73686f702b646576".into() }
    }

    fn told(code: u16, said: &str) -> (u16, String) {
        let body = json!({"kind": "Status", "code": code, "message": said}).to_string();
        for body in [body.as_bytes(), said.as_bytes()] {
            let code = StatusCode::from_u16(code).unwrap();
            let refusal = Refusal::from_host(code, body, &host(), "shop", "web");
            let status = refusal.status();
            assert_eq!(status["details"], json!({"name": "web", "kind": "pods"}));
            let text = status.to_string();
            for secret in ["k3k-dev", "7765622b", "10.0.0.", "node-1", "serviceaccount"] {
                assert!(!text.contains(secret), "{text}");
            }
        }
        let refusal =
            Refusal::from_host(StatusCode::from_u16(code).unwrap(), body.as_bytes(), &host(), "shop", "web");
        (refusal.code.as_u16(), refusal.message)
    }

    #[test]
    fn names_become_the_tenants() {
        assert_eq!(
            told(404, "pods \"web-shop-dev-7765622b73686f702b646576\" not found"),
            (404, "pods \"web\" not found".into())
        );
        assert_eq!(
            told(400, "container app is not valid for pod web-shop-dev-7765622b73686f702b646576"),
            (400, "container app is not valid for pod web".into())
        );
        assert_eq!(
            told(
                400,
                "previous terminated container \"app\" in pod \"web-shop-dev-7765622b73686f702b646576\" (k3k-dev/web-shop-dev-7765622b73686f702b646576_k3k-dev) not found"
            ),
            (400, "previous terminated container \"app\" in pod \"web\" (shop/web_shop) not found".into())
        );
    }

    #[test]
    fn our_rights_in_the_host_are_not_the_tenants_business() {
        let said = "pods \"web-shop-dev-7765622b73686f702b646576\" is forbidden: User \
                    \"system:serviceaccount:k3k-dev:k3k-dev-kubelet\" cannot create resource \"pods/exec\" in API group \"\" \
                    in the namespace \"k3k-dev\"";
        for code in [401, 403] {
            let (code, message) = told(code, said);
            assert_eq!(code, 500, "a tenant's client must not think that it is the one to sign in");
            assert_eq!(message, "the host cluster does not let the virtual kubelet do this; see its log");
        }
    }

    #[test]
    fn a_policy_that_refuses_is() {
        let said = "admission webhook \"pods.policy.example\" denied the request: no shells in k3k-dev, ask 10.0.0.7";
        assert_eq!(told(403, said), (403, "no shells in shop, ask …".into()));
    }

    #[test]
    fn the_hosts_own_failures_are_not_told() {
        let said = "Get \"https://10.0.0.7:10250/containerLogs/k3k-dev/x/app\": dial tcp 10.0.0.7:10250: connect: refused";
        let fixed = "the host cluster failed to do this; see the virtual kubelet's log";
        assert_eq!(told(500, said), (500, fixed.into()));
        assert_eq!(told(502, "no such host node-1"), (500, fixed.into()));
        assert_eq!(told(418, "node-1"), (418, "the host cluster refused".into()));
    }

    #[test]
    fn a_missing_container_is_told() {
        assert_eq!(
            told(500, "unable to upgrade connection: container not found (\"app\")"),
            (404, "container not found (\"app\")".into())
        );
    }

    #[test]
    fn only_whole_names_are_replaced() {
        assert_eq!(replace_word("dev devel a-dev dev. \"dev\"", "dev", "x"), "x devel a-dev x. \"x\"");
        assert_eq!(replace_word("devdev dev", "dev", "x"), "devdev x");
        assert_eq!(replace_word("grüßdev", "dev", "x"), "grüßx");
        assert_eq!(replace_word("same", "", "x"), "same");
    }

    #[test]
    fn addresses_are_hidden() {
        assert_eq!(
            hide_addresses("at 10.0.0.7:10250: and [fd00::1]:80, fd00::1 (10.1.1.1) http://x/ 80:90 1.5"),
            "at … and … … … … 80:90 1.5"
        );
    }
}
