//! Every field that the compiled Kubernetes API knows has a rule. When a newer API adds one, these tests name it, so that
//! somebody decides about it.

use k3k_translate::pod::{Context, ephemeral_containers, translate};
use k3k_translate::{Owner, Refusal};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::schemars::{JsonSchema, SchemaGenerator};
use rstest::rstest;
use serde_json::{Value, json};

fn context() -> Context {
    Context {
        owner: Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() },
        node_name: "k3k-dev".into(),
        node_ip: "10.0.0.3".into(),
        server_ip: "10.0.0.1".into(),
        dns_ip: "10.0.0.2".into(),
        cluster_domain: "cluster.local".into(),
        mirrors_nodes: false,
        node_selector: std::collections::BTreeMap::new(),
    }
}

fn fields<T: JsonSchema>() -> Vec<String> {
    let schema = T::json_schema(&mut SchemaGenerator::default());
    let properties = schema.as_value()["properties"].as_object().expect("a struct");
    properties.keys().cloned().collect()
}

fn outcome(spec: Value) -> Result<(), Refusal> {
    let mut pod = json!({"metadata": {"name": "p", "namespace": "n", "uid": "u"}});
    pod["spec"] = spec;
    translate(&context(), &pod, &[])?;
    ephemeral_containers(&context(), &pod, &[]).map(drop)
}

/// The field must be kept, rewritten, or refused for a reason of its own; never because nobody thought of it.
fn has_a_rule(field: &str, spec: Value) {
    if let Err(refusal) = outcome(spec) {
        assert!(!refusal.why.contains("not known"), "{field} has no rule: {refusal}");
    }
}

#[test]
fn every_field_of_a_pod_has_a_rule() {
    for field in fields::<core::PodSpec>() {
        let mut spec = json!({});
        spec[&field] = Value::Null;
        has_a_rule(&field, spec);
    }
}

#[rstest]
#[case("containers", fields::<core::Container>())]
#[case("initContainers", fields::<core::Container>())]
#[case("ephemeralContainers", fields::<core::EphemeralContainer>())]
fn every_field_of_a_container_has_a_rule(#[case] list: &str, #[case] fields: Vec<String>) {
    for field in fields {
        let mut spec = json!({list: [{}]});
        spec[list][0][&field] = Value::Null;
        has_a_rule(&format!("{list}.{field}"), spec);
    }
}

#[rstest]
#[case::volume("/volumes/0", fields::<core::Volume>(), json!({"volumes": [{}]}))]
#[case::config_map("/volumes/0/configMap", fields::<core::ConfigMapVolumeSource>(), json!({"volumes": [{"configMap": {"name": "c"}}]}))]
#[case::secret("/volumes/0/secret", fields::<core::SecretVolumeSource>(), json!({"volumes": [{"secret": {"secretName": "s"}}]}))]
#[case::downward("/volumes/0/downwardAPI", fields::<core::DownwardAPIVolumeSource>(), json!({"volumes": [{"downwardAPI": {}}]}))]
#[case::claim("/volumes/0/persistentVolumeClaim", fields::<core::PersistentVolumeClaimVolumeSource>(), json!({"volumes": [{"persistentVolumeClaim": {"claimName": "c"}}]}))]
#[case::projected("/volumes/0/projected", fields::<core::ProjectedVolumeSource>(), json!({"volumes": [{"projected": {}}]}))]
#[case::projection("/volumes/0/projected/sources/0", fields::<core::VolumeProjection>(), json!({"volumes": [{"projected": {"sources": [{}]}}]}))]
#[case::token("/volumes/0/projected/sources/0/serviceAccountToken", fields::<core::ServiceAccountTokenProjection>(), json!({"volumes": [{"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]}))]
#[case::env("/containers/0/env/0", fields::<core::EnvVar>(), json!({"containers": [{"env": [{}]}]}))]
#[case::source("/containers/0/env/0/valueFrom", fields::<core::EnvVarSource>(), json!({"containers": [{"env": [{"name": "E", "valueFrom": {}}]}]}))]
#[case::env_from("/containers/0/envFrom/0", fields::<core::EnvFromSource>(), json!({"containers": [{"envFrom": [{}]}]}))]
#[case::pull_secret("/imagePullSecrets/0", fields::<core::LocalObjectReference>(), json!({"imagePullSecrets": [{}]}))]
fn every_source_of_data_has_a_rule(
    #[case] place: &str,
    #[case] fields: Vec<String>,
    #[case] template: Value,
) {
    for field in fields {
        let mut spec = template.clone();
        let object = spec.pointer_mut(place).expect("the place in the template");
        if object.get(&field).is_none() {
            object[&field] = json!({});
        }
        has_a_rule(&format!("{place}/{field}"), spec);
    }
}

#[test]
fn every_field_of_a_claim_has_a_rule() {
    for field in fields::<core::PersistentVolumeClaimSpec>() {
        let mut claim = json!({"metadata": {"name": "c", "namespace": "n", "uid": "u"}, "spec": {}});
        claim["spec"][&field] = json!({});
        if let Err(refusal) = k3k_translate::storage::claim(&context().owner, &claim, None) {
            assert!(!refusal.why.contains("not known"), "{field} has no rule: {refusal}");
        }
    }
}
