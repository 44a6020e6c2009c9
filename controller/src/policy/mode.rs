//! Whether rules are enforced at all: Kubernetes' own objects cannot warn. Pure.

use jiff::Timestamp;
use k3k_api::v1beta1::VirtualClusterPolicySpec;
use k3k_api::v1beta1::policy::{EnforcementMode, Exemption};

/// Whether every rule of `area`, such as `podSecurity`, is enforced.
pub fn is_enforced(spec: &VirtualClusterPolicySpec, area: &str) -> bool {
    let Some(enforcement) = &spec.enforcement else { return true };
    let mut concerned = enforcement.rules.iter().filter(|rule| is_of(&rule.name, area));
    let of_area = enforcement.rules.iter().find(|rule| rule.name == area).map(|rule| rule.mode);
    let general = of_area.or(enforcement.mode).unwrap_or_default();
    general == EnforcementMode::Enforce && concerned.all(|rule| rule.mode == EnforcementMode::Enforce)
}

/// The exemptions from rules of `area` that hold at `now`. One whose end nobody can read has ended.
pub fn exemptions<'a>(
    spec: &'a VirtualClusterPolicySpec,
    area: &'a str,
    now: Timestamp,
) -> impl Iterator<Item = &'a Exemption> {
    let all = spec.enforcement.iter().flat_map(|enforcement| &enforcement.exemptions);
    all.filter(move |exemption| {
        exemption.rules.iter().any(|rule| is_of(rule, area)) && ends(exemption).is_some_and(|end| end > now)
    })
}

/// When the next exemption ends after `now`, so that it is time to look again.
pub fn next_end(spec: &VirtualClusterPolicySpec, now: Timestamp) -> Option<Timestamp> {
    let all = spec.enforcement.iter().flat_map(|enforcement| &enforcement.exemptions);
    all.filter_map(ends).filter(|end| *end > now).min()
}

fn ends(exemption: &Exemption) -> Option<Timestamp> {
    exemption.expires_at.parse().ok()
}

fn is_of(rule: &str, area: &str) -> bool {
    rule.split('.').next() == Some(area)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn spec(enforcement: &Value) -> VirtualClusterPolicySpec {
        serde_json::from_value(json!({ "enforcement": enforcement })).unwrap()
    }

    #[rstest]
    #[case(json!(null), true)]
    #[case(json!({}), true)]
    #[case(json!({ "mode": "Warn" }), false)]
    #[case(json!({ "mode": "Warn", "rules": [{ "name": "podSecurity", "mode": "Enforce" }] }), true)]
    #[case(json!({ "rules": [{ "name": "podSecurity.level", "mode": "Audit" }] }), false)]
    #[case(json!({ "rules": [{ "name": "images.digest", "mode": "Audit" }] }), true)]
    fn modes(#[case] enforcement: Value, #[case] want: bool) {
        assert_eq!(is_enforced(&spec(&enforcement), "podSecurity"), want);
    }

    #[test]
    fn exemptions_end() {
        let exemption = |name: &str, rule: &str, end: &str| json!({ "name": name, "rules": [rule], "reason": "r", "expiresAt": end });
        let spec = spec(&json!({ "exemptions": [
            exemption("a", "podSecurity.hostPaths", "2026-02-01T00:00:00Z"),
            exemption("b", "images", "2026-01-02T00:00:00Z"),
            exemption("c", "podSecurity", "2025-01-01T00:00:00Z"),
            exemption("d", "podSecurity", "some day"),
        ] }));
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let names: Vec<_> =
            exemptions(&spec, "podSecurity", now).map(|exemption| exemption.name.as_str()).collect();
        assert_eq!(names, ["a"]);
        assert_eq!(next_end(&spec, now), Some("2026-01-02T00:00:00Z".parse().unwrap()));
    }
}
