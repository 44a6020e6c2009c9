//! Services of a cluster.

use super::exposure::Wanted;
use super::{Kind, Manifest, Site, set};
use crate::cluster::plan::Servers;
use k3k_api::labels::{self, component};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Name of the API's port.
pub const API_PORT_NAME: &str = "k3s-server-port";
/// Name of the port at a load balancer, if it is another.
const OUTSIDE_PORT_NAME: &str = "k3s-outside-port";
/// Port of the nested API at its Service.
pub const API_PORT: i32 = 443;
/// Port that k3s listens on.
pub const SERVER_PORT: i32 = 6443;
/// Port of the virtual kubelet.
pub const KUBELET_PORT: i32 = 10250;
/// The Service in front of the nested API. It routes to servers that are not ready too: the controller asks
/// `/readyz` through it, and a request that comes early is refused by the server, not by the network.
/// Inside the host it is always at [`API_PORT`], whatever port it has outside.
///
/// Of several servers only those that are ready are routed to, as the others do not speak for the cluster: one that learns, or one without
/// a majority. It is also where servers join.
pub fn api(
    site: &Site,
    wanted: &Wanted,
    annotations: &BTreeMap<String, String>,
    servers: &Servers,
) -> Manifest {
    let mut ports = vec![api_port()];
    let service_type = match wanted {
        Wanted::Inside | Wanted::Ingress(_) => "ClusterIP",
        Wanted::NodePort(port) => {
            set(&mut ports[0], "nodePort", *port);
            "NodePort"
        }
        Wanted::LoadBalancer(port) => {
            if i32::from(*port) != API_PORT {
                ports.push(json!({ "name": OUTSIDE_PORT_NAME, "protocol": "TCP", "port": port, "targetPort": SERVER_PORT }));
            }
            "LoadBalancer"
        }
    };
    let body = json!({ "spec": {
        "type": service_type, "publishNotReadyAddresses": !servers.etcd, "selector": server_selector(site), "ports": ports,
    }});
    Manifest::new(site, Kind::Service, site.names().service(), component::SERVER, body).annotated(annotations)
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
