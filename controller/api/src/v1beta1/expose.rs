//! How a nested API is reached from outside the host.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the API is reached from outside the host: at most one of ingress, loadBalancer and nodePort.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(
    validation = Rule::new("[has(self.ingress), has(self.loadBalancer), has(self.nodePort)].filter(x, x).size() <= 1")
        .message("ingress, loadbalancer and nodePort are mutually exclusive; only one can be set")
)]
#[serde(rename_all = "camelCase")]
pub struct Expose {
    /// Annotations of the Service in front of the API.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,

    /// Through an Ingress. Needs at least one DNS name in tlsSANs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressExposure>,

    /// Through a Service of type LoadBalancer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_balancer: Option<LoadBalancerExposure>,

    /// Through a Service of type NodePort.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port: Option<NodePortExposure>,
}

/// An Ingress in front of the API.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IngressExposure {
    /// Annotations of the Ingress.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,

    /// IngressClass of the Ingress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress_class_name: Option<String>,
}

/// A load balancer in front of the API.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LoadBalancerExposure {
    /// Port of the API. Default: 443. 0 or less: not exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_port: Option<i32>,

    /// Port of etcd. Default: 2379. 0 or less: not exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_port: Option<i32>,
}

/// Ports on the host's nodes in front of the API.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct NodePortExposure {
    /// Node port of the API. Default: chosen by the host. Outside 30000-32767: not exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_port: Option<i32>,

    /// Node port of etcd. Default: chosen by the host. Outside 30000-32767: not exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_port: Option<i32>,
}
