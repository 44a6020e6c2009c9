//! How a container may reach the node's network, or have the node reach others: not at all.

use super::Finding;
use super::view::{Fault, Pod, quoted};
use crate::pod::Placed;
use crate::pod::view::Reached;

/// No ports of the node: Pod Security Standards, Baseline, "Host Ports" (v1.0).
pub const HOST_PORTS: &str = "podSecurity.hostPorts";
/// No probe or lifecycle hook that the node's kubelet sends to another host: Pod Security Standards, Baseline, "Host
/// Probes / Lifecycle Hooks" (v1.34).
pub const HOST_PROBES: &str = "podSecurity.hostProbes";

pub(super) fn container(pod: &Pod<'_>, container: &Placed<'_>, found: &mut Vec<Finding>) {
    probes(container, found);
    ports(pod, container, found);
}

fn ports(pod: &Pod<'_>, container: &Placed<'_>, found: &mut Vec<Finding>) {
    for (index, port) in container.ports.iter().enumerate() {
        let Some(number) = port.host_port.filter(|number| *number != 0) else { continue };
        // A pod in the node's network has each of its ports there: the API server writes them down, and the network is
        // reason enough.
        if pod.spec().host_network == Some(true) && number == port.container_port {
            continue;
        }
        let fault = Fault::baseline(HOST_PORTS, "no port of the node");
        found.push(fault.in_container(container, &format!("ports[{index}].hostPort"), number.to_string()));
    }
}

fn probes(container: &Placed<'_>, found: &mut Vec<Finding>) {
    let probes =
        container.probes().map(|(field, probe)| (field, probe.http_get.as_ref(), probe.tcp_socket.as_ref()));
    let hooks = container.lifecycle.iter().flat_map(|lifecycle| {
        [("lifecycle.postStart", &lifecycle.post_start), ("lifecycle.preStop", &lifecycle.pre_stop)]
    });
    let hooks = hooks.filter_map(|(field, hook)| {
        hook.as_ref().map(|hook| (field, hook.http_get.as_ref(), hook.tcp_socket.as_ref()))
    });
    for (place, http, tcp) in probes.chain(hooks) {
        for (action, host) in hosts(http, tcp) {
            let fault = Fault::baseline(HOST_PROBES, "no host here, which means the pod itself");
            found.push(fault.in_container(container, &format!("{place}.{action}.host"), quoted(host)));
        }
    }
}

/// The hosts that are named, with the action that names them.
fn hosts<'a>(
    http: Option<&'a Reached<'_>>,
    tcp: Option<&'a Reached<'_>>,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let http = http.and_then(|action| action.host.as_deref()).map(|host| ("httpGet", host));
    let tcp = tcp.and_then(|action| action.host.as_deref()).map(|host| ("tcpSocket", host));
    http.into_iter().chain(tcp).filter(|(_, host)| !host.is_empty())
}
