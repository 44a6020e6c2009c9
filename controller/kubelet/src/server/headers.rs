//! Which headers of an upgrade travel, in either direction: those that the two ends need to agree on a protocol.
//! Everything else stays here, above all what says who the caller is.

use http::header::{
    CONNECTION, HeaderName, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

/// The versions of a stream protocol that a SPDY client offers, and the one that was chosen.
const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
/// A browser's way to send a bearer token: as the name of a WebSocket subprotocol.
const BEARER_PROTOCOL: &str = "base64url.bearer.authorization.k8s.io.";

/// The protocols that Kubernetes upgrades to, with the methods that it uses for them.
const PROTOCOLS: [&str; 2] = ["SPDY/3.1", "websocket"];

/// The headers for the host; None when the request is no upgrade that we pass on.
pub(super) fn request(from: &HeaderMap) -> Option<HeaderMap> {
    let protocol = upgrade(from)?;
    let mut to = switching(protocol);
    for name in [STREAM_PROTOCOL, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS] {
        copy(from, &mut to, &name);
    }
    for value in from.get_all(SEC_WEBSOCKET_PROTOCOL) {
        if let Some(value) = without_bearer(value) {
            to.append(SEC_WEBSOCKET_PROTOCOL, value);
        }
    }
    Some(to)
}

/// The headers of our 101; None when the host switches to something else than it was asked for.
pub(super) fn response(from: &HeaderMap, asked: &HeaderMap) -> Option<HeaderMap> {
    let protocol = upgrade(from)?;
    if upgrade(asked) != Some(protocol) {
        return None;
    }
    let mut to = switching(protocol);
    for name in [STREAM_PROTOCOL, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_EXTENSIONS] {
        copy(from, &mut to, &name);
    }
    Some(to)
}

/// The protocol that `headers` switch to.
fn upgrade(headers: &HeaderMap) -> Option<&'static str> {
    let connection = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let mut options = connection.flat_map(|value| value.split(',')).map(str::trim);
    if !options.any(|option| option.eq_ignore_ascii_case("upgrade")) {
        return None;
    }
    let mut asked = headers.get_all(UPGRADE).iter();
    let (Some(asked), None) = (asked.next(), asked.next()) else { return None };
    PROTOCOLS.into_iter().find(|known| asked.as_bytes().eq_ignore_ascii_case(known.as_bytes()))
}

fn switching(protocol: &'static str) -> HeaderMap {
    HeaderMap::from_iter([
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static(protocol)),
    ])
}

fn copy(from: &HeaderMap, to: &mut HeaderMap, name: &HeaderName) {
    for value in from.get_all(name) {
        to.append(name.clone(), value.clone());
    }
}

/// The subprotocols in `value` that are none of [`BEARER_PROTOCOL`]; None when nothing is left.
fn without_bearer(value: &HeaderValue) -> Option<HeaderValue> {
    let value = value.to_str().ok()?;
    let kept: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|protocol| !protocol.is_empty() && !protocol.starts_with(BEARER_PROTOCOL))
        .collect();
    if kept.is_empty() { None } else { HeaderValue::from_str(&kept.join(", ")).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    #[test]
    fn spdy_offers_travel_in_order() {
        let from = map(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
            ("x-stream-protocol-version", "v3.channel.k8s.io"),
        ]);
        assert_eq!(request(&from).unwrap(), from);
        let answer = map(&[
            ("connection", "Upgrade"),
            ("upgrade", "SPDY/3.1"),
            ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ]);
        assert_eq!(response(&answer, &from).unwrap(), answer);
    }

    #[test]
    fn websocket_handshakes_travel() {
        let from = map(&[
            ("connection", "keep-alive, upgrade"),
            ("upgrade", "WebSocket"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-version", "13"),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ]);
        let to = request(&from).unwrap();
        assert_eq!(
            (&to["connection"], &to["upgrade"]),
            (&"Upgrade".parse().unwrap(), &"websocket".parse().unwrap())
        );
        assert_eq!(to["sec-websocket-key"], from["sec-websocket-key"]);
        assert_eq!(to["sec-websocket-protocol"], "v5.channel.k8s.io");
        let answer = map(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            ("sec-websocket-protocol", "v5.channel.k8s.io"),
        ]);
        assert_eq!(response(&answer, &to).unwrap(), answer);
    }

    #[test]
    fn identity_stays_here() {
        let from = map(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("authorization", "Bearer secret"),
            ("cookie", "secret"),
            ("impersonate-user", "system:admin"),
            ("impersonate-group", "system:masters"),
            ("impersonate-extra-scopes", "all"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-remote-user", "admin"),
            ("x-remote-group", "system:masters"),
            ("host", "10.43.0.9:10250"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0, v4.channel.k8s.io"),
            ("sec-websocket-protocol", "base64url.bearer.authorization.k8s.io.c2VjcmV0"),
        ]);
        let to = request(&from).unwrap();
        assert_eq!(
            to,
            map(&[
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
                ("sec-websocket-protocol", "v4.channel.k8s.io"),
            ])
        );
        let answer = map(&[
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("set-cookie", "host"),
            ("audit-id", "host"),
            ("x-kubernetes-pf-flowschema-uid", "host"),
        ]);
        assert_eq!(response(&answer, &to).unwrap(), switching("websocket"));
    }

    #[test]
    fn what_is_no_known_upgrade_is_none() {
        for headers in [
            map(&[]),
            map(&[("upgrade", "SPDY/3.1")]),
            map(&[("connection", "close"), ("upgrade", "SPDY/3.1")]),
            map(&[("connection", "Upgrade")]),
            map(&[("connection", "Upgrade"), ("upgrade", "h2c")]),
            map(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1"), ("upgrade", "websocket")]),
        ] {
            assert_eq!(request(&headers), None, "{headers:?}");
        }
        let (spdy, websocket) = (switching("SPDY/3.1"), switching("websocket"));
        assert_eq!(response(&spdy, &websocket), None, "not what was asked for");
    }
}
