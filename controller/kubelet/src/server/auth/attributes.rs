//! What a request to a kubelet is, in terms of the cluster's RBAC: a verb on subresources of the node. The map is the
//! kubelet's (`pkg/kubelet/server/auth.go`, fine-grained since 1.33).

use http::Method;

/// The verb of a method; None for those that no endpoint takes.
pub(super) fn verb(method: &Method) -> Option<&'static str> {
    match *method {
        Method::GET => Some("get"),
        Method::POST => Some("create"),
        _ => None,
    }
}

/// The subresources of `nodes`, any one of which must be allowed for `path`.
pub(super) fn subresources(path: &str) -> &'static [&'static str] {
    let within =
        |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if within("/stats") {
        &["stats"]
    } else if within("/metrics") {
        &["metrics"]
    } else if within("/logs") {
        &["log"]
    } else if within("/pods") || within("/runningpods") {
        &["pods", "proxy"]
    } else {
        &["proxy"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("/exec/default/web/app", &["proxy"])]
    #[case("/containerLogs/default/web/app", &["proxy"])]
    #[case("/portForward/default/web", &["proxy"])]
    #[case("/run/default/web/app", &["proxy"])]
    #[case("/pods", &["pods", "proxy"])]
    #[case("/pods/", &["pods", "proxy"])]
    #[case("/podsX", &["proxy"])]
    #[case("/stats/summary", &["stats"])]
    #[case("/metrics/resource", &["metrics"])]
    #[case("/metricsX", &["proxy"])]
    #[case("/logs/", &["log"])]
    #[case("/", &["proxy"])]
    fn paths(#[case] path: &str, #[case] want: &[&str]) {
        assert_eq!(subresources(path), want);
    }

    #[test]
    fn verbs() {
        assert_eq!(verb(&Method::GET), Some("get"));
        assert_eq!(verb(&Method::POST), Some("create"));
        assert_eq!(verb(&Method::HEAD), None);
        assert_eq!(verb(&Method::DELETE), None);
    }
}
