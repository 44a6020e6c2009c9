//! From one version of K3s to another: which steps there are.

use crate::version::K3sVersion;

/// Whether servers that run the image tag `running` may be given `wanted`; why not, if they may not. K3s moves one minor
/// version at a time and never back (<https://docs.k3s.io/upgrades>). Tags that are no versions are the user's own
/// matter.
///
/// # Errors
/// The reason, for people.
pub fn check(running: &str, wanted: &str) -> Result<(), String> {
    let (Ok(from), Ok(to)) = (running.parse::<K3sVersion>(), wanted.parse::<K3sVersion>()) else {
        return Ok(());
    };
    if to < from {
        return Err(format!(
            "the cluster runs {running} and cannot go back to {wanted}: an older K3s cannot be trusted with newer data; \
             make a new cluster for it"
        ));
    }
    if to.major != from.major || to.minor > from.minor.saturating_add(1) {
        let next = format!("v{}.{}", from.major, from.minor.saturating_add(1));
        return Err(format!(
            "the cluster runs {running} and cannot go to {wanted} at once: K3s moves one minor version at a time; set a \
             version {next} first, and wait until the cluster is ready"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("v1.35.3-k3s1", "v1.35.3-k3s1", "")]
    #[case("v1.35.3-k3s1", "v1.35.4-k3s1", "")]
    #[case("v1.35.3-k3s1", "v1.36.0-k3s1", "")]
    #[case("v1.35.3+k3s1", "v1.36.0-rc1-k3s1", "")]
    #[case("v1.35.3-k3s1", "v1.37.0-k3s1", "set a version v1.36 first")]
    #[case("v1.35.3-k3s1", "v2.0.0-k3s1", "one minor version at a time")]
    #[case("v1.36.0-k3s1", "v1.35.9-k3s1", "cannot go back")]
    #[case("v1.36.1-k3s2", "v1.36.1-k3s1", "cannot go back")]
    #[case("latest", "v1.20.0-k3s1", "")]
    #[case("v1.36.1-k3s1", "latest", "")]
    fn one_minor_at_a_time_and_never_back(
        #[case] running: &str,
        #[case] wanted: &str,
        #[case] refusal: &str,
    ) {
        match check(running, wanted) {
            Ok(()) => assert!(refusal.is_empty(), "{running} → {wanted} was allowed"),
            Err(message) => assert!(!refusal.is_empty() && message.contains(refusal), "{message}"),
        }
    }
}
