//! How a container may reach the node's network, or have the node reach others: not at all.

use super::Finding;
use super::view::{Container, Fault, Pod, quoted};
use k8s_openapi::api::core::v1::{HTTPGetAction, TCPSocketAction};

/// No ports of the node: Pod Security Standards, Baseline, "Host Ports" (v1.0).
pub const HOST_PORTS: &str = "podSecurity.hostPorts";
/// No probe or lifecycle hook that the node's kubelet sends to another host: Pod Security Standards, Baseline, "Host
/// Probes / Lifecycle Hooks" (v1.34).
pub const HOST_PROBES: &str = "podSecurity.hostProbes";

pub(super) fn container(pod: &Pod<'_>, container: &Container<'_>, found: &mut Vec<Finding>) {
    probes(container, found);
    ports(pod, container, found);
}

fn ports(pod: &Pod<'_>, container: &Container<'_>, found: &mut Vec<Finding>) {
    for (index, port) in container.ports.iter().enumerate() {
        let Some(number) = port.host_port.filter(|number| *number != 0) else { continue };
        // A pod in the node's network has each of its ports there: the API server writes them down, and the network is
        // reason enough.
        if pod.spec.host_network == Some(true) && number == port.container_port {
            continue;
        }
        let fault = Fault::baseline(HOST_PORTS, "no port of the node");
        found.push(container.fault(fault, &format!("ports[{index}].hostPort"), number.to_string()));
    }
}

fn probes(container: &Container<'_>, found: &mut Vec<Finding>) {
    let probes = container.probes.iter().filter_map(|(name, probe)| {
        probe.map(|probe| ((*name).to_owned(), probe.http_get.as_ref(), probe.tcp_socket.as_ref()))
    });
    let hooks = container.lifecycle.map(|lifecycle| {
        [("postStart", lifecycle.post_start.as_ref()), ("preStop", lifecycle.pre_stop.as_ref())]
    });
    let hooks = hooks.into_iter().flatten().filter_map(|(name, hook)| {
        hook.map(|hook| (format!("lifecycle.{name}"), hook.http_get.as_ref(), hook.tcp_socket.as_ref()))
    });
    for (place, http, tcp) in probes.chain(hooks) {
        for (action, host) in hosts(http, tcp) {
            let fault = Fault::baseline(HOST_PROBES, "no host here, which means the pod itself");
            found.push(container.fault(fault, &format!("{place}.{action}.host"), quoted(host)));
        }
    }
}

/// The hosts that are named, with the action that names them.
fn hosts<'a>(
    http: Option<&'a HTTPGetAction>,
    tcp: Option<&'a TCPSocketAction>,
) -> impl Iterator<Item = (&'static str, &'a str)> {
    let http = http.and_then(|action| action.host.as_deref()).map(|host| ("httpGet", host));
    let tcp = tcp.and_then(|action| action.host.as_deref()).map(|host| ("tcpSocket", host));
    http.into_iter().chain(tcp).filter(|(_, host)| !host.is_empty())
}
