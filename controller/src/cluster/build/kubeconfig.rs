//! The admin kubeconfig of a nested cluster.

use super::{Manifest, Site, base64, secret_data, set, yaml};
use jiff::Timestamp;
use k3k_api::labels::component;
use k3k_runtime::certificates::{self, Authority, Leaf, Pair, Usage};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Key of the file in its Secret.
pub const KEY: &str = "kubeconfig.yaml";
/// How long the administrator's certificate is valid.
const LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the kubeconfig says besides the credentials.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// URL of the API.
    pub endpoint: &'a str,
    /// The name that the API server's certificate has instead of the one in the URL.
    pub tls_server_name: Option<&'a str>,
    /// PEM of the authority that signs the API server's certificate.
    pub server_ca: &'a str,
}

/// What keeps a kubeconfig from being made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The certificate cannot be issued.
    #[error(transparent)]
    Issue(#[from] certificates::Error),
    /// The YAML cannot be written.
    #[error("writing YAML: {0}")]
    Write(#[from] serde_saphyr::ser::Error),
}

/// The Secret with the kubeconfig. A present one that is right and not about to expire is kept to the letter: who
/// copied it holds the same.
pub fn secret(
    site: &Site,
    inputs: &Inputs<'_>,
    client_ca: &Authority,
    present: Option<&DynamicObject>,
    now: Timestamp,
) -> Result<Manifest, Error> {
    let kept = present.and_then(|secret| secret_data(secret).remove(KEY));
    let kept = kept.filter(|text| is_right(text, site, inputs, client_ca, now));
    let text = match kept {
        Some(text) => text,
        None => yaml(&contents(site, inputs, &admin(client_ca)?))?,
    };
    let data = BTreeMap::from([(KEY.to_owned(), text)]);
    Ok(Manifest::secret(site, site.names().kubeconfig(), component::SERVER, &data))
}

/// The administrator of the nested cluster.
fn admin(client_ca: &Authority) -> Result<Pair, certificates::Error> {
    client_ca.issue(&Leaf {
        common_name: "system:admin".to_owned(),
        organizations: vec!["system:masters".to_owned()],
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
        usages: vec![Usage::Client],
        lifetime: LIFETIME,
    })
}

fn contents(site: &Site, inputs: &Inputs<'_>, admin: &Pair) -> Value {
    let name = site.names().context();
    let mut cluster =
        json!({ "server": inputs.endpoint, "certificate-authority-data": base64(inputs.server_ca) });
    set(&mut cluster, "tls-server-name", inputs.tls_server_name);
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": name, "cluster": cluster }],
        "users": [{ "name": name, "user": {
            "client-certificate-data": base64(&admin.certificate), "client-key-data": base64(&admin.key),
        }}],
        "contexts": [{ "name": name, "context": { "cluster": name, "user": name } }],
        "current-context": name,
    })
}

/// Whether a kubeconfig leads to the API, is issued by today's authority and is not about to expire.
fn is_right(text: &str, site: &Site, inputs: &Inputs<'_>, client_ca: &Authority, now: Timestamp) -> bool {
    let Ok(config) = serde_saphyr::from_str::<Value>(text) else { return false };
    let user = &config["users"][0]["user"];
    let Some(certificate) = decode(&user["client-certificate-data"]) else { return false };
    let expected = contents(site, inputs, &Pair { certificate: String::new(), key: String::new() });
    let same = ["clusters", "contexts", "current-context"].iter().all(|key| config[*key] == expected[*key]);
    same && user["client-key-data"].is_string()
        && issued_by(&certificate, client_ca)
        && certificates::inspect(&certificate).is_ok_and(|facts| !certificates::needs_renewal(&facts, now))
}

/// Whether a chain that the controller wrote ends in `authority`.
pub(super) fn issued_by(chain: &str, authority: &Authority) -> bool {
    chain.trim_end().ends_with(authority.certificate_pem().trim_end())
}

/// Text that a kubeconfig holds in base64.
fn decode(value: &Value) -> Option<String> {
    let k8s_openapi::ByteString(bytes) = serde_json::from_value(value.clone()).ok()?;
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: Inputs<'_> =
        Inputs { endpoint: "https://10.43.0.5", tls_server_name: None, server_ca: "CA" };

    fn site() -> Site {
        Site { name: "dev".into(), namespace: "k3k-dev".into(), uid: "u".into() }
    }

    fn stored(manifest: &Manifest) -> DynamicObject {
        serde_json::from_value(manifest.object.clone()).unwrap()
    }

    #[test]
    fn it_is_kept_until_something_changes() {
        let authority = Authority::generate("client-ca").unwrap();
        let now = Timestamp::now();
        let first = secret(&site(), &INPUTS, &authority, None, now).unwrap();
        let again = secret(&site(), &INPUTS, &authority, Some(&stored(&first)), now).unwrap();
        assert_eq!(first, again);

        let moved = Inputs { endpoint: "https://10.43.0.6", ..INPUTS };
        assert_ne!(secret(&site(), &moved, &authority, Some(&stored(&first)), now).unwrap(), first);
        let elsewhere = Inputs { tls_server_name: Some("k3k-dev-service"), ..INPUTS };
        assert_ne!(secret(&site(), &elsewhere, &authority, Some(&stored(&first)), now).unwrap(), first);
        let other_ca = Inputs { server_ca: "CB", ..INPUTS };
        assert_ne!(secret(&site(), &other_ca, &authority, Some(&stored(&first)), now).unwrap(), first);
        let other = Authority::generate("client-ca").unwrap();
        assert_ne!(secret(&site(), &INPUTS, &other, Some(&stored(&first)), now).unwrap(), first);
        let later = now + jiff::SignedDuration::from_hours(24 * 300);
        assert_ne!(secret(&site(), &INPUTS, &authority, Some(&stored(&first)), later).unwrap(), first);
    }

    #[test]
    fn a_client_can_read_it() {
        let authority = Authority::generate("client-ca").unwrap();
        let manifest = secret(&site(), &INPUTS, &authority, None, Timestamp::now()).unwrap();
        let text = secret_data(&stored(&manifest)).remove(KEY).unwrap();
        let config = kube::config::Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("k3k-dev"));
        assert_eq!(config.clusters[0].name, "k3k-dev");
        assert_eq!(config.auth_infos[0].name, "k3k-dev");
        let admin = decode(
            &serde_saphyr::from_str::<Value>(&text).unwrap()["users"][0]["user"]["client-certificate-data"],
        );
        let facts = certificates::inspect(&admin.unwrap()).unwrap();
        assert_eq!(
            (facts.common_name.as_str(), facts.organizations),
            ("system:admin", vec!["system:masters".into()])
        );
    }
}
