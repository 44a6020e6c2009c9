//! The cluster's authorities. They are made before the first start of k3s and placed where k3s looks for custom
//! CAs, so that every certificate in the cluster is known beforehand.

use super::{Manifest, Site};
use k3k_api::labels::component;
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
}

impl Authorities {
    /// The authorities in a certificates Secret.
    pub fn read(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let get = |key: &str| data.get(key).ok_or_else(|| format!("it has no key {key:?}"));
        let read = |name: &str| {
            let (certificate, key) = (get(&format!("{name}.crt"))?, get(&format!("{name}.key"))?);
            Authority::from_pem(certificate, key).map_err(|error| format!("{name}: {error}"))
        };
        let authorities = Self { server: read("server-ca")?, client: read("client-ca")? };
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

    #[test]
    fn generated_authorities_are_readable_and_complete() {
        let mut data = generate("dev").unwrap();
        assert_eq!(data.len(), 11);
        Authorities::read(&data).unwrap();
        data.remove("etcd-peer-ca.key");
        assert_eq!(Authorities::read(&data).unwrap_err(), "it has no key \"etcd-peer-ca.key\"");
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
