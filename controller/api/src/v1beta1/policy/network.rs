//! What clusters may open to others, and whom they may reach.

use super::PortRange;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What clusters may open to others, and whom they may reach.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// Services.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<ServiceRules>,
    /// Ingresses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingresses: Option<IngressRules>,
    /// Whom pods may reach, and who may reach them. disableNetworkPolicy leaves all of it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
}

/// What Services may be. External IPs are never allowed: they take over other people's addresses.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ServiceRules {
    /// Types; any, if this list is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4))]
    pub types: Option<Vec<ServiceType>>,
    /// Classes of load balancers that Services may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub load_balancer_classes: Vec<String>,
    /// Ports of the nodes that Services may name; any, if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node_port_range: Option<PortRange>,
}

/// Type of a Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ServiceType {
    /// Inside only.
    ClusterIP,
    /// A port on every node.
    NodePort,
    /// A load balancer of the host.
    LoadBalancer,
    /// Another name.
    ExternalName,
}

impl ServiceType {
    /// The value as it is written in a Service.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClusterIP => "ClusterIP",
            Self::NodePort => "NodePort",
            Self::LoadBalancer => "LoadBalancer",
            Self::ExternalName => "ExternalName",
        }
    }
}

/// What Ingresses may say.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct IngressRules {
    /// Host names, where *.a.example stands for every name of one more part; any, if this list is not there. A name belongs to the
    /// namespace that has it first.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub hosts: Option<Vec<String>>,
    /// IngressClasses; any, if this list is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub classes: Option<Vec<String>>,
    /// Annotations, which give orders to the host's ingress controllers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub annotations: Vec<String>,
}

/// Whom pods may reach, and who may reach them.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Isolation {
    /// Address ranges that no pod reaches, besides the host's pods and the link-local addresses where metadata services are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub egress_except: Vec<String>,
    /// Whether pods reach what is outside of the cluster. Internet, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub egress: Option<Egress>,
    /// Who reaches pods. Anybody through a Service that opens them, if it is not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressFrom>,
}

/// Whether pods reach what is outside of the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Egress {
    /// Everything but what is excepted.
    #[default]
    Internet,
    /// Nothing.
    Deny,
}

/// Who reaches pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum IngressFrom {
    /// Anybody from outside of the host's pods.
    #[default]
    Outside,
    /// Pods of the same namespace alone.
    SameNamespace,
}
