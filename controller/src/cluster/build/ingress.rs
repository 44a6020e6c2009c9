//! The Ingress in front of the nested API.

use super::{Kind, Manifest, Site, service, set};
use k3k_api::labels::component;
use k3k_api::v1beta1::IngressExposure;
use serde_json::{Value, json};

/// An Ingress for `names`. It has no certificate: the Ingress controller must pass TLS on to the API server, which
/// knows its clients by their certificates.
pub fn api(site: &Site, exposure: &IngressExposure, names: &[String]) -> Manifest {
    let backend =
        json!({ "service": { "name": site.names().service(), "port": { "number": service::API_PORT } } });
    let rules: Vec<Value> = names
        .iter()
        .map(|name| {
            json!({ "host": name, "http": { "paths": [{ "path": "/", "pathType": "Prefix", "backend": backend }] } })
        })
        .collect();
    let mut spec = json!({ "rules": rules });
    set(&mut spec, "ingressClassName", exposure.ingress_class_name.as_ref());
    let body = json!({ "spec": spec });
    Manifest::new(site, Kind::Ingress, site.names().ingress(), component::SERVER, body)
        .annotated(&exposure.annotations)
}
