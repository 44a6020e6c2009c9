//! What a tenant is told about a pod or a template. Pure.

use k3k_api::v1beta1::policy::EnforcementMode;
use k3k_policy::{Policy, Source, Violation, nested, templates, told};
use k8s_openapi::jiff::Timestamp;
use kube::api::DynamicObject;
use kube::core::Status;
use kube::core::admission::{AdmissionRequest, AdmissionResponse, Operation};
use kube::core::response::{StatusSummary, reason};
use serde_json::json;

/// The area of the rules about amounts, which are all that a resize can break.
const AMOUNTS: &str = "resources.";

/// The answer: admitted without a word, unless something is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Why it is refused.
    pub(super) denied: Vec<Violation>,
    /// What is said besides.
    pub(super) warnings: Vec<Violation>,
}

/// Decides about what the nested API server asks.
pub(super) fn decide(
    request: &AdmissionRequest<DynamicObject>,
    cluster: &str,
    policy: &Policy,
    now: Timestamp,
) -> Verdict {
    let is_written = matches!(request.operation, Operation::Create | Operation::Update);
    let Some(object) = request.object.as_ref().filter(|_| is_written) else { return Verdict::default() };
    // What ends must be able to: its finalizers are taken off by updates.
    if object.metadata.deletion_timestamp.is_some() {
        return Verdict::default();
    }
    let source = Source { cluster, virtual_namespace: request.namespace.as_deref().unwrap_or_default() };
    let before = |path: &str| request.old_object.as_ref().and_then(|old| old.data.pointer(path));
    let resource = (request.resource.group.as_str(), request.resource.resource.as_str());
    let sub_resource = request.sub_resource.as_deref().unwrap_or_default();
    if resource == ("", "pods") && matches!(sub_resource, "" | "ephemeralcontainers" | "resize") {
        let spec = object.data.get("spec");
        // A pod that is there stays as it is: it must be possible to label it and to report on it, also after its policy has become stricter.
        if spec.is_none() || before("/spec") == spec {
            return Verdict::default();
        }
        let pod = json!({"metadata": object.metadata, "spec": spec});
        let mut found = nested(&pod, source, policy, now);
        found.retain(|violation| sub_resource != "resize" || violation.rule.starts_with(AMOUNTS));
        return Verdict::of(found);
    }
    let path = templates::of(resource.0, resource.1);
    let Some(path) = path.filter(|_| sub_resource.is_empty()) else { return Verdict::default() };
    match object.data.pointer(path) {
        Some(template) if before(path) != Some(template) => {
            let prefix = templates::path(path);
            let found = nested(template, source, policy, now).into_iter();
            Verdict::of(found.map(|violation| violation.of_template(&prefix)))
        }
        _ => Verdict::default(),
    }
}

impl Verdict {
    fn of(violations: impl IntoIterator<Item = Violation>) -> Self {
        let mut verdict = Self::default();
        for violation in violations {
            match violation.mode {
                EnforcementMode::Enforce => verdict.denied.push(violation),
                EnforcementMode::Warn => verdict.warnings.push(violation),
                EnforcementMode::Audit => {}
            }
        }
        verdict
    }

    /// `response`, which admits, with what is to be said.
    pub(super) fn put_into(self, mut response: AdmissionResponse) -> AdmissionResponse {
        response.warnings = Some(told::warnings(&self.warnings)).filter(|warnings| !warnings.is_empty());
        if self.denied.is_empty() {
            return response;
        }
        response.allowed = false;
        response.result = Status {
            status: Some(StatusSummary::Failure),
            code: 403,
            reason: reason::FORBIDDEN.to_owned(),
            message: told::denial(&self.denied),
            ..Status::default()
        };
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::admission::AdmissionReview;
    use rstest::rstest;
    use serde_json::Value;

    fn policy(spec: &Value) -> Policy {
        Policy::compile("gold", 3, serde_json::from_value(spec.clone()).unwrap()).unwrap()
    }

    fn asked(
        resource: &Value,
        operation: &str,
        sub: &str,
        object: &Value,
        old: &Value,
    ) -> AdmissionRequest<DynamicObject> {
        let review = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
            "uid": "u", "kind": {"group": "", "version": "v1", "kind": "X"}, "resource": resource, "subResource": sub,
            "namespace": "shop", "operation": operation, "userInfo": {}, "object": object, "oldObject": old,
        }});
        serde_json::from_value::<AdmissionReview<DynamicObject>>(review).unwrap().try_into().unwrap()
    }

    fn pods() -> Value {
        json!({"group": "", "version": "v1", "resource": "pods"})
    }

    fn pod(spec: &Value) -> Value {
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}, "spec": spec})
    }

    fn privileged() -> Value {
        json!({"containers": [{"name": "c", "image": "busybox", "securityContext": {"privileged": true}}], "hostNetwork": true})
    }

    fn plain() -> Value {
        json!({"containers": [{"name": "c", "image": "busybox"}]})
    }

    fn judged(request: &AdmissionRequest<DynamicObject>, policy: &Policy) -> Verdict {
        decide(request, "dev", policy, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn a_bad_pod_is_denied_with_all_reasons_in_the_hosts_words() {
        let request = asked(&pods(), "CREATE", "", &pod(&privileged()), &Value::Null);
        let Verdict { denied, warnings } = judged(&request, &Policy::default());
        assert!(warnings.is_empty(), "{warnings:?}");
        assert!(denied.iter().any(|reason| reason.rule == "podSecurity.privileged"), "{denied:?}");
        assert!(denied.iter().any(|reason| reason.field == "spec.hostNetwork"), "{denied:?}");
        let response = judged(&request, &Policy::default()).put_into(AdmissionResponse::from(&request));
        assert!(!response.allowed);
        assert_eq!((response.result.code, response.result.reason.as_str()), (403, "Forbidden"));
        assert_eq!(response.result.message, told::denial(&denied));
        let good = asked(&pods(), "CREATE", "", &pod(&plain()), &Value::Null);
        assert_eq!(judged(&good, &Policy::default()), Verdict::default());
    }

    #[rstest]
    #[case("Warn", 0, true)]
    #[case("Audit", 0, false)]
    fn what_is_not_enforced_is_not_denied(#[case] mode: &str, #[case] denied: usize, #[case] warned: bool) {
        let policy = policy(&json!({"enforcement": {"mode": mode}}));
        let request = asked(&pods(), "CREATE", "", &pod(&privileged()), &Value::Null);
        let verdict = judged(&request, &policy);
        assert_eq!((verdict.denied.len(), !verdict.warnings.is_empty()), (denied, warned), "{verdict:?}");
    }

    #[test]
    fn exemptions_hold_for_the_cluster_and_namespace_that_they_name() {
        let exempting = |cluster: &str, namespace: &str| {
            policy(&json!({"enforcement": {"exemptions": [{
                "name": "x", "rules": ["podSecurity"], "clusters": [cluster], "virtualNamespaces": [namespace],
                "reason": "r", "expiresAt": "2100-01-01T00:00:00Z",
            }]}}))
        };
        let request = asked(&pods(), "CREATE", "", &pod(&privileged()), &Value::Null);
        assert_eq!(judged(&request, &exempting("dev", "shop")), Verdict::default());
        for (cluster, namespace) in [("other", "shop"), ("dev", "other")] {
            assert!(
                !judged(&request, &exempting(cluster, namespace)).denied.is_empty(),
                "{cluster} {namespace}"
            );
        }
    }

    #[test]
    fn a_pod_that_is_there_can_be_labelled_reported_on_and_ended() {
        let (bad, mut labelled) = (pod(&privileged()), pod(&privileged()));
        labelled["metadata"]["labels"] = json!({"a": "b"});
        assert_eq!(
            judged(&asked(&pods(), "UPDATE", "", &labelled, &bad), &Policy::default()),
            Verdict::default()
        );
        let mut changed = bad.clone();
        changed["spec"]["activeDeadlineSeconds"] = 5.into();
        assert!(!judged(&asked(&pods(), "UPDATE", "", &changed, &bad), &Policy::default()).denied.is_empty());
        changed["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(
            judged(&asked(&pods(), "UPDATE", "", &changed, &bad), &Policy::default()),
            Verdict::default()
        );
        assert_eq!(
            judged(&asked(&pods(), "DELETE", "", &Value::Null, &bad), &Policy::default()),
            Verdict::default()
        );
    }

    #[test]
    fn a_container_for_debugging_is_judged_and_of_a_resize_only_the_amounts() {
        let mut debugged = plain();
        debugged["ephemeralContainers"] =
            json!([{"name": "d", "image": "busybox", "securityContext": {"privileged": true}}]);
        let request = asked(&pods(), "UPDATE", "ephemeralcontainers", &pod(&debugged), &pod(&plain()));
        assert!(!judged(&request, &Policy::default()).denied.is_empty());
        let small = policy(&json!({"resources": {"perPod": {"max": {"cpu": "1"}}}}));
        let mut large = privileged();
        large["containers"][0]["resources"] = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "2"}});
        let verdict = judged(&asked(&pods(), "UPDATE", "resize", &pod(&large), &pod(&privileged())), &small);
        assert!(
            !verdict.denied.is_empty()
                && verdict.denied.iter().all(|reason| reason.rule.starts_with("resources.")),
            "{verdict:?}"
        );
    }

    #[rstest]
    #[case("apps", "deployments", "/spec")]
    #[case("apps", "statefulsets", "/spec")]
    #[case("apps", "daemonsets", "/spec")]
    #[case("apps", "replicasets", "/spec")]
    #[case("", "replicationcontrollers", "/spec")]
    #[case("batch", "jobs", "/spec")]
    #[case("batch", "cronjobs", "/spec/jobTemplate/spec")]
    fn templates_are_warned_about_and_never_denied(
        #[case] group: &str,
        #[case] name: &str,
        #[case] above: &str,
    ) {
        let resource = json!({"group": group, "version": "v1", "resource": name});
        let object = |spec: &Value| {
            let template = json!({"template": {"metadata": {"labels": {"app": "web"}}, "spec": spec}});
            let spec = if above == "/spec" { template } else { json!({"jobTemplate": {"spec": template}}) };
            json!({"apiVersion": "x/v1", "kind": "X", "metadata": {"name": "web"}, "spec": spec})
        };
        let bad = object(&privileged());
        let verdict = judged(&asked(&resource, "CREATE", "", &bad, &Value::Null), &Policy::default());
        assert!(verdict.denied.is_empty() && !verdict.warnings.is_empty(), "{verdict:?}");
        let field = format!("{}.template.spec", above.trim_start_matches('/').replace('/', "."));
        assert!(verdict.warnings.iter().all(|warning| warning.message.contains(&field)), "{verdict:?}");
        let mut scaled = bad.clone();
        scaled["spec"]["replicas"] = 3.into();
        for silent in [
            asked(&resource, "UPDATE", "", &scaled, &bad),
            asked(&resource, "UPDATE", "scale", &bad, &Value::Null),
            asked(&resource, "CREATE", "", &object(&plain()), &Value::Null),
        ] {
            assert_eq!(judged(&silent, &Policy::default()), Verdict::default());
        }
    }
}
