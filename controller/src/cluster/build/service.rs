//! Services of a cluster.

use super::{Kind, Manifest, Site};
use crate::cluster::plan::Servers;
use k3k_api::labels::{self, component};
use k3k_api::v1beta1::Expose;
use serde_json::{Value, json};

/// Name of the API's port.
pub const API_PORT_NAME: &str = "k3s-server-port";
/// Port of the nested API at its Service.
pub const API_PORT: i32 = 443;
/// Port that k3s listens on.
pub const SERVER_PORT: i32 = 6443;
/// Port of the virtual kubelet.
pub const KUBELET_PORT: i32 = 10250;
/// Node ports that hosts hand out.
const NODE_PORTS: std::ops::RangeInclusive<i32> = 30_000..=32_767;

/// The Service in front of the nested API. It routes to servers that are not ready too: the controller asks
/// `/readyz` through it, and a request that comes early is refused by the server, not by the network.
///
/// Of several servers only those that are ready are routed to, as the others do not speak for the cluster: one that learns, or one without
/// a majority. It is also where servers join.
pub fn api(site: &Site, expose: Option<&Expose>, servers: &Servers) -> Manifest {
    let (node_port, load_balancer) =
        expose.map_or((None, None), |expose| (expose.node_port.as_ref(), expose.load_balancer.as_ref()));
    let mut port = api_port();
    let service_type = if let Some(exposure) = node_port {
        if let Some(wanted) = exposure.server_port.filter(|port| NODE_PORTS.contains(port)) {
            port["nodePort"] = json!(wanted);
        }
        "NodePort"
    } else if let Some(exposure) = load_balancer {
        if let Some(wanted) = exposure.server_port.filter(|port| *port > 0) {
            port["port"] = json!(wanted);
        }
        "LoadBalancer"
    } else {
        "ClusterIP"
    };
    let body = json!({ "spec": {
        "type": service_type, "publishNotReadyAddresses": !servers.etcd, "selector": server_selector(site), "ports": [port],
    }});
    let annotations = expose.map(|expose| expose.annotations.clone()).unwrap_or_default();
    Manifest::new(site, Kind::Service, site.names().service(), component::SERVER, body)
        .annotated(&annotations)
}

/// The headless Service that gives the server pods their names.
pub fn headless(site: &Site) -> Manifest {
    let body = json!({ "spec": {
        "type": "ClusterIP", "clusterIP": "None", "publishNotReadyAddresses": true,
        "selector": server_selector(site), "ports": [api_port()],
    }});
    Manifest::new(site, Kind::Service, site.names().headless_service(), component::SERVER, body)
}

/// What follows the name of a server pod in its DNS name.
pub fn headless_domain(site: &Site) -> String {
    format!("{}.{}.svc", site.names().headless_service(), site.namespace)
}

/// The Service whose address is the virtual node's.
pub fn kubelet(site: &Site) -> Manifest {
    let body = json!({ "spec": {
        "type": "ClusterIP",
        "selector": { labels::CLUSTER: site.name, labels::COMPONENT: component::KUBELET },
        "ports": [{ "name": "kubelet", "protocol": "TCP", "port": KUBELET_PORT, "targetPort": KUBELET_PORT }],
    }});
    Manifest::new(site, Kind::Service, site.names().kubelet(), component::KUBELET, body)
}

/// The Service in front of the nested cluster's DNS pods. Only pods of the nested `kube-system` count: a tenant
/// who labels a pod elsewhere `k8s-app=kube-dns` does not get the cluster's DNS requests.
pub fn dns(site: &Site) -> Manifest {
    let port = |name: &str, protocol: &str, number: i32| json!({ "name": name, "protocol": protocol, "port": number, "targetPort": number });
    let body = json!({ "spec": {
        "type": "ClusterIP",
        "selector": {
            labels::CLUSTER_NAME: site.name, "k8s-app": "kube-dns",
            labels::VIRTUAL_NAMESPACE_LABEL: "kube-system",
        },
        "ports": [port("dns", "UDP", 53), port("dns-tcp", "TCP", 53), port("metrics", "TCP", 9153)],
    }});
    Manifest::new(site, Kind::Service, site.names().dns_service(), component::SERVER, body)
}

fn api_port() -> Value {
    json!({ "name": API_PORT_NAME, "protocol": "TCP", "port": API_PORT, "targetPort": SERVER_PORT })
}

/// Selects server pods. `cluster` and `role` alone would also match a tenant's pod that carries them.
pub fn server_selector(site: &Site) -> Value {
    json!({
        labels::CLUSTER: site.name, labels::ROLE: labels::ROLE_SERVER, labels::COMPONENT: component::SERVER,
    })
}
