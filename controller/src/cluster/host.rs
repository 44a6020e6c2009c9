//! Facts about the host that do not change while the controller runs.

use super::error::Error;
use k3k_api::version;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::OnceCell;

/// The range of hosts that do not tell: k3s' and thereby upstream's default.
const USUAL_SERVICE_CIDR: &str = "10.43.0.0/16";

/// What a host says about itself, asked once.
pub struct Host {
    client: Client,
    namespace: String,
    version: OnceCell<String>,
    service_cidrs: OnceCell<Vec<String>>,
}

impl Host {
    /// Nothing is asked yet. `namespace` is one in which a Service may be tried out.
    pub fn new(client: Client, namespace: String) -> Self {
        Self { client, namespace, version: OnceCell::new(), service_cidrs: OnceCell::new() }
    }

    /// Version of the host without build metadata, for example `v1.36.3`.
    pub async fn version(&self) -> Result<&str, Error> {
        let version = self.version.get_or_try_init(|| async {
            let read = |source| Error::Read { what: "the version of the host".to_owned(), source };
            let info = self.client.apiserver_version().await.map_err(read)?;
            Ok::<_, Error>(version::host_version(&info.git_version).to_owned())
        });
        Ok(version.await?)
    }

    /// The range from which the host gives Services their addresses.
    pub async fn service_cidr(&self) -> Result<&str, Error> {
        Ok(self.service_cidrs().await?.first().map_or(USUAL_SERVICE_CIDR, String::as_str))
    }

    /// That range, and the one of the other family if there is one.
    pub async fn service_cidrs(&self) -> Result<&[String], Error> {
        let ranges = self.service_cidrs.get_or_try_init(|| async {
            let read =
                |source| Error::Read { what: "the Service address range of the host".to_owned(), source };
            // Kubernetes 1.33 and later keep the range in an object.
            match Api::<ServiceCIDR>::all(self.client.clone()).get_opt("kubernetes").await {
                Ok(Some(object)) => {
                    let ranges = object.spec.and_then(|spec| spec.cidrs).unwrap_or_default();
                    if !ranges.is_empty() {
                        return Ok(ranges);
                    }
                }
                Ok(None) => {}
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                Err(source) => return Err(read(source)),
            }
            let message = self.refusal_of_an_impossible_service().await.map_err(read)?;
            Ok(vec![valid_range(&message).unwrap_or(USUAL_SERVICE_CIDR).to_owned()])
        });
        Ok(ranges.await?)
    }

    /// What an older API server answers to a Service outside its range. The Service is never stored.
    async fn refusal_of_an_impossible_service(&self) -> Result<String, kube::Error> {
        let service = Service {
            metadata: ObjectMeta { generate_name: Some("k3k-range-".to_owned()), ..ObjectMeta::default() },
            spec: Some(ServiceSpec {
                cluster_ip: Some("1.1.1.1".to_owned()),
                ports: Some(vec![ServicePort { port: 443, ..ServicePort::default() }]),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        };
        let services: Api<Service> = Api::namespaced(self.client.clone(), &self.namespace);
        match services.create(&PostParams { dry_run: true, ..PostParams::default() }, &service).await {
            Ok(_) => Ok(String::new()),
            Err(kube::Error::Api(status)) if status.is_invalid() => Ok(status.message.clone()),
            Err(error) => Err(error),
        }
    }
}

/// The range in `… The range of valid IPs is 10.96.0.0/12`.
fn valid_range(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("The range of valid IPs is ")?;
    let range = rest.split_whitespace().next()?.trim_end_matches(['.', ',', '"']);
    range.contains('/').then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_names_its_range() {
        let message = "Service \"x\" is invalid: spec.clusterIPs: Invalid value: [\"1.1.1.1\"]: failed to allocate IP 1.1.1.1: the provided network does not match the current range. The range of valid IPs is 10.96.0.0/12";
        assert_eq!(valid_range(message), Some("10.96.0.0/12"));
        assert_eq!(valid_range("no ServiceCIDR available"), None);
    }
}
