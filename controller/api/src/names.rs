//! Names of the objects that k3k makes. They are upstream K3k's, so that its users find what they know, and so
//! that a cluster made by it is recognised.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;

/// Longest name of most Kubernetes objects that end up as a DNS label.
const MAX: usize = 63;

/// Longest name of a `Cluster`: its StatefulSet is `k3k-<name>-server`, and a StatefulSet's name plus an 11
/// character revision must fit a label. The API server enforces it, see [`crate::v1beta1::Cluster`].
pub const MAX_CLUSTER_NAME: usize = 41;

/// Joins the non-empty `parts` with `-`. What would be longer than 63 characters is cut and given a short hash
/// of the whole, so that the result is a DNS label and the same input always gives the same name.
pub fn concat(parts: &[&str]) -> String {
    let joined = parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("-");
    if joined.len() <= MAX {
        return joined;
    }
    let digest = hex(&Sha256::digest(joined.as_bytes()));
    let alphanumeric = joined.as_bytes()[56].is_ascii_lowercase() || joined.as_bytes()[56].is_ascii_digit();
    let (keep, suffix) = if alphanumeric { (57, 5) } else { (56, 6) };
    format!("{}-{}", floor_char(&joined, keep), &digest[..suffix])
}

/// [`concat()`] behind the prefix `k3k`.
pub fn prefixed(parts: &[&str]) -> String {
    let mut all = vec!["k3k"];
    all.extend_from_slice(parts);
    concat(&all)
}

/// The name in the host of the object `namespace/name` of `cluster`; `namespace` is empty for cluster-scoped
/// objects. A name that was cut carries 20 bits of hash only, so a writer must compare the copy's annotations
/// ([`crate::labels::VIRTUAL_NAME`], [`crate::labels::VIRTUAL_NAMESPACE`]) before it touches it.
pub fn translated(cluster: &str, namespace: &str, name: &str) -> String {
    let parts: Vec<&str> = [name, namespace, cluster].into_iter().filter(|part| !part.is_empty()).collect();
    concat(&[&parts.join("-"), &hex(parts.join("+").as_bytes())])
}

/// `value` if it is short enough for a label, else a cut and hashed form of it.
pub fn label_value(value: &str) -> String {
    concat(&[value])
}

/// The default host namespace of a cluster made by `kubectl k3k create NAME`.
pub fn default_namespace(cluster: &str) -> String {
    prefixed(&[cluster])
}

/// Names of the host objects of one cluster, all in the cluster's namespace.
#[derive(Clone, Copy, Debug)]
pub struct ClusterNames<'a>(pub &'a str);

macro_rules! names {
    ($($(#[$doc:meta])* $method:ident => $suffix:literal;)*) => {
        impl ClusterNames<'_> {
            $($(#[$doc])* pub fn $method(&self) -> String { prefixed(&[self.0, $suffix]) })*
        }
    };
}

names! {
    /// Service in front of the nested API.
    service => "service";
    /// Ingress in front of the nested API.
    ingress => "ingress";
    /// Headless Service of the server StatefulSet.
    headless_service => "service-headless";
    /// StatefulSet of the servers, and its container.
    server => "server";
    /// Secret with the cluster token, key `token`.
    token => "token";
    /// Secret with the configuration of the first server, key `config.yaml`.
    init_server_config => "init-server-config";
    /// Secret with the cluster's CAs and their private keys; nothing mounts it but the servers.
    certificates => "certificates";
    /// Secret with the admin kubeconfig, key `kubeconfig.yaml`.
    kubeconfig => "kubeconfig";
    /// Deployment, ServiceAccount, RoleBinding and Service of the virtual kubelet.
    kubelet => "kubelet";
    /// StatefulSet of the agents in mode virtual, and its container.
    agent => "agent";
    /// Secret with the configuration of the virtual kubelet, or of the agents.
    agent_config => "agent-config";
    /// ConfigMap that tells the virtual kubelet of the host's nodes.
    nodes => "nodes";
    /// ConfigMap that tells the virtual kubelet of the policy.
    policy => "policy";
    /// Service in front of the nested cluster's CoreDNS pods.
    dns_service => "kube-dns";
}

impl ClusterNames<'_> {
    /// Name of the virtual node in the nested cluster.
    pub fn node(&self) -> String {
        prefixed(&[self.0])
    }
    /// Context, cluster and user in the kubeconfig. Unique on a workstation with many clusters.
    pub fn context(&self) -> String {
        prefixed(&[self.0])
    }
}

/// Whether it is a DNS label (RFC 1123), as the names of namespaces are.
pub fn is_label(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The longest prefix of at most `limit` bytes that ends on a character boundary.
fn floor_char(text: &str, limit: usize) -> &str {
    let mut end = limit;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case(
        "c-test",
        "my-namespace",
        "my-secret",
        "my-secret-my-namespace-c-test-6d792d7365637265742b6d792d6-887db"
    )]
    #[case(
        "c-test",
        "my-namespace",
        "my-configmap",
        "my-configmap-my-namespace-c-test-6d792d636f6e6669676d6170-301f6"
    )]
    #[case("mycluster", "test", "nginx", "nginx-test-mycluster-6e67696e782b746573742b6d79636c7573746572")]
    fn translated_names_are_upstreams(
        #[case] cluster: &str,
        #[case] ns: &str,
        #[case] name: &str,
        #[case] want: &str,
    ) {
        assert_eq!(translated(cluster, ns, name), want);
    }

    #[test]
    fn parts_that_join_alike_stay_apart() {
        assert_ne!(translated("c", "b-c", "a"), translated("c", "c", "a-b"));
        assert_ne!(translated("c", "", "a-b"), translated("c", "b", "a"));
    }

    proptest! {
        #[test]
        fn names_fit_a_label(cluster in "[a-z][a-z0-9-]{0,62}", ns in "[a-z][a-z0-9-]{0,62}", name in "[a-z][a-z0-9.-]{0,250}") {
            for made in [translated(&cluster, &ns, &name), prefixed(&[&cluster, "server"]), label_value(&name)] {
                prop_assert!(made.len() <= 63);
                prop_assert_eq!(&made, &made.to_ascii_lowercase());
            }
        }

        #[test]
        fn any_text_is_cut_without_panic(a in "\\PC{0,200}", b in "\\PC{0,200}") {
            let _ = concat(&[&a, &b]);
        }
    }
}
