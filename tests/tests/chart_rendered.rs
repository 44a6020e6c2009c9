//! The chart as text: what its templates may say, and what every workload in it must.

#![allow(clippy::unwrap_used)] // in functions that tests call

use k3k_tests::{chart, workspace};
use k3k_webhook::serving::registration::Registration;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule, Role};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const NAMESPACE: &str = "k3k-system";

fn objects() -> Vec<Value> {
    chart::objects(NAMESPACE).unwrap()
}

fn of_kind(kind: &str) -> Vec<Value> {
    objects().into_iter().filter(|object| object["kind"] == kind).collect()
}

fn typed<K: k8s_openapi::serde::de::DeserializeOwned>(kind: &str) -> Vec<K> {
    of_kind(kind).into_iter().map(|object| serde_json::from_value(object).unwrap()).collect()
}

#[test]
fn every_object_says_what_it_belongs_to_and_nothing_about_who_manages_it() {
    let version = chart::file("Chart.yaml").unwrap()["appVersion"].clone();
    for object in objects() {
        let (name, labels) = (&object["metadata"]["name"], &object["metadata"]["labels"]);
        assert_eq!(labels["app.kubernetes.io/name"], "k3k", "{name}");
        assert_eq!(labels["app.kubernetes.io/part-of"], "k3k", "{name}");
        assert_eq!(labels["app.kubernetes.io/version"], version, "{name}");
        assert!(labels["app.kubernetes.io/component"].is_string(), "{name}");
        assert!(labels.get("app.kubernetes.io/managed-by").is_none(), "{name}");
        assert!(name.as_str().unwrap().starts_with("k3k-"), "{name}");
    }
}

#[test]
fn objects_are_in_the_release_namespace_or_in_none() {
    const CLUSTER_SCOPED: [&str; 6] = [
        "ClusterRole",
        "ClusterRoleBinding",
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    ];
    for object in chart::objects("elsewhere").unwrap() {
        let scoped = CLUSTER_SCOPED.contains(&object["kind"].as_str().unwrap());
        let want = if scoped { Value::Null } else { json!("elsewhere") };
        assert_eq!(object["metadata"]["namespace"], want, "{object}");
        assert!(!object.to_string().contains(NAMESPACE), "{object}");
    }
}

#[test]
fn templates_keep_to_the_few_expressions() {
    for (name, template) in chart::templates().unwrap() {
        chart::render(&template, NAMESPACE).unwrap();
        for line in template.lines().filter(|line| line.trim_start().starts_with('#')) {
            assert!(!line.contains("{{"), "{name}: Helm would evaluate the comment {line:?}");
        }
    }
    for (template, fine) in [
        ("{{ .Values.image.tag }}", true),
        ("{{ .Values.image.tag | quote }}", true),
        ("{{ .Values.image | toJson }}", true),
        ("{{ .Values.image }}", false),
        ("{{ .Values.nothing }}", false),
        ("{{- .Values.image.tag }}", false),
        ("{{ .Values.image.tag | upper }}", false),
        ("{{ if .Values.image }}", false),
        ("{{ .Values.image.tag", false),
    ] {
        assert_eq!(chart::render(template, NAMESPACE).is_ok(), fine, "{template}");
    }
}

#[test]
fn versions_agree() {
    let chart = chart::file("Chart.yaml").unwrap();
    let values = chart::file("values.yaml").unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!((&chart["version"], &chart["appVersion"]), (&json!(version), &json!(version)));
    assert_eq!(values["image"]["tag"], format!("v{version}"), "the tag that manifests/image/build gives");
}

/// `additionalProperties: false` refuses typing errors, so every value must be in the schema, and the other way round.
#[test]
fn the_schema_knows_every_value() {
    fn compare(schema: &Value, definitions: &Value, value: &Value, path: &str) {
        let reference =
            schema["$ref"].as_str().and_then(|reference| reference.strip_prefix("#/definitions/"));
        let schema = reference.map_or(schema, |name| &definitions[name]);
        let Some(properties) = schema["properties"].as_object() else { return };
        assert_eq!(schema["additionalProperties"], false, "{path}");
        let known: BTreeSet<&String> = properties.keys().filter(|key| *key != "global").collect();
        let given: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(known, given, "{path}");
        for key in given {
            compare(&properties[key], definitions, &value[key], &format!("{path}.{key}"));
        }
    }
    let schema = chart::file("values.schema.json").unwrap();
    compare(&schema, &schema["definitions"], &chart::file("values.yaml").unwrap(), "values");
}

#[test]
fn the_chart_brings_the_generated_crds_and_helm_keeps_them() {
    let folder = workspace::path("manifests/chart/templates/crds");
    let crds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(crds.len(), k3k_api::crds().len());
    for path in crds {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains("{{"), "{}: Helm would evaluate it", path.display());
        assert!(text.contains("helm.sh/resource-policy: keep"), "{}", path.display());
    }
}

#[test]
fn workloads_are_hardened() {
    let deployments = typed::<Deployment>("Deployment");
    assert_eq!(deployments.len(), 2);
    for deployment in deployments {
        let spec = deployment.spec.unwrap();
        let selector = spec.selector.match_labels.unwrap();
        let labels = spec.template.metadata.unwrap().labels.unwrap();
        assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)));
        let pod = spec.template.spec.unwrap();
        assert_ne!(pod.service_account_name.as_deref().unwrap_or("default"), "default");
        for shared in [pod.host_network, pod.host_pid, pod.host_ipc] {
            assert_ne!(shared, Some(true));
        }
        let context = pod.security_context.unwrap();
        assert_eq!(context.run_as_non_root, Some(true));
        assert_eq!(context.run_as_user, Some(65532));
        assert_eq!(context.seccomp_profile.unwrap().type_, "RuntimeDefault");
        for container in pod.containers {
            let context = container.security_context.unwrap();
            assert_eq!(context.allow_privilege_escalation, Some(false));
            assert_eq!(context.read_only_root_filesystem, Some(true));
            let capabilities = context.capabilities.unwrap();
            assert_eq!((capabilities.add, capabilities.drop), (None, Some(vec!["ALL".to_owned()])));
            let resources = container.resources.unwrap();
            assert!(resources.requests.unwrap().contains_key("memory"));
            assert!(resources.limits.as_ref().unwrap().contains_key("memory"));
            assert!(!resources.limits.unwrap().contains_key("cpu"), "a CPU limit makes answers late");
            for (probe, path) in
                [(container.liveness_probe, "/livez"), (container.readiness_probe, "/readyz")]
            {
                assert_eq!(probe.unwrap().http_get.unwrap().path.as_deref(), Some(path));
            }
        }
    }
}

#[test]
fn the_webhook_survives_drains_and_upgrades() {
    let deployments = typed::<Deployment>("Deployment");
    let webhook =
        deployments.into_iter().find(|found| found.metadata.name.as_deref() == Some("k3k-webhook")).unwrap();
    let spec = webhook.spec.unwrap();
    assert!(spec.replicas.unwrap() >= 2);
    let rolling = spec.strategy.unwrap().rolling_update.unwrap();
    assert_eq!(serde_json::to_value(rolling.max_unavailable).unwrap(), json!(0));
    let pod = spec.template.spec.unwrap();
    assert_eq!(pod.priority_class_name.as_deref(), Some("system-cluster-critical"));
    let anti = pod.affinity.unwrap().pod_anti_affinity.unwrap();
    assert!(anti.required_during_scheduling_ignored_during_execution.is_none(), "one node must do");
    assert!(anti.preferred_during_scheduling_ignored_during_execution.is_some());
    // The drain (10 s) and the last answers must fit.
    assert!(pod.termination_grace_period_seconds.unwrap() >= 20);
    assert_eq!(of_kind("PodDisruptionBudget")[0]["spec"]["minAvailable"], 1);
    let service = typed::<Service>("Service").remove(0).spec.unwrap();
    let labels = spec.template.metadata.unwrap().labels.unwrap();
    assert!(service.selector.unwrap().iter().all(|(key, value)| labels.get(key) == Some(value)));
}

/// Every webhook of a registration, as JSON.
fn webhooks(kind: &str) -> Vec<Value> {
    of_kind(kind).remove(0)["webhooks"].as_array().cloned().unwrap()
}

#[test]
fn the_registrations_fail_closed_for_what_is_of_clusters_only() {
    let selector = json!([
        {"key": k3k_api::labels::CLUSTER_NAMESPACE, "operator": "In", "values": ["true"]},
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["kube-system", NAMESPACE]},
    ]);
    let kinds = [
        ("MutatingWebhookConfiguration", "/mutate", 10, MutatingWebhookConfiguration::WEBHOOKS),
        ("ValidatingWebhookConfiguration", "/validate", 5, ValidatingWebhookConfiguration::WEBHOOKS),
    ];
    for (kind, path, seconds, names) in kinds {
        let webhooks = webhooks(kind);
        assert_eq!(
            webhooks.iter().map(|webhook| webhook["name"].as_str().unwrap()).collect::<Vec<_>>(),
            names
        );
        for webhook in webhooks {
            let name = &webhook["name"];
            assert!(webhook["clientConfig"].get("caBundle").is_none(), "{name}: the webhook's own field");
            let service = &webhook["clientConfig"]["service"];
            assert_eq!(
                (service["path"].as_str(), service["namespace"].as_str()),
                (Some(path), Some(NAMESPACE))
            );
            assert_eq!(webhook["failurePolicy"], "Fail");
            assert_eq!(webhook["sideEffects"], "None");
            assert_eq!(webhook["matchPolicy"], "Equivalent");
            assert_eq!(webhook["timeoutSeconds"], seconds);
            assert!(webhook.get("objectSelector").is_none(), "{name}: tenants could dodge it");
            let of_namespaces = name == "namespaces.guard.k3k.io";
            let selected =
                webhook.get("namespaceSelector").map(|selector| selector["matchExpressions"].clone());
            assert_eq!(selected, (!of_namespaces).then(|| selector.clone()), "{name}");
            for rule in webhook["rules"].as_array().unwrap() {
                let deletes = rule["operations"].as_array().unwrap().contains(&json!("DELETE"));
                let of_pods = rule["resources"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|one| one.as_str().unwrap().starts_with("pods"));
                assert!(!(deletes && (of_pods || of_namespaces)), "{name}: that a pod goes is never held up");
                assert!(!rule.to_string().contains('*'), "{name}: {rule}");
            }
        }
    }
}

/// Conditions on who asks are about the host's own accounts, which no tenant can become.
#[test]
fn no_condition_leaves_out_what_a_tenant_could_say() {
    for webhook in webhooks("MutatingWebhookConfiguration") {
        assert!(webhook.get("matchConditions").is_none());
    }
    for webhook in webhooks("ValidatingWebhookConfiguration") {
        for condition in webhook["matchConditions"].as_array().unwrap() {
            let expression = condition["expression"].as_str().unwrap();
            for account in expression.split("system:serviceaccount:").skip(1) {
                assert!(
                    account.starts_with("kube-system:")
                        || account.starts_with(&format!("{NAMESPACE}:k3k-controller'")),
                    "{expression}"
                );
            }
        }
    }
}

#[test]
fn applying_again_leaves_the_certificates_alone() {
    let secrets = of_kind("Secret");
    assert_eq!(secrets.len(), 1);
    assert!(secrets[0].get("data").is_none() && secrets[0].get("stringData").is_none());
}

fn roles() -> Vec<(String, Vec<PolicyRule>)> {
    let cluster = typed::<ClusterRole>("ClusterRole").into_iter();
    let cluster =
        cluster.map(|role| (format!("ClusterRole {}", role.metadata.name.unwrap()), role.rules.unwrap()));
    let roles = typed::<Role>("Role").into_iter();
    cluster
        .chain(roles.map(|role| (format!("Role {}", role.metadata.name.unwrap()), role.rules.unwrap())))
        .collect()
}

#[test]
fn no_role_has_more_than_it_names() {
    for (role, rules) in roles() {
        for rule in rules {
            assert!(rule.non_resource_urls.is_none(), "{role}");
            let resources = rule.resources.unwrap();
            let everything = rule.verbs.iter().chain(rule.api_groups.iter().flatten()).chain(&resources);
            assert!(everything.clone().all(|word| !word.contains('*')), "{role}");
            for forbidden in
                ["nodes/proxy", "serviceaccounts/token", "deletecollection", "impersonate", "escalate"]
            {
                assert!(everything.clone().all(|word| word != forbidden), "{role} has {forbidden}");
            }
            let listing = rule.verbs.iter().any(|verb| verb == "list" || verb == "watch");
            let secrets = resources.iter().any(|resource| resource == "secrets");
            assert!(!(secrets && listing) || rule.resource_names.is_some(), "{role} lists Secrets");
            if rule.verbs.iter().any(|verb| verb == "bind") {
                assert_eq!(
                    rule.resource_names.unwrap(),
                    ["k3k-kubelet", "k3k-webhook-pull-secrets"],
                    "{role}"
                );
            }
        }
    }
}

/// The virtual kubelet's role is bound in its own namespace by the controller, and by nobody cluster-wide.
#[test]
fn the_kubelets_role_is_not_bound_here() {
    for binding in of_kind("ClusterRoleBinding").iter().chain(&of_kind("RoleBinding")) {
        assert_ne!(binding["roleRef"]["name"], "k3k-kubelet");
        assert_ne!(binding["roleRef"]["name"], "k3k-webhook-pull-secrets", "Secrets of all namespaces");
    }
}
