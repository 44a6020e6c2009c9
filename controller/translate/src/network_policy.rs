//! NetworkPolicies of tenants, over their own pods.
//!
//! NetworkPolicies add up: what any of those that select a pod allows, is allowed. By itself a tenant's policy only takes away, as without
//! any a pod may talk to all. But beside a policy of the host's administrator it could only give: each of its rules would be a hole in
//! the isolation that the administrator set. So a direction in which a policy of the host isolates tenants' pods is the host's alone.

use crate::copy::Desired;
use crate::{Origin, Owner, Refusal, selector};
use k3k_api::labels;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The namespaces of the nested cluster with their labels.
pub type Namespaces = BTreeMap<String, Map<String, Value>>;

/// The directions in which policies of the host isolate tenants' pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Isolation {
    /// What may come in is the host's matter.
    pub ingress: bool,
    /// What may go out is.
    pub egress: bool,
}

impl Isolation {
    /// What `policies` of the host, which are not copies of tenants', isolate of the pods of `owner`.
    pub fn by<'a>(owner: &Owner, policies: impl IntoIterator<Item = &'a Value>) -> Self {
        let concern = policies.into_iter().filter(|policy| may_concern(owner, policy));
        concern.fold(Self::default(), |isolation, policy| Self {
            ingress: isolation.ingress || has_type(&policy["spec"], "Ingress"),
            egress: isolation.egress || has_type(&policy["spec"], "Egress"),
        })
    }
}

/// Whether a policy of the host may select pods of the cluster. Only labels that tenants cannot choose exclude that.
fn may_concern(owner: &Owner, policy: &Value) -> bool {
    let wanted = &policy["spec"]["podSelector"]["matchLabels"];
    let is_of_another = wanted.get(labels::CLUSTER_NAME).is_some_and(|name| *name != owner.cluster.as_str());
    !is_of_another && wanted.get(labels::COMPONENT).is_none()
}

/// Whether a policy is about a direction; the API server writes `policyTypes` out, so the rest is for old objects.
fn has_type(spec: &Value, direction: &str) -> bool {
    match spec["policyTypes"].as_array() {
        Some(types) => types.iter().any(|kind| kind == direction),
        None => direction == "Ingress" || spec["egress"].as_array().is_some_and(|rules| !rules.is_empty()),
    }
}

/// The host's policy for a nested one.
///
/// # Errors
/// A field, or a selector, that cannot be judged.
pub fn translate(
    owner: &Owner,
    namespaces: &Namespaces,
    isolation: Isolation,
    nested: &Value,
) -> Result<Desired, Refusal> {
    let origin = Origin::of_nested(nested)
        .ok_or_else(|| Refusal::new("metadata", "the policy has no name, namespace or UID"))?;
    let visit = Visit { owner, namespaces, namespace: &origin.namespace };
    let spec = only(&nested["spec"], &["egress", "ingress", "podSelector", "policyTypes"], "spec")?;
    let pods =
        selector::within(owner, &origin.namespace, &nested["spec"]["podSelector"], "spec.podSelector")?;
    let (mut host, mut types, mut left_out) = (Map::new(), Vec::new(), Vec::new());
    for (direction, rules, peers, withheld) in
        [("Ingress", "ingress", "from", isolation.ingress), ("Egress", "egress", "to", isolation.egress)]
    {
        if !has_type(&nested["spec"], direction) {
            continue;
        }
        let path = format!("spec.{rules}");
        if withheld {
            let why = "a policy of the host isolates these pods in this direction, and policies add up: this one could only widen it";
            left_out.push(Refusal::new(path, why));
            continue;
        }
        types.push(direction);
        let list = spec.get(rules).unwrap_or(&Value::Null);
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        let mut kept = Vec::new();
        for (index, rule) in list.iter().enumerate() {
            kept.extend(visit.rule(rule, peers, &format!("{path}[{index}]"))?);
        }
        if !kept.is_empty() {
            host.insert(rules.into(), kept.into());
        }
    }
    if types.is_empty() {
        return Ok(Desired::Nothing(left_out));
    }
    host.insert("podSelector".into(), pods);
    host.insert("policyTypes".into(), types.into());
    let metadata = owner.metadata(&origin, None);
    let object = json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": host});
    Ok(Desired::Copy { object, left_out, secrets: Vec::new() })
}

struct Visit<'a> {
    owner: &'a Owner,
    namespaces: &'a Namespaces,
    namespace: &'a str,
}

impl Visit<'_> {
    /// The rule in the host. None if all the peers it names are absent: a rule without peers would allow all.
    fn rule(&self, rule: &Value, peers: &str, path: &str) -> Result<Option<Value>, Refusal> {
        let mut host = only(rule, &[peers, "ports"], path)?.clone();
        let Some(list) = rule[peers].as_array().filter(|list| !list.is_empty()) else {
            return Ok(Some(host.into()));
        };
        let mut kept = Vec::new();
        for (index, peer) in list.iter().enumerate() {
            kept.extend(self.peer(peer, &format!("{path}.{peers}[{index}]"))?);
        }
        host.insert(peers.into(), kept.clone().into());
        Ok((!kept.is_empty()).then(|| host.into()))
    }

    /// The peer in the host. None if it is in namespaces that do not exist.
    fn peer(&self, peer: &Value, path: &str) -> Result<Option<Value>, Refusal> {
        only(peer, &["ipBlock", "namespaceSelector", "podSelector"], path)?;
        if !peer["ipBlock"].is_null() {
            return Ok(Some(json!({"ipBlock": peer["ipBlock"]})));
        }
        let pods = format!("{path}.podSelector");
        let selector = if peer["namespaceSelector"].is_null() {
            selector::within(self.owner, self.namespace, &peer["podSelector"], &pods)?
        } else {
            let wanted = &peer["namespaceSelector"];
            only(wanted, &["matchLabels", "matchExpressions"], &format!("{path}.namespaceSelector"))?;
            let chosen = self.namespaces.iter().filter(|(_, labels)| selector::matches(wanted, labels));
            let names: Vec<String> = chosen.map(|(name, _)| name.clone()).collect();
            if names.is_empty() {
                return Ok(None);
            }
            selector::across(self.owner, &names, &peer["podSelector"], &pods)?
        };
        Ok(Some(json!({"podSelector": selector})))
    }
}

/// The object, if it has no field but these.
fn only<'a>(value: &'a Value, known: &[&str], path: &str) -> Result<&'a Map<String, Value>, Refusal> {
    let map = value.as_object().ok_or_else(|| Refusal::new(path, "an object is expected here"))?;
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Refusal::unknown(format!("{path}.{key}"))),
        None => Ok(map),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn owner() -> Owner {
        Owner { cluster: "dev".into(), namespace: "k3k-dev".into(), uid: "c".into() }
    }

    fn namespaces() -> Namespaces {
        let labels = |team: &str| json!({"team": team}).as_object().unwrap().clone();
        [("shop", "a"), ("bank", "b"), ("pool", "b")]
            .map(|(name, team)| (name.to_owned(), labels(team)))
            .into()
    }

    fn policy(spec: &Value) -> Value {
        json!({"metadata": {"name": "p", "namespace": "shop", "uid": "u"}, "spec": spec})
    }

    fn made(spec: &Value, isolation: Isolation) -> (Value, Vec<Refusal>) {
        match translate(&owner(), &namespaces(), isolation, &policy(spec)).unwrap() {
            Desired::Copy { object, left_out, .. } => (object["spec"].clone(), left_out),
            Desired::Nothing(left_out) => (Value::Null, left_out),
            Desired::Later => panic!("nothing to wait for"),
        }
    }

    #[test]
    fn peers_are_pods_of_the_cluster() {
        let spec = json!({
            "podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"],
            "ingress": [{"ports": [{"port": 80}], "from": [
                {"podSelector": {"matchLabels": {"app": "front"}}},
                {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": {"app": "x"}}},
                {"namespaceSelector": {}},
                {"ipBlock": {"cidr": "192.0.2.0/24"}},
            ]}],
        });
        let in_namespaces =
            |names: &[&str]| json!([{"key": "k3k.io/virtual-namespace", "operator": "In", "values": names}]);
        assert_eq!(
            made(&spec, Isolation::default()).0,
            json!({
                "podSelector": {"matchLabels": {"app": "web", "k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"}},
                "policyTypes": ["Ingress"],
                "ingress": [{"ports": [{"port": 80}], "from": [
                    {"podSelector": {"matchLabels": {"app": "front", "k3k.io/clusterName": "dev", "k3k.io/virtual-namespace": "shop"}}},
                    {"podSelector": {"matchLabels": {"app": "x", "k3k.io/clusterName": "dev"}, "matchExpressions": in_namespaces(&["bank", "pool"])}},
                    {"podSelector": {"matchLabels": {"k3k.io/clusterName": "dev"}, "matchExpressions": in_namespaces(&["bank", "pool", "shop"])}},
                    {"ipBlock": {"cidr": "192.0.2.0/24"}},
                ]}],
            })
        );
    }

    #[test]
    fn peers_that_do_not_exist_allow_nobody() {
        let spec = json!({
            "podSelector": {}, "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "z"}}}]}],
        });
        let made = made(&spec, Isolation::default()).0;
        assert_eq!(
            (made.get("ingress"), &made["policyTypes"]),
            (None, &json!(["Ingress"])),
            "not: a rule for all"
        );
    }

    #[test]
    fn all_and_nobody_are_what_they_are() {
        let all = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{"to": []}]});
        let made_of_all = made(&all, Isolation::default()).0;
        assert_eq!((&made_of_all["ingress"], &made_of_all["egress"]), (&json!([{}]), &json!([{"to": []}])));
        let nobody = made(&json!({"podSelector": {}, "policyTypes": ["Egress"]}), Isolation::default()).0;
        assert_eq!((nobody.get("egress"), &nobody["policyTypes"]), (None, &json!(["Egress"])));
    }

    #[test]
    fn where_the_host_isolates_a_tenant_opens_nothing() {
        let spec = json!({
            "podSelector": {}, "policyTypes": ["Ingress", "Egress"],
            "ingress": [{}], "egress": [{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}],
        });
        let (half, left_out) = made(&spec, Isolation { egress: true, ingress: false });
        assert_eq!((half.get("egress"), &half["policyTypes"]), (None, &json!(["Ingress"])));
        assert_eq!(left_out[0].path, "spec.egress");
        let (none, left_out) = made(&spec, Isolation { egress: true, ingress: true });
        assert_eq!((none, left_out.len()), (Value::Null, 2));
    }

    #[rstest]
    #[case(json!({"podSelector": {}, "policyTypes": ["Ingress"]}), true, false)]
    #[case(json!({"podSelector": {}, "egress": [{}]}), true, true)]
    #[case(json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Egress"]}), false, true)]
    #[case(json!({"podSelector": {"matchLabels": {"role": "server"}}, "policyTypes": ["Egress"]}), false, true)]
    #[case(json!({"podSelector": {"matchLabels": {"k3k.io/component": "server"}}, "policyTypes": ["Egress"]}), false, false)]
    #[case(json!({"podSelector": {"matchLabels": {"k3k.io/clusterName": "other"}}, "policyTypes": ["Egress"]}), false, false)]
    #[case(json!({"podSelector": {"matchLabels": {"k3k.io/clusterName": "dev"}}, "policyTypes": ["Egress"]}), false, true)]
    fn the_hosts_policies_isolate(#[case] spec: Value, #[case] ingress: bool, #[case] egress: bool) {
        let policy = json!({"spec": spec});
        assert_eq!(Isolation::by(&owner(), [&policy]), Isolation { ingress, egress });
        assert_eq!(Isolation::by(&owner(), []), Isolation::default());
    }

    #[rstest]
    #[case("spec.priority", json!({"podSelector": {}, "priority": 1}))]
    #[case("spec.ingress[0].deny", json!({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{"deny": true}]}))]
    #[case("spec.egress[0].to[0].fqdn", json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{"to": [{"fqdn": "a"}]}]}))]
    #[case("spec.podSelector[k3k.io/component]", json!({"podSelector": {"matchLabels": {"k3k.io/component": "server"}}}))]
    fn what_cannot_be_judged_is_refused(#[case] path: &str, #[case] spec: Value) {
        let refusal = translate(&owner(), &namespaces(), Isolation::default(), &policy(&spec)).unwrap_err();
        assert_eq!(refusal.path, path);
    }
}
