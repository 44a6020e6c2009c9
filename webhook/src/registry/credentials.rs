//! What pull secrets say about one registry, and never about another.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use k3k_api::image::{ImageReference, normalized_host};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use zeroize::Zeroizing;

/// User and password for one registry, or for a part of it. Printing tells neither; dropping overwrites both.
#[derive(Clone)]
pub struct Credentials {
    /// The registry and the path that they are for.
    place: String,
    user: Zeroizing<String>,
    password: Zeroizing<String>,
    identity: [u8; 32],
}

/// The file of `docker login`, which pull secrets of type `kubernetes.io/dockerconfigjson` hold.
#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

/// What a kubelet reads of an entry, and no more.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Entry {
    username: Option<Zeroizing<String>>,
    password: Option<Zeroizing<String>>,
    auth: Option<Zeroizing<String>>,
}

impl Credentials {
    /// What the pull secrets, each a docker configuration in JSON, say about the registry and the repository of
    /// `reference`. The entry for the longest path counts; among equals, that of the first secret. A secret that cannot
    /// be read has nothing to say.
    pub fn for_image(docker_configs: &[&[u8]], reference: &ImageReference) -> Option<Self> {
        let mut best: Option<(usize, Self)> = None;
        for config in docker_configs {
            let Ok(config) = serde_json::from_slice::<DockerConfig>(config) else { continue };
            for (key, entry) in config.auths {
                let place = place(&key);
                let length = place.len();
                if reference.is_in(&place)
                    && best.as_ref().is_none_or(|(longest, _)| length > *longest)
                    && let Some((user, password)) = entry.user_and_password()
                {
                    best = Some((length, Self::new(place, user, password)));
                }
            }
        }
        best.map(|(_, credentials)| credentials)
    }

    fn new(place: String, user: Zeroizing<String>, password: Zeroizing<String>) -> Self {
        let mut hash = Sha256::new();
        // Lengths keep "a" and "bc" apart from "ab" and "c".
        for part in [place.as_str(), user.as_str(), password.as_str()] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        Self { place, user, password, identity: hash.finalize().into() }
    }

    /// Whether they are for this image: a caller who mixes things up must not send them elsewhere.
    pub(super) fn are_for(&self, image: &ImageReference) -> bool {
        image.is_in(&self.place)
    }

    /// Who they are, without telling.
    pub(super) fn identity(&self) -> [u8; 32] {
        self.identity
    }

    /// As a request carries them.
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        let both = Zeroizing::new(format!("{}:{}", self.user.as_str(), self.password.as_str()));
        let text = Zeroizing::new(format!("Basic {}", BASE64_STANDARD.encode(both.as_bytes())));
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Credentials").field("place", &self.place).finish_non_exhaustive()
    }
}

/// `https://index.docker.io/v1/`, as `docker login` writes it, is the registry `docker.io`.
fn place(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.split_once('/').unwrap_or((key, ""));
    let path = match path.split_once('/').unwrap_or((path, "")) {
        ("v1" | "v2", rest) => rest,
        _ => path,
    };
    let host = normalized_host(host);
    match path.trim_end_matches('/') {
        "" => host,
        path => format!("{host}/{path}"),
    }
}

impl Entry {
    /// `auth` says both at once, and wins, as it does in a kubelet.
    fn user_and_password(self) -> Option<(Zeroizing<String>, Zeroizing<String>)> {
        let Some(auth) = self.auth.filter(|auth| !auth.is_empty()) else {
            return Some((self.username.filter(|user| !user.is_empty())?, self.password?));
        };
        let bytes = Zeroizing::new(BASE64_STANDARD.decode(auth.trim()).ok()?);
        let (user, password) = std::str::from_utf8(&bytes).ok()?.split_once(':')?;
        Some((Zeroizing::new(user.to_owned()), Zeroizing::new(password.trim_end_matches('\0').to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    fn config(entries: &[(&str, &str)]) -> Vec<u8> {
        let auths: serde_json::Map<_, _> = entries
            .iter()
            .map(|(key, user)| ((*key).to_owned(), json!({"username": user, "password": "pw"})))
            .collect();
        json!({ "auths": auths }).to_string().into_bytes()
    }

    fn user(configs: &[Vec<u8>], image: &str) -> Option<String> {
        let configs: Vec<&[u8]> = configs.iter().map(Vec::as_slice).collect();
        Credentials::for_image(&configs, &image.parse().unwrap()).map(|found| found.user.to_string())
    }

    #[rstest]
    #[case::host("reg.example", "reg.example/a", true)]
    #[case::url("https://reg.example", "reg.example/a", true)]
    #[case::version("https://reg.example/v2/", "reg.example/a", true)]
    #[case::hub("https://index.docker.io/v1/", "busybox", true)]
    #[case::hub_by_name("docker.io", "a/b", true)]
    #[case::port("reg.example:5000", "reg.example:5000/a", true)]
    #[case::usual_port("reg.example:443", "REG.example/a", true)]
    #[case::path("reg.example/team", "reg.example/team/a", true)]
    #[case::v2_and_path("https://reg.example/v2/team/", "reg.example/team/a", true)]
    #[case::another_port("reg.example", "reg.example:5000/a", false)]
    #[case::subdomain("example", "reg.example/a", false)]
    #[case::longer_host("reg.example", "reg.example.evil.io/a", false)]
    #[case::part_of_a_word("reg.example/team", "reg.example/team-evil/a", false)]
    #[case::another_path("reg.example/team", "reg.example/a", false)]
    #[case::no_patterns("*.example", "reg.example/a", false)]
    #[case::not_the_hub("reg.example", "busybox", false)]
    #[case::nobody("", "busybox", false)]
    fn secrets_are_for_their_own_registry(#[case] key: &str, #[case] image: &str, #[case] theirs: bool) {
        assert_eq!(user(&[config(&[(key, "joe")])], image), theirs.then(|| "joe".to_owned()));
    }

    #[test]
    fn the_longest_path_wins_and_then_the_first_secret() {
        let first = config(&[("reg.example", "all"), ("reg.example/team", "team")]);
        let second = config(&[("reg.example/team/app", "app"), ("https://reg.example/team", "late")]);
        let configs = [b"no json".to_vec(), first, second];
        assert_eq!(user(&configs, "reg.example/x").as_deref(), Some("all"));
        assert_eq!(user(&configs, "reg.example/team/x").as_deref(), Some("team"));
        assert_eq!(user(&configs, "reg.example/team/app").as_deref(), Some("app"));
    }

    #[rstest]
    #[case::auth(json!({"auth": "am9lOnA6dw=="}), Some("joe"))]
    #[case::auth_wins(json!({"auth": "am9lOnA6dw==", "username": "x", "password": "y"}), Some("joe"))]
    #[case::empty_auth(json!({"auth": "", "username": "x", "password": "y"}), Some("x"))]
    #[case::broken_auth(json!({"auth": "%%%"}), None)]
    #[case::half_an_auth(json!({"auth": "am9l"}), None)]
    #[case::no_password(json!({"username": "x"}), None)]
    #[case::a_helper(json!({}), None)]
    #[case::refresh_tokens_are_not_for_kubelets(json!({"identitytoken": "t"}), None)]
    fn entries_are_read_as_a_kubelet_does(#[case] entry: serde_json::Value, #[case] name: Option<&str>) {
        let config = json!({"auths": {"reg.example": entry}}).to_string().into_bytes();
        assert_eq!(user(&[config], "reg.example/a").as_deref(), name);
    }

    #[test]
    fn nothing_is_told_and_users_are_kept_apart() {
        let image = "reg.example/a".parse().unwrap();
        let of = |user: &str| Credentials::for_image(&[&config(&[("reg.example", user)])], &image).unwrap();
        let text = format!("{:?}", of("joe"));
        assert!(text.contains("reg.example") && !text.contains("joe") && !text.contains("pw"), "{text}");
        assert_eq!(of("joe").identity(), of("joe").identity());
        assert_ne!(of("joe").identity(), of("jim").identity());
        assert!(format!("{:?}", of("joe").basic()).contains("Sensitive"));
        assert!(!of("joe").are_for(&"other.example/a".parse().unwrap()));
    }
}
