//! The configuration that the controller writes for one virtual kubelet.

use k3k_api::offered::Offered;
use k3k_api::v1beta1::SyncConfig;
use k3k_translate::{Owner, pod::Context};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}; the Secret k3k-<cluster>-agent-config must be mounted there")]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The file is not what the controller writes.
    #[error("{path} is not a valid configuration: {cause}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The cause.
        cause: String,
    },
}

/// `config.yaml`. The certificates and keys lie beside it, see [`Files`].
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// Name of the Cluster.
    pub cluster_name: String,
    /// Its namespace in the host.
    pub cluster_namespace: String,
    /// Its UID.
    #[serde(rename = "clusterUID")]
    pub cluster_uid: String,
    /// Name of the virtual node.
    pub node_name: String,
    /// Address of the virtual node: the ClusterIP of our Service.
    #[serde(rename = "nodeIP")]
    pub node_ip: IpAddr,
    /// Port of our HTTPS endpoints.
    pub kubelet_port: u16,
    /// Address of the nested API, port 443.
    #[serde(rename = "serverIP")]
    pub server_ip: IpAddr,
    /// Address of the nested DNS.
    #[serde(rename = "dnsIP")]
    pub dns_ip: IpAddr,
    /// DNS domain of the nested cluster.
    pub cluster_domain: String,
    /// Version that the node reports.
    pub version: String,
    /// Capacity of the virtual node, resource name to quantity.
    #[serde(default)]
    pub capacity: BTreeMap<String, String>,
    /// Whether there is a nested node for each node of the host, instead of one for all.
    #[serde(default)]
    pub mirror_host_nodes: bool,
    /// Labels of the host nodes on which tenants' pods run.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Which kinds of objects are copied to the host.
    #[serde(default)]
    pub sync: SyncConfig,
    /// What of the host tenants may name.
    #[serde(default)]
    pub offered: Offered,
    /// Pods that started before were ended by a pause of the cluster, if they are not there.
    #[serde(default)]
    pub stopped_until: Option<Timestamp>,
}

/// The files of the mounted Secret.
#[derive(Clone, Debug)]
pub struct Files {
    /// `config.yaml`
    pub config: PathBuf,
    /// Verifies the nested API.
    pub server_ca: PathBuf,
    /// Our identity in the nested cluster.
    pub client_certificate: PathBuf,
    /// Its key.
    pub client_key: PathBuf,
    /// Verifies who calls our endpoints.
    pub client_ca: PathBuf,
    /// Our serving certificate.
    pub serving_certificate: PathBuf,
    /// Its key.
    pub serving_key: PathBuf,
    /// What the nested API server shows to ask about pods, see [`crate::admission::Key`].
    pub admission_key: PathBuf,
}

impl Files {
    /// The files beside `config`.
    pub fn beside(config: &Path) -> Self {
        let file = |name: &str| config.with_file_name(name);
        Self {
            config: config.to_owned(),
            server_ca: file("server-ca.crt"),
            client_certificate: file("client.crt"),
            client_key: file("client.key"),
            client_ca: file("client-ca.crt"),
            serving_certificate: file("tls.crt"),
            serving_key: file("tls.key"),
            admission_key: file("admission.key"),
        }
    }
}

/// Reads a whole text file, naming it in the error.
pub fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

impl Config {
    /// Reads and parses `path`.
    pub fn load(path: &Path) -> Result<Self, Error> {
        serde_saphyr::from_str(&read(path)?)
            .map_err(|cause| Error::Parse { path: path.to_owned(), cause: cause.to_string() })
    }

    /// What translations need to know.
    pub fn context(&self) -> Context {
        Context {
            owner: Owner {
                cluster: self.cluster_name.clone(),
                namespace: self.cluster_namespace.clone(),
                uid: self.cluster_uid.clone(),
            },
            node_name: self.node_name.clone(),
            node_ip: self.node_ip.to_string(),
            server_ip: self.server_ip.to_string(),
            dns_ip: self.dns_ip.to_string(),
            cluster_domain: self.cluster_domain.clone(),
            mirrors_nodes: self.mirror_host_nodes,
            node_selector: self.node_selector.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_controller_writes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        std::fs::write(
            &path,
            "clusterName: dev\nclusterNamespace: k3k-dev\nclusterUID: u\nnodeName: k3k-dev\nnodeIP: 10.96.3.3\nkubeletPort: 10250\n\
             serverIP: 10.96.1.1\ndnsIP: 10.96.2.2\nclusterDomain: cluster.local\nversion: v1.36.3+k3s1\ncapacity: {cpu: '2', memory: 4Gi}\n",
        )
        .unwrap();
        let config = Config::load(&path).unwrap();
        assert_eq!((config.capacity["memory"].as_str(), &config.sync), ("4Gi", &SyncConfig::default()));
        assert_eq!(config.context().owner.uid, "u");
        std::fs::write(&path, "clusterName: dev\n").unwrap();
        assert!(Config::load(&path).unwrap_err().to_string().contains("missing field"));
    }
}
