//! Versions of K3s: `v1.36.3+k3s1` as K3s reports it, `v1.36.3-k3s1` as an image tag.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version of K3s. Orders as releases do: a release candidate comes before its release.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct K3sVersion {
    /// Major version of Kubernetes.
    pub major: u32,
    /// Minor version of Kubernetes.
    pub minor: u32,
    /// Patch version of Kubernetes.
    pub patch: u32,
    /// Number of the release candidate, none for a release.
    pub candidate: Option<u32>,
    /// Number of the K3s release of this Kubernetes version.
    pub revision: u32,
}

/// Why a text is not a version of K3s.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseVersionError {
    /// `1.36.3-k3s1`: image tags begin with a v.
    #[error("\"{0}\" is not a version of K3s: it begins with a v, so use \"v{0}\"")]
    NoPrefix(String),
    /// `v1.36.3`: the K3s revision is missing.
    #[error("\"{0}\" is not a version of K3s: it ends with the K3s revision, for example \"{0}-k3s1\"")]
    NoRevision(String),
    /// Anything else.
    #[error("\"{0}\" is not a version of K3s, such as v1.36.3-k3s1")]
    Malformed(String),
}

impl FromStr for K3sVersion {
    type Err = ParseVersionError;

    /// Accepts both spellings, and `v1.36.3-rc1+k3s1`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || ParseVersionError::Malformed(text.into());
        let Some(rest) = text.strip_prefix('v') else {
            return Err(if format!("v{text}").parse::<Self>().is_ok() {
                ParseVersionError::NoPrefix(text.into())
            } else {
                malformed()
            });
        };
        let mut parts = rest.split(['+', '-']);
        let mut numbers = parts.next().unwrap_or_default().split('.').map(number);
        let (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next())
        else {
            return Err(malformed());
        };
        let mut part = parts.next();
        let candidate = part.and_then(|part| part.strip_prefix("rc")).and_then(number);
        if candidate.is_some() {
            part = parts.next();
        }
        let Some(part) = part else {
            return Err(ParseVersionError::NoRevision(text.into()));
        };
        match (part.strip_prefix("k3s").and_then(number), parts.next()) {
            (Some(revision), None) => Ok(Self { major, minor, patch, candidate, revision }),
            _ => Err(malformed()),
        }
    }
}

/// Digits only, no sign and no leading zero.
fn number(text: &str) -> Option<u32> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

impl K3sVersion {
    /// The tag of this version's image: an image tag may not contain a plus.
    pub fn tag(&self) -> String {
        self.to_string().replace('+', "-")
    }
}

impl fmt::Display for K3sVersion {
    /// As K3s reports it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}.{}.{}", self.major, self.minor, self.patch)?;
        if let Some(candidate) = self.candidate {
            write!(f, "-rc{candidate}")?;
        }
        write!(f, "+k3s{}", self.revision)
    }
}

impl Ord for K3sVersion {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |version: &Self| {
            let release = version.candidate.is_none();
            (version.major, version.minor, version.patch, release, version.candidate, version.revision)
        };
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for K3sVersion {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The host's version as the status shows it: `gitVersion` without what distributions append.
pub fn host_version(git_version: &str) -> &str {
    git_version.split(['+', '-']).next().unwrap_or_default()
}

/// The image tag for a cluster that does not ask for a version: the host's, so that nested and host API agree.
/// `latest` if the host does not say.
pub fn default_tag(git_version: &str) -> String {
    match host_version(git_version) {
        "" => "latest".into(),
        version => format!("{version}-k3s1"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("v1.36.3+k3s1", "v1.36.3-k3s1")]
    #[case("v1.36.3-k3s1", "v1.36.3-k3s1")]
    #[case("v1.33.0-rc2+k3s1", "v1.33.0-rc2-k3s1")]
    #[case("v1.33.0-rc2-k3s12", "v1.33.0-rc2-k3s12")]
    fn both_spellings_are_one_version(#[case] text: &str, #[case] tag: &str) {
        let version: K3sVersion = text.parse().unwrap();
        assert_eq!(version.tag(), tag);
        assert_eq!(version.to_string().parse(), Ok(version));
    }

    #[rstest]
    #[case("1.36.3-k3s1", "use \"v1.36.3-k3s1\"")]
    #[case("v1.36.3", "for example \"v1.36.3-k3s1\"")]
    #[case("v1.36.3-rc1", "for example \"v1.36.3-rc1-k3s1\"")]
    #[case("v1.36", "such as")]
    #[case("v1.036.3-k3s1", "such as")]
    #[case("v1.36.3.4-k3s1", "such as")]
    #[case("v1.36.3-k3s1-amd64", "such as")]
    #[case("v1.36.3-k3sx", "such as")]
    #[case("v1.+36.3-k3s1", "such as")]
    #[case("v1.36.3-k3s99999999999", "such as")]
    #[case("latest", "such as")]
    #[case("", "such as")]
    fn what_is_wrong_is_said(#[case] text: &str, #[case] hint: &str) {
        let error = text.parse::<K3sVersion>().unwrap_err().to_string();
        assert!(error.contains(hint), "{error}");
    }

    #[test]
    fn releases_are_ordered_as_they_came_out() {
        let ordered = [
            "v1.9.9-k3s1",
            "v1.36.3-rc1-k3s1",
            "v1.36.3-rc2-k3s1",
            "v1.36.3-k3s1",
            "v1.36.3-k3s2",
            "v2.0.0-k3s1",
        ];
        let versions: Vec<K3sVersion> = ordered.iter().map(|text| text.parse().unwrap()).collect();
        assert!(versions.is_sorted_by(|a, b| a < b));
    }

    #[rstest]
    #[case("v1.36.3", "v1.36.3-k3s1")]
    #[case("v1.36.3+rke2r1", "v1.36.3-k3s1")]
    #[case("v1.35.1-eks-1234567", "v1.35.1-k3s1")]
    #[case("", "latest")]
    fn the_default_follows_the_host(#[case] git_version: &str, #[case] tag: &str) {
        assert_eq!(default_tag(git_version), tag);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC{0,40}", version in "v[0-9]{1,3}(\\.[0-9]{1,12}){0,3}([+-](rc|k3s)?[0-9]{0,3}){0,3}") {
            let _ = text.parse::<K3sVersion>();
            if let Ok(parsed) = version.parse::<K3sVersion>() {
                prop_assert_eq!(parsed.tag(), version.replace('+', "-"));
            }
        }
    }
}
