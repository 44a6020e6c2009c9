//! Name resolution inside a tenant's pod: the nested cluster's DNS, and the nested API under its usual names.

use super::Context;
use serde_json::{Map, Value, json};

pub(super) struct Dns {
    pub(super) policy: &'static str,
    pub(super) config: Option<Value>,
}

/// What `dnsPolicy` and `dnsConfig` mean in the nested cluster, spelled out for the host, whose own `ClusterFirst`
/// would ask the host's DNS.
pub(super) fn resolve(context: &Context, namespace: &str, spec: &Map<String, Value>) -> Dns {
    let tenant = spec.get("dnsConfig").filter(|config| !config.is_null());
    let host_network = spec.get("hostNetwork") == Some(&Value::Bool(true));
    match spec.get("dnsPolicy").and_then(Value::as_str).unwrap_or("ClusterFirst") {
        "None" => Dns { policy: "None", config: tenant.cloned() },
        "ClusterFirst" if host_network => Dns { policy: "Default", config: tenant.cloned() },
        "ClusterFirst" | "ClusterFirstWithHostNet" => {
            Dns { policy: "None", config: Some(cluster_first(context, namespace, tenant)) }
        }
        _ => Dns { policy: "Default", config: tenant.cloned() },
    }
}

/// As the kubelet does it: the tenant's servers and search domains after the cluster's, the tenant's options in the
/// place of the cluster's of the same name.
fn cluster_first(context: &Context, namespace: &str, tenant: Option<&Value>) -> Value {
    let list = |key: &str| tenant.and_then(|tenant| tenant[key].as_array()).cloned().unwrap_or_default();
    let domain = &context.cluster_domain;
    let mut nameservers = vec![Value::from(context.dns_ip.clone())];
    nameservers.extend(list("nameservers"));
    let mut searches: Vec<Value> =
        [format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()]
            .map(Value::from)
            .into();
    searches.extend(list("searches"));
    let mut options = list("options");
    if !options.iter().any(|option| option["name"] == "ndots") {
        options.insert(0, json!({"name": "ndots", "value": "5"}));
    }
    searches.dedup();
    json!({"nameservers": nameservers, "searches": searches, "options": options})
}

/// The tenant's aliases, and the nested API under the names of its Service. The Service's own address is the first of
/// the range that nested and host clusters share, so in the host it leads to the host's API.
pub(super) fn host_aliases(context: &Context, spec: &Map<String, Value>) -> Value {
    let mut aliases = spec.get("hostAliases").and_then(Value::as_array).cloned().unwrap_or_default();
    let domain = &context.cluster_domain;
    aliases.push(json!({
        "ip": context.server_ip,
        "hostnames": ["kubernetes", "kubernetes.default", "kubernetes.default.svc", format!("kubernetes.default.svc.{domain}")],
    }));
    aliases.into()
}
