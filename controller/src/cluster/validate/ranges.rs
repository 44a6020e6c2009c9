//! Ranges of addresses inside a cluster.

use super::invalid;
use crate::cluster::build::mode::Nodes;
use crate::cluster::error::Error;
use crate::policy::cidr::Cidr;
use k3k_api::v1beta1::ClusterSpec;

/// Pods of shared clusters have the host's addresses; k3s wants to know a range all the same.
const PODS_IN_HOST: &str = "10.42.0.0/16";
/// Pods elsewhere, unless the spec says.
const PODS: &str = "10.52.0.0/16";
/// Services elsewhere, unless the spec says. In shared clusters they have the host's range.
const SERVICES: &str = "10.53.0.0/16";
/// Which address of the Services' range is DNS, as in k3s.
const DNS: u8 = 10;

/// The ranges of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Of pods.
    pub(super) pods: String,
    /// Of Services.
    pub(super) services: String,
    /// Address of DNS, unless that is a Service of the host.
    pub(super) dns: Option<String>,
}

/// The ranges of a cluster, or the field with one that would hide another.
pub(super) fn of(spec: &ClusterSpec, host: &str) -> Result<Ranges, Error> {
    if Nodes::of(spec.mode()).are_shown() {
        let pods = spec.cluster_cidr.clone().unwrap_or_else(|| PODS_IN_HOST.to_owned());
        let services = spec.service_cidr.clone().unwrap_or_else(|| host.to_owned());
        return Ok(Ranges { pods, services, dns: None });
    }
    let pods = spec.cluster_cidr.clone().unwrap_or_else(|| PODS.to_owned());
    let services = spec.service_cidr.clone().unwrap_or_else(|| SERVICES.to_owned());
    let read = |field: &str, ranges: &str| -> Result<Vec<Cidr>, Error> {
        let each = ranges.split(',').map(|range| range.trim().parse::<Cidr>());
        each.collect::<Result<_, _>>()
            .map_err(|_| invalid(field, format!("{ranges:?} is not a range of addresses, such as {PODS}")))
    };
    let (of_pods, of_services) = (read("spec.clusterCIDR", &pods)?, read("spec.serviceCIDR", &services)?);
    // A range of the host that cannot be read hides nothing.
    let of_host: Vec<Cidr> = host.split(',').filter_map(|range| range.trim().parse().ok()).collect();
    let why = "the cluster's own pods must reach the nested API there; choose another range";
    for (field, ranges) in [("spec.clusterCIDR", &of_pods), ("spec.serviceCIDR", &of_services)] {
        if overlap(ranges, &of_host) {
            return Err(invalid(field, format!("it overlaps {host}, the host's range of Services: {why}")));
        }
    }
    if overlap(&of_pods, &of_services) {
        return Err(invalid("spec.serviceCIDR", format!("it overlaps {pods}, the cluster's range of pods")));
    }
    let dns = of_services.first().and_then(|range| range.nth(DNS));
    let dns = dns.ok_or_else(|| invalid("spec.serviceCIDR", format!("{services:?} has no room for DNS")))?;
    Ok(Ranges { pods, services, dns: Some(dns.to_string()) })
}

fn overlap(some: &[Cidr], others: &[Cidr]) -> bool {
    some.iter().any(|one| others.iter().any(|other| one.contains(*other) || other.contains(*one)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::{Value, json};

    fn ranges(spec: Value) -> Result<Ranges, Error> {
        of(&serde_json::from_value(spec).unwrap(), "10.96.0.0/16")
    }

    #[rstest]
    #[case(json!({}), "10.42.0.0/16", "10.96.0.0/16", None)]
    #[case(json!({ "mode": "virtual" }), "10.52.0.0/16", "10.53.0.0/16", Some("10.53.0.10"))]
    #[case(json!({ "mode": "virtual", "serviceCIDR": "10.7.0.0/24", "clusterCIDR": "10.8.0.0/16" }), "10.8.0.0/16", "10.7.0.0/24", Some("10.7.0.10"))]
    #[case(json!({ "mode": "virtual", "serviceCIDR": "10.7.0.0/24,fd00::/112" }), "10.52.0.0/16", "10.7.0.0/24,fd00::/112", Some("10.7.0.10"))]
    fn defaults(#[case] spec: Value, #[case] pods: &str, #[case] services: &str, #[case] dns: Option<&str>) {
        let ranges = ranges(spec).unwrap();
        assert_eq!(
            (ranges.pods.as_str(), ranges.services.as_str(), ranges.dns.as_deref()),
            (pods, services, dns)
        );
    }

    #[rstest]
    #[case(json!({ "mode": "virtual", "serviceCIDR": "10.96.128.0/24" }), "spec.serviceCIDR: it overlaps 10.96.0.0/16")]
    #[case(json!({ "mode": "virtual", "clusterCIDR": "10.0.0.0/8" }), "spec.clusterCIDR: it overlaps 10.96.0.0/16")]
    #[case(json!({ "mode": "virtual", "clusterCIDR": "10.53.0.0/17" }), "spec.serviceCIDR: it overlaps 10.53.0.0/17")]
    #[case(json!({ "mode": "virtual", "clusterCIDR": "pods" }), "spec.clusterCIDR: \"pods\" is not a range")]
    #[case(json!({ "mode": "virtual", "serviceCIDR": "10.7.0.0/30" }), "spec.serviceCIDR: \"10.7.0.0/30\" has no room")]
    fn refused(#[case] spec: Value, #[case] message: &str) {
        let error = ranges(spec).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
}
