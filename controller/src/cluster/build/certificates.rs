//! The cluster's authorities. They are made before the first start of k3s and placed where k3s looks for custom
//! CAs, so that every certificate in the cluster is known beforehand.

use super::{Manifest, Site};
use k3k_api::labels::component;
use k3k_api::v1beta1::CredentialSources;
use k3k_runtime::certificates::{Authority, Error, Pair, generate_key};
use std::collections::BTreeMap;

/// File names of the authorities, without suffix, as keys of the Secret; and the folder under k3s' `tls` where
/// each belongs. k3s wants etcd's even when it stores in `SQLite`.
pub const AUTHORITIES: [(&str, &str); 5] = [
    ("server-ca", ""),
    ("client-ca", ""),
    ("request-header-ca", ""),
    ("etcd-server-ca", "etcd/server-ca"),
    ("etcd-peer-ca", "etcd/peer-ca"),
];
/// The key that signs service account tokens.
pub const SERVICE_KEY: &str = "service.key";

/// What the controller needs of a cluster's authorities.
#[derive(Debug)]
pub struct Authorities {
    /// Signs what the nested API server and the virtual kubelet present.
    pub server: Authority,
    /// Signs clients of the nested API.
    pub client: Authority,
    /// Signs both sides of connections to etcd, where servers keep one.
    pub etcd: Authority,
}

impl Authorities {
    /// The authorities in a certificates Secret.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let get = |key: &str| data.get(key).ok_or_else(|| format!("it has no key {key:?}"));
        let read = |name: &str| {
            let (certificate, key) = (get(&format!("{name}.crt"))?, get(&format!("{name}.key"))?);
            Authority::from_pem(certificate, key).map_err(|error| format!("{name}: {error}"))
        };
        let authorities =
            Self { server: read("server-ca")?, client: read("client-ca")?, etcd: read("etcd-server-ca")? };
        for path in mounts() {
            get(&path.0)?;
        }
        Ok(authorities)
    }
}

/// New authorities, as the data of a certificates Secret.
pub fn generate(cluster: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut data = BTreeMap::new();
    for (name, _) in AUTHORITIES {
        let Pair { certificate, key } = Authority::generate(&format!("k3k-{cluster}-{name}"))?.pair();
        data.insert(format!("{name}.crt"), certificate);
        data.insert(format!("{name}.key"), key);
    }
    data.insert(SERVICE_KEY.to_owned(), generate_key()?);
    Ok(data)
}

/// Which of them a user brings: the name as in [`AUTHORITIES`], or [`SERVICE_KEY`], and the name of the Secret.
pub fn sources(sources: &CredentialSources) -> impl Iterator<Item = (&'static str, &str)> {
    let all = [
        ("server-ca", &sources.server_ca),
        ("client-ca", &sources.client_ca),
        ("request-header-ca", &sources.request_header_ca),
        ("etcd-server-ca", &sources.etcd_server_ca),
        ("etcd-peer-ca", &sources.etcd_peer_ca),
        (SERVICE_KEY, &sources.service_account_token),
    ];
    all.into_iter().filter_map(|(name, source)| Some((name, source.as_ref()?.secret_name.as_str())))
}

/// A user's authorities, as a part of the data of a certificates Secret. `read` gives the data of a Secret by its name. The error
/// names the part of `sources` that is wrong, and how.
pub fn adopt(
    given: &CredentialSources,
    read: impl Fn(&str) -> Option<BTreeMap<String, String>>,
) -> Result<BTreeMap<String, String>, (&'static str, String)> {
    let mut data = BTreeMap::new();
    for (name, secret) in sources(given) {
        let field = match name {
            "server-ca" => "serverCA",
            "client-ca" => "clientCA",
            "request-header-ca" => "requestHeaderCA",
            "etcd-server-ca" => "etcdServerCA",
            "etcd-peer-ca" => "etcdPeerCA",
            _ => "serviceAccountToken",
        };
        if secret.is_empty() {
            return Err((field, "secretName is empty".to_owned()));
        }
        let mut secret_data = read(secret)
            .ok_or_else(|| (field, format!("there is no Secret {secret:?} in the cluster's namespace")))?;
        let mut take = |key: &str| {
            secret_data.remove(key).ok_or_else(|| (field, format!("Secret {secret:?} has no key {key:?}")))
        };
        let key = take("tls.key")?;
        if name == SERVICE_KEY {
            data.insert(SERVICE_KEY.to_owned(), key);
            continue;
        }
        let certificate = take("tls.crt")?;
        Authority::from_pem(&certificate, &key)
            .map_err(|error| (field, format!("Secret {secret:?}: {error}")))?;
        data.insert(format!("{name}.crt"), certificate);
        data.insert(format!("{name}.key"), key);
    }
    Ok(data)
}

/// The Secret that holds them.
pub fn secret(site: &Site, data: &BTreeMap<String, String>) -> Manifest {
    Manifest::secret(site, site.names().certificates(), component::SERVER, data)
}

/// Each key of the Secret with its path below `/var/lib/rancher/k3s/server/tls`.
pub fn mounts() -> Vec<(String, String)> {
    let mut mounts = Vec::new();
    for (name, path) in AUTHORITIES {
        let path = if path.is_empty() { name } else { path };
        for suffix in ["crt", "key"] {
            mounts.push((format!("{name}.{suffix}"), format!("{path}.{suffix}")));
        }
    }
    mounts.push((SERVICE_KEY.to_owned(), SERVICE_KEY.to_owned()));
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;
    use k3k_api::v1beta1::CredentialSource;

    #[test]
    fn generated_authorities_are_readable_and_complete() {
        let mut data = generate("dev").unwrap();
        assert_eq!(data.len(), 11);
        Authorities::read(&data).unwrap();
        data.remove("etcd-peer-ca.key");
        assert_eq!(Authorities::read(&data).unwrap_err(), "it has no key \"etcd-peer-ca.key\"");
    }

    fn given() -> CredentialSources {
        let source = |name: &str| CredentialSource { secret_name: name.to_owned() };
        CredentialSources {
            server_ca: Some(source("one")),
            client_ca: Some(source("one")),
            request_header_ca: Some(source("one")),
            etcd_server_ca: Some(source("one")),
            etcd_peer_ca: Some(source("one")),
            service_account_token: Some(source("one")),
        }
    }

    #[test]
    fn a_users_authorities_are_taken_over() {
        let pair = Authority::generate("mine").unwrap().pair();
        let secret = BTreeMap::from([
            ("tls.crt".to_owned(), pair.certificate.clone()),
            ("tls.key".to_owned(), pair.key),
        ]);
        let data = adopt(&given(), |name| (name == "one").then(|| secret.clone())).unwrap();
        assert_eq!(data.len(), 11);
        let one = CredentialSources { client_ca: given().client_ca, ..CredentialSources::default() };
        let part = adopt(&one, |_| Some(secret.clone())).unwrap();
        assert_eq!(part.keys().collect::<Vec<_>>(), ["client-ca.crt", "client-ca.key"]);
        assert_eq!(Authorities::read(&data).unwrap().server.certificate_pem(), pair.certificate);
    }

    #[test]
    fn what_cannot_be_taken_over_is_named() {
        let pair = Authority::generate("mine").unwrap().pair();
        let other = Authority::generate("other").unwrap().pair();
        let read = |name: &str| match name {
            "one" => Some([("tls.crt", pair.certificate.clone()), ("tls.key", pair.key.clone())]),
            "mixed" => Some([("tls.crt", pair.certificate.clone()), ("tls.key", other.key.clone())]),
            _ => None,
        };
        let read =
            |name: &str| read(name).map(|data| data.map(|(key, value)| (key.to_owned(), value)).into());
        let with = |name: &str| CredentialSources {
            client_ca: Some(CredentialSource { secret_name: name.to_owned() }),
            ..given()
        };
        for (name, message) in [
            ("", "secretName is empty"),
            ("none", "there is no Secret \"none\""),
            ("mixed", "Secret \"mixed\": "),
        ] {
            let (field, error) = adopt(&with(name), read).unwrap_err();
            assert_eq!(field, "clientCA");
            assert!(error.starts_with(message), "{error}");
            assert!(!error.contains("PRIVATE"), "{error}");
        }
    }

    #[test]
    fn files_lie_where_k3s_looks() {
        let paths: Vec<String> = mounts().into_iter().map(|(_, path)| path).collect();
        assert_eq!(
            paths,
            [
                "server-ca.crt",
                "server-ca.key",
                "client-ca.crt",
                "client-ca.key",
                "request-header-ca.crt",
                "request-header-ca.key",
                "etcd/server-ca.crt",
                "etcd/server-ca.key",
                "etcd/peer-ca.crt",
                "etcd/peer-ca.key",
                "service.key"
            ]
        );
    }
}
