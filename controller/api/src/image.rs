//! Image references, by the grammar of the distribution project:
//! `[registry/]repository[:tag][@digest]`, with the same defaults as container engines apply.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// The registry of a reference that names none.
pub const DEFAULT_REGISTRY: &str = "docker.io";
const LONGEST_NAME: usize = 255;
const LONGEST_TAG: usize = 128;

/// A reference to an image. Prints in full: `busybox` as `docker.io/library/busybox`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageReference {
    /// Host, and port if it was given.
    pub registry: String,
    /// Path in the registry.
    pub repository: String,
    /// What moves: none if it was not given.
    pub tag: Option<String>,
    /// What does not move: `sha256:…`.
    pub digest: Option<String>,
}

/// Why a text is not a reference to an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an image reference: {reason}")]
pub struct ParseImageError {
    text: String,
    reason: &'static str,
}

impl ImageReference {
    /// The tag to pull by: `latest` if neither tag nor digest were given.
    pub fn effective_tag(&self) -> Option<&str> {
        match (&self.tag, &self.digest) {
            (Some(tag), _) => Some(tag),
            (None, Some(_)) => None,
            (None, None) => Some("latest"),
        }
    }

    /// The registry in the one form to compare it in: see [`normalized_host`].
    pub fn registry_host(&self) -> String {
        normalized_host(&self.registry)
    }

    /// Whether the repository is at `place` or below it: a registry, and perhaps the first parts of a path in it, such
    /// as `registry.example.com/team-a`. Whole parts count, and tag and digest do not.
    pub fn is_in(&self, place: &str) -> bool {
        let (host, path) = place.split_once('/').unwrap_or((place, ""));
        let mut own = self.repository.split('/');
        normalized_host(host) == self.registry_host()
            && path.split('/').filter(|part| !part.is_empty()).all(|part| own.next() == Some(part))
    }
}

/// A registry's `host[:port]` in the one form to compare it in: lower case, without a dot at the end and without the
/// port of HTTPS, addresses as they are usually written, and `docker.io` by that name.
pub fn normalized_host(text: &str) -> String {
    let (host, port) = match text.rfind(':') {
        Some(colon) if is_port(&text[colon + 1..]) => (&text[..colon], Some(&text[colon + 1..])),
        _ => (text, None),
    };
    let host = host.to_ascii_lowercase();
    let host = host.strip_suffix('.').unwrap_or(&host);
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).map(str::parse::<Ipv6Addr>);
    let host = match address {
        Some(Ok(address)) => format!("[{address}]"),
        _ if host == "index.docker.io" => DEFAULT_REGISTRY.to_owned(),
        _ => host.to_owned(),
    };
    match port.map(|text| (text, text.parse::<u16>())) {
        None | Some((_, Ok(443))) => host,
        Some((_, Ok(port))) => format!("{host}:{port}"),
        Some((no_port, Err(_))) => format!("{host}:{no_port}"),
    }
}

impl FromStr for ImageReference {
    type Err = ParseImageError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map_err(|reason| ParseImageError { text: text.into(), reason })
    }
}

fn parse(text: &str) -> Result<ImageReference, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err("it looks like the id of an image");
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
        Some(_) => return Err("a digest is an algorithm and its hexadecimal value, such as sha256:0123…"),
        None => (text, None),
    };
    // A colon before the last slash belongs to the registry's port.
    let path_start = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[path_start..].split_once(':') {
        Some((last, tag)) if is_tag(tag) => (&rest[..path_start + last.len()], Some(tag.to_owned())),
        Some(_) => return Err("a tag has up to 128 letters, digits, underscores, dots and dashes"),
        None => (rest, None),
    };
    let (registry, repository) = match name.split_once('/') {
        Some((first, path)) if names_a_registry(first) => (first, path),
        _ => (DEFAULT_REGISTRY, name),
    };
    if !is_registry(registry) {
        return Err("the registry is not a host name or address with an optional port");
    }
    let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
    if !repository.split('/').all(is_path_component) {
        return Err(
            "a repository has lower case letters and digits, separated by one dot, one or two underscores, dashes or slashes",
        );
    }
    let repository = if registry == DEFAULT_REGISTRY && !repository.contains('/') {
        format!("library/{repository}")
    } else {
        repository.to_owned()
    };
    if registry.len() + 1 + repository.len() > LONGEST_NAME {
        return Err("the name is longer than 255 characters");
    }
    Ok(ImageReference { registry: registry.to_owned(), repository, tag, digest })
}

/// Whether the part before the first slash is a registry and not the first part of the repository.
fn names_a_registry(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn is_registry(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let Some((address, port)) = rest.split_once(']') else { return false };
            if address.parse::<Ipv6Addr>().is_err() {
                return false;
            }
            return port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    port.is_none_or(is_port) && host.split('.').all(is_domain_component)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_domain_component(text: &str) -> bool {
    let dash_outside = text.starts_with('-') || text.ends_with('-');
    !text.is_empty() && !dash_outside && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_path_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = text.bytes().next().is_some_and(plain) && text.bytes().last().is_some_and(plain);
    // What stands between letters and digits.
    let mut separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    ends && separators.all(|separator| {
        matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
    })
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= LONGEST_TAG
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(text: &str) -> bool {
    let length = match text.split_once(':') {
        Some(("sha256", value)) => value.len() == 64,
        Some(("sha384", value)) => value.len() == 96,
        Some(("sha512", value)) => value.len() == 128,
        _ => false,
    };
    let value = text.split_once(':').map_or("", |(_, value)| value);
    length && value.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[rstest]
    #[case("busybox", "docker.io/library/busybox")]
    #[case("busybox:1.36", "docker.io/library/busybox:1.36")]
    #[case("rancher/k3s:v1.36.3-k3s1", "docker.io/rancher/k3s:v1.36.3-k3s1")]
    #[case("docker.io/busybox", "docker.io/library/busybox")]
    #[case("index.docker.io/a/b", "docker.io/a/b")]
    #[case("localhost/app", "localhost/app")]
    #[case("localhost:5000/app:1", "localhost:5000/app:1")]
    #[case("registry.example.com:443/a/b/c", "registry.example.com:443/a/b/c")]
    #[case("[2001:db8::1]:5000/app", "[2001:db8::1]:5000/app")]
    #[case("[2001:db8::1]/app", "[2001:db8::1]/app")]
    #[case("UPPER/app", "UPPER/app")]
    #[case("a__b/c--d.e_f", "docker.io/a__b/c--d.e_f")]
    fn short_references_are_completed(#[case] text: &str, #[case] full: &str) {
        let image: ImageReference = text.parse().unwrap();
        assert_eq!(image.to_string(), full);
        assert_eq!(full.parse(), Ok(image));
    }

    #[test]
    fn a_digest_says_which_one() {
        let image: ImageReference = format!("app:1@{DIGEST}").parse().unwrap();
        assert_eq!((image.tag.as_deref(), image.digest.as_deref()), (Some("1"), Some(DIGEST)));
        assert_eq!(image.effective_tag(), Some("1"));
        let image: ImageReference = format!("app@{DIGEST}").parse().unwrap();
        assert_eq!(image.effective_tag(), None);
        assert_eq!("app".parse::<ImageReference>().unwrap().effective_tag(), Some("latest"));
    }

    #[rstest]
    #[case("", "empty")]
    #[case("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "id of an image")]
    #[case("Busybox", "lower case")]
    #[case("a//b", "lower case")]
    #[case("/a", "lower case")]
    #[case("a/", "lower case")]
    #[case("-a", "lower case")]
    #[case("a..b", "lower case")]
    #[case("a___b", "lower case")]
    #[case("a b", "lower case")]
    #[case("https://example.com/a", "not a host name")]
    #[case("-host.com/a", "not a host name")]
    #[case("host.com:port/a", "not a host name")]
    #[case("[::1/a", "not a host name")]
    #[case("[zz]:1/a", "not a host name")]
    #[case("a:", "a tag")]
    #[case("a:.b", "a tag")]
    #[case("a:b:c", "a tag")]
    #[case("a:v1.36.3+k3s1", "a tag")]
    #[case("a@sha256:12", "a digest")]
    #[case("a@", "a digest")]
    #[case("a@md5:0123456789abcdef0123456789abcdef", "a digest")]
    fn what_is_wrong_is_said(#[case] text: &str, #[case] why: &str) {
        let error = text.parse::<ImageReference>().unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }

    /// E06, E08: another way to write a registry is not another registry, and a port is not a tag.
    #[rstest]
    #[case("reg.example:443/app", "reg.example")]
    #[case("reg.example:0443/app", "reg.example")]
    #[case("reg.example:5000/app", "reg.example:5000")]
    #[case("REG.EXAMPLE/team/x", "reg.example")]
    #[case("Docker.IO/library/x", "docker.io")]
    #[case("INDEX.docker.io/library/x", "docker.io")]
    #[case("[2001:DB8:0:0::1]:443/x", "[2001:db8::1]")]
    #[case("[2001:db8::1]:5000/x", "[2001:db8::1]:5000")]
    #[case("[::1]/x", "[::1]")]
    #[case("localhost:5000/x", "localhost:5000")]
    fn registries_have_one_form(#[case] text: &str, #[case] host: &str) {
        let image: ImageReference = text.parse().unwrap();
        assert_eq!(image.registry_host(), host);
        assert_eq!((image.tag.as_deref(), image.effective_tag()), (None, Some("latest")));
        assert_eq!(normalized_host(host), host);
    }

    /// E08: what a policy says is brought into the same form. No container engine takes an image with such a dot.
    #[test]
    fn a_dot_at_the_end_means_nothing() {
        assert_eq!(normalized_host("Reg.Example."), "reg.example");
        assert_eq!(normalized_host("reg.example.:443"), "reg.example");
        assert!("reg.example./team/x".parse::<ImageReference>().is_err());
    }

    /// E07: neither hosts nor paths are compared by their first letters.
    #[rstest]
    #[case("reg.example/team-a/x", true)]
    #[case("reg.example/team-a", true)]
    #[case("REG.example:443/team-a/x/y:1", true)]
    #[case("reg.example/team-a-evil/x", false)]
    #[case("reg.example/team/x", false)]
    #[case("reg.example/other/team-a/x", false)]
    #[case("reg.example.evil.io/team-a/x", false)]
    #[case("reg.example:5000/team-a/x", false)]
    #[case("evil.io/reg.example/team-a/x", false)]
    fn places_are_compared_by_parts(#[case] text: &str, #[case] within: bool) {
        let image: ImageReference = text.parse().unwrap();
        for place in ["reg.example/team-a", "Reg.Example./team-a/", "reg.example:443/team-a"] {
            assert_eq!(image.is_in(place), within, "{place}");
        }
    }

    #[test]
    fn a_registry_is_a_place_and_nothing_is_none() {
        let image: ImageReference = "busybox".parse().unwrap();
        assert!(
            image.is_in("docker.io") && image.is_in("docker.io/library") && image.is_in("index.docker.io/")
        );
        assert!(!image.is_in("") && !image.is_in("/") && !image.is_in("docker.io/busybox"));
        assert!(!image.is_in("docker.io/library/busybox/more"));
    }

    /// E10, E20: what is no reference is not guessed at.
    #[rstest]
    #[case("user:pw@reg.example/x")]
    #[case("user:pw@reg/x")]
    #[case("http://reg.example/x")]
    #[case("https://reg.example/x")]
    #[case("docker://reg.example/x")]
    #[case("reg.example/x ")]
    #[case(" reg.example/x")]
    #[case("reg.example/a\0b")]
    #[case("reg.example/a\n")]
    #[case("reg.ex\u{430}mple/x")]
    #[case("r\u{435}g.example/x")]
    #[case("reg.example/\u{430}pp")]
    #[case("reg.example:\u{661}/x")]
    #[case("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")]
    fn oddities_are_refused(#[case] text: &str) {
        assert!(text.parse::<ImageReference>().is_err());
    }

    #[test]
    fn longer_digests_are_digests() {
        for (algorithm, length) in [("sha384", 96), ("sha512", 128)] {
            let digest = format!("{algorithm}:{}", "0a".repeat(length / 2));
            let image: ImageReference = format!("app@{digest}").parse().unwrap();
            assert_eq!(image.digest, Some(digest));
        }
    }

    #[test]
    fn lengths_are_limited() {
        assert!(format!("a:{}", "t".repeat(129)).parse::<ImageReference>().is_err());
        assert!(format!("h.io/{}", "a".repeat(251)).parse::<ImageReference>().is_err());
        assert!(format!("h.io/{}", "a".repeat(250)).parse::<ImageReference>().is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_read_again(
            text in prop_oneof!["\\PC{0,40}", "([a-zA-Z0-9.:\\[\\]-]{1,9}/)?[a-z0-9._/-]{1,20}(:[a-zA-Z0-9._+-]{0,9})?"]
        ) {
            if let Ok(image) = text.parse::<ImageReference>() {
                prop_assert_eq!(image.to_string().parse::<ImageReference>(), Ok(image));
            }
        }
    }
}
