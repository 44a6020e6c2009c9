//! What the virtual kubelet is told of the policy of its namespace.

use super::{Kind, Manifest, Site};
use k3k_api::labels::component;
use k3k_api::told_policy::{KEY, NamedPolicy, ToldPolicy};
use k3k_api::v1beta1::VirtualClusterPolicySpec;
use k3k_api::v1beta1::policy::{Enforcement, Exemption, PodSecurity, Resources};
use serde_json::json;

/// `spec`, as far as it is about pods of `cluster`. What is not named here is not told: shares of tenants, nodes, networks, and who else
/// is excused of what.
pub fn told(name: &str, generation: i64, spec: &VirtualClusterPolicySpec, cluster: &str) -> ToldPolicy {
    let spec = VirtualClusterPolicySpec {
        default_priority_class: spec.default_priority_class.clone(),
        pod_security_admission_level: spec.pod_security_admission_level,
        enforcement: spec.enforcement.as_ref().map(|enforcement| enforcement_for(enforcement, cluster)),
        pod_security: spec.pod_security.as_ref().map(|pod_security| pod_security_for(pod_security, cluster)),
        images: spec.images.clone(),
        resources: spec.resources.as_ref().map(|resources| Resources {
            per_pod: resources.per_pod.clone(),
            containers: resources.containers.clone(),
            extended: resources.extended.clone(),
            ..Resources::default()
        }),
        workloads: spec.workloads.clone(),
        ..VirtualClusterPolicySpec::default()
    };
    ToldPolicy::Named(Box::new(NamedPolicy { name: name.to_owned(), generation, spec }))
}

/// Whether a list of clusters that names none, or this one, means it.
fn means(clusters: &[String], cluster: &str) -> bool {
    clusters.is_empty() || clusters.iter().any(|listed| listed == cluster)
}

fn enforcement_for(enforcement: &Enforcement, cluster: &str) -> Enforcement {
    let own = enforcement.exemptions.iter().filter(|exemption| means(&exemption.clusters, cluster));
    let exemptions = own.map(|exemption| Exemption {
        clusters: Vec::new(),
        // For administrators, who read it where they wrote it.
        reason: String::new(),
        ..exemption.clone()
    });
    Enforcement { exemptions: exemptions.collect(), ..enforcement.clone() }
}

fn pod_security_for(pod_security: &PodSecurity, cluster: &str) -> PodSecurity {
    let mut own = pod_security.clone();
    own.privileged.retain(|privilege| means(&privilege.clusters, cluster));
    for privilege in &mut own.privileged {
        privilege.clusters.clear();
    }
    own
}

/// The ConfigMap that tells the virtual kubelet.
pub fn config_map(site: &Site, told: &ToldPolicy) -> Manifest {
    let data = json!({ "data": { KEY: json!(told).to_string() } });
    Manifest::new(site, Kind::ConfigMap, site.names().policy(), component::KUBELET, data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn a_cluster_is_told_what_is_about_its_pods_and_nothing_of_others() {
        let exemption = |name: &str, clusters: &[&str]| {
            json!({
                "name": name, "rules": ["podSecurity"], "clusters": clusters, "reason": "secret plans", "expiresAt": "2100-01-01T00:00:00Z",
            })
        };
        let privilege = |clusters: &[&str]| {
            json!({
                "clusters": clusters, "virtualNamespaces": ["kube-system"], "allow": ["HostNetwork"],
            })
        };
        let spec: VirtualClusterPolicySpec = serde_json::from_value(json!({
            "quota": {"hard": {"pods": "100"}},
            "podSecurityAdmissionLevel": "restricted",
            "tenancy": {"tenant": "acme"},
            "enforcement": {"mode": "Warn", "exemptions": [
                exemption("mine", &["dev", "other-x"]), exemption("all", &[]), exemption("theirs", &["other-x"]),
            ]},
            "podSecurity": {"privileged": [privilege(&["dev"]), privilege(&["other-x"])]},
            "images": {"digest": "Require"},
            "nodes": {"requiredSelector": {"pool": "acme"}},
            "resources": {"perTenant": {"cpu": "1000"}, "perPod": {"max": {"cpu": "2"}}},
            "network": {"services": {"types": ["ClusterIP"]}},
        }))
        .unwrap();
        let site = Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() };
        let manifest = config_map(&site, &told("gold", 7, &spec, "dev"));
        let text = manifest.object["data"][KEY].as_str().unwrap();
        for hidden in ["other-x", "secret plans", "acme", "1000", "theirs", "ClusterIP", "quota"] {
            assert!(!text.contains(hidden), "{hidden}: {text}");
        }
        let read: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            (&read["governing"], &read["name"], &read["generation"]),
            (&json!("Named"), &json!("gold"), &json!(7))
        );
        let spec = &read["spec"];
        assert_eq!(spec["podSecurityAdmissionLevel"], "restricted");
        assert_eq!(spec["enforcement"]["exemptions"].as_array().unwrap().len(), 2);
        assert_eq!(spec["podSecurity"]["privileged"].as_array().unwrap().len(), 1);
        assert_eq!(spec["images"]["digest"], "Require");
        assert_eq!(spec["resources"], json!({"perPod": {"max": {"cpu": "2"}}}));
    }
}
