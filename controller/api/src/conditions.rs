//! Conditions: their types, the reasons a person reads, and how new ones are merged into old ones.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Type of the condition that sums up all others.
pub const READY: &str = "Ready";
/// Type: a server's container runs and its port is open.
pub const SERVER_READY: &str = "ServerReady";
/// Type: the nested API server itself said that it is ready, to an authenticated request.
pub const API_READY: &str = "APIReady";
/// Type, of several servers: all of them keep the cluster's etcd together.
pub const ETCD_READY: &str = "EtcdReady";
/// Type: the nodes are Ready in the nested cluster: the virtual kubelet's, or in mode virtual all servers and agents.
pub const NODE_READY: &str = "NodeReady";

/// Type: the nested API is reached from outside the host, as `spec.expose` asks. Only there when it asks.
pub const EXPOSED: &str = "Exposed";
/// Type: all servers run the version of K3s that the spec asks for. Only there once it asked for another.
pub const UPGRADED: &str = "Upgraded";
/// Type, in mode virtual: the containers of all agents run.
pub const AGENTS_READY: &str = "AgentsReady";

/// Type: the cluster does not run, as `spec.pause` asks. Only there since it was asked for once.
pub const PAUSED: &str = "Paused";

/// Type, of a policy: it can be followed as it is written.
pub const ACCEPTED: &str = "Accepted";
/// Type, of a policy: what Kubernetes itself enforces of it is in all of its namespaces.
pub const NATIVE_OBJECTS_READY: &str = "NativeObjectsReady";
/// Type, of a policy: NetworkPolicies keep its namespaces apart from the others.
pub const ISOLATED: &str = "Isolated";
/// Type, of a policy: every replica of the webhook decides by it.
pub const ENFORCED: &str = "Enforced";

/// Reasons of [`EXPOSED`].
pub mod exposed_reason {
    /// At a port of the host's nodes.
    pub const NODE_PORT: &str = "NodePort";
    /// At a load balancer.
    pub const LOAD_BALANCER: &str = "LoadBalancer";
    /// Through an Ingress.
    pub const INGRESS: &str = "Ingress";
    /// There is no address yet; the message says whose.
    pub const ADDRESS_PENDING: &str = "AddressPending";
    /// The host has not chosen a node port yet.
    pub const PORT_PENDING: &str = "PortPending";
    /// An Ingress needs a DNS name, and the spec has none.
    pub const NAME_MISSING: &str = "NameMissing";
}

/// Reasons of [`UPGRADED`].
pub mod upgraded_reason {
    /// All servers run the version that is asked for.
    pub const UP_TO_DATE: &str = "UpToDate";
    /// It has not begun: the servers are not well yet.
    pub const WAITING: &str = "Waiting";
    /// Servers, and then agents, are replaced one after the other.
    pub const UPGRADING: &str = "Upgrading";
    /// A server does not start, and others already run the version: there is no way back.
    pub const STALLED: &str = "Stalled";
    /// The first server did not start, and was given the version that ran before. Not tried again until the spec asks for another.
    pub const ROLLED_BACK: &str = "RolledBack";
    /// There is no way from the version that runs to the one that is asked for. Nothing has changed.
    pub const REFUSED: &str = "Refused";
}

/// Reasons of [`PAUSED`].
pub mod paused_reason {
    /// Its parts are being stopped. Tenants' pods were not touched yet.
    pub const PAUSING: &str = "Pausing";
    /// Its parts are being stopped, and tenants' pods with them.
    pub const STOPPING_PODS: &str = "StoppingPods";
    /// Nothing of it runs.
    pub const PODS_STOPPED: &str = "PodsStopped";
    /// Only tenants' pods run.
    pub const PODS_KEPT: &str = "PodsKept";
    /// It cannot be paused as it is asked for, and runs on.
    pub const REFUSED: &str = "PauseRefused";
    /// The pause is over.
    pub const RESUMED: &str = "Resumed";
}

/// Reasons of a policy's conditions.
pub mod policy_reason {
    /// Nothing is wrong with it.
    pub const VALID: &str = "Valid";
    /// A field cannot be followed; the message names it.
    pub const INVALID: &str = "Invalid";
    /// Every replica of the webhook has read it.
    pub const ENFORCED: &str = "Enforced";
    /// Some replica of the webhook has not read it yet; the message names it.
    pub const REPLICAS_BEHIND: &str = "ReplicasBehind";
    /// Everything is there.
    pub const APPLIED: &str = "Applied";
    /// No namespace carries the policy's label.
    pub const UNBOUND: &str = "Unbound";
    /// An object of the right name is somebody else's.
    pub const NAME_TAKEN: &str = "NameTaken";
    /// A step failed; the message says which. It is tried again.
    pub const FAILED: &str = "Failed";
    /// Somebody else has set a Pod Security label, and it stays.
    pub const LABEL_OF_OTHERS: &str = "PodSecurityLabelOfOthers";
    /// NetworkPolicies are in place. Whether the network enforces them is its own matter.
    pub const NETWORK_POLICIES: &str = "NetworkPolicies";
    /// The policy does without.
    pub const DISABLED: &str = "Disabled";
    /// The host's nodes do not say which addresses their pods have, so that those cannot be left out.
    pub const POD_RANGES_UNKNOWN: &str = "PodRangesUnknown";
}

/// Reasons of [`READY`], in the order a cluster usually passes through them.
pub mod reason {
    /// The controller has seen the cluster and is making its objects.
    pub const PROVISIONING: &str = "Provisioning";
    /// The cluster asks for something that cannot be done. It stays as it is until its spec or policy changes.
    pub const VALIDATION_FAILED: &str = "ValidationFailed";
    /// The cluster asks for something that this version does not run.
    pub const NOT_SUPPORTED: &str = "NotSupported";
    /// An object that the cluster needs exists and belongs to somebody else.
    pub const NAME_TAKEN: &str = "NameTaken";
    /// The namespace is bound to a VirtualClusterPolicy that does not exist.
    pub const POLICY_MISSING: &str = "PolicyMissing";
    /// What the namespace's VirtualClusterPolicy asks for is not in place there yet.
    pub const POLICY_NOT_IN_FORCE: &str = "PolicyNotInForce";
    /// A server's volume is not bound yet.
    pub const VOLUME_PENDING: &str = "VolumePending";
    /// No node of the host takes a server pod.
    pub const SERVER_UNSCHEDULABLE: &str = "ServerUnschedulable";
    /// The host may not create a server pod: a quota, an admission rule.
    pub const SERVER_REFUSED: &str = "ServerRefused";
    /// The image of the servers or of the virtual kubelet cannot be pulled.
    pub const IMAGE_PULL_FAILED: &str = "ImagePullFailed";
    /// The server pods are starting.
    pub const SERVER_STARTING: &str = "ServerStarting";
    /// A server starts, ends, and is started again.
    pub const SERVER_CRASHING: &str = "ServerCrashing";
    /// The servers run, and the nested API does not say yet that it is ready.
    pub const API_NOT_READY: &str = "ApiNotReady";
    /// The nested API is ready, the virtual kubelet is not.
    pub const KUBELET_NOT_READY: &str = "KubeletNotReady";
    /// The nested API is ready, not all agents are.
    pub const AGENTS_NOT_READY: &str = "AgentsNotReady";
    /// What makes the nodes runs, and not all that are wanted are ready yet.
    pub const NODE_NOT_READY: &str = "NodeNotReady";
    /// The API answers, the nodes are ready, the kubeconfig works.
    pub const PROVISIONED: &str = "Provisioned";
    /// A step failed; the message says which. It is tried again.
    pub const PROVISIONING_FAILED: &str = "ProvisioningFailed";
    /// The cluster is being stopped, as it asks.
    pub const PAUSING: &str = "Pausing";
    /// The cluster does not run, as it asks.
    pub const PAUSED: &str = "Paused";
    /// The cluster is being deleted.
    pub const TERMINATING: &str = "Terminating";
}

/// What a condition says about its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody knows.
    Unknown,
}

impl Status {
    /// The value as it is written in an object.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

/// A condition of type `kind` that holds since `now`; [`merge`] puts the older time in if nothing changed.
/// `generation` is that of the object it was derived from.
pub fn condition(
    kind: &str,
    status: Status,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: Time,
) -> Condition {
    Condition {
        type_: kind.into(),
        status: status.as_str().into(),
        reason: reason.into(),
        message: message.into(),
        observed_generation: generation,
        last_transition_time: now,
    }
}

/// `existing` with the conditions of `new` in place of those of the same type. A condition whose status stays the
/// same keeps its time of transition; those that `new` does not speak of stay as they are.
pub fn merge(existing: &[Condition], new: impl IntoIterator<Item = Condition>) -> Vec<Condition> {
    let mut merged = existing.to_vec();
    for mut condition in new {
        match merged.iter_mut().find(|old| old.type_ == condition.type_) {
            Some(old) => {
                if old.status == condition.status {
                    condition.last_transition_time = old.last_transition_time.clone();
                }
                *old = condition;
            }
            None => merged.push(condition),
        }
    }
    merged
}

/// The condition of type `kind`.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: &str) -> Time {
        serde_json::from_value(format!("2026-01-01T00:00:{second}Z").into()).unwrap()
    }

    fn ready(status: Status, reason: &str, second: &str) -> Condition {
        condition(READY, status, reason, "", Some(1), at(second))
    }

    #[test]
    fn the_time_of_transition_stays_while_the_status_stays() {
        let old = vec![ready(Status::False, reason::PROVISIONING, "01")];
        let merged = merge(&old, [ready(Status::False, reason::API_NOT_READY, "02")]);
        assert_eq!(merged.len(), 1);
        assert_eq!(merged[0].reason, reason::API_NOT_READY);
        assert_eq!(merged[0].last_transition_time, at("01"));
    }

    #[test]
    fn the_time_of_transition_moves_with_the_status() {
        let old = vec![ready(Status::False, reason::PROVISIONING, "01")];
        let merged = merge(&old, [ready(Status::True, reason::PROVISIONED, "02")]);
        assert_eq!(find(&merged, READY).unwrap().last_transition_time, at("02"));
    }

    #[test]
    fn conditions_of_others_stay() {
        let other = condition("Other", Status::Unknown, "Because", "", None, at("00"));
        let merged = merge(std::slice::from_ref(&other), [ready(Status::True, reason::PROVISIONED, "02")]);
        assert_eq!(merged[0], other);
        assert_eq!(merged[1].type_, READY);
        assert_eq!(find(&merged, "Missing"), None);
    }

    #[test]
    fn merging_the_same_again_changes_nothing() {
        let once = merge(&[], [ready(Status::True, reason::PROVISIONED, "01")]);
        assert_eq!(merge(&once, [ready(Status::True, reason::PROVISIONED, "09")]), once);
    }
}
