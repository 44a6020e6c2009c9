//! Puts the HTTPS endpoints on the network, and keeps their certificate fresh.

use crate::admission::{Admission, Key};
use crate::cache::Cache;
use crate::config::{self, Config, Files, read};
use crate::server::{self, Directory, HostPod, Parts, State};
use crate::usage::Usage;
use crate::usage::ledger::Running;
use crate::usage::source::Source;
use crate::watch::Name;
use crate::world::World;
use k3k_runtime::tls::{self, ClientAuth, ServerCertificate, TlsListener};
use k3k_translate::Origin;
use k8s_openapi::jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde_json::Value;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often the mounted certificate is compared with the one in use. Mounts of Secrets are replaced by renaming a symbolic
/// link, which no file watch reports reliably.
const LOOK: Duration = Duration::from_secs(60);

/// Why the endpoints cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate file cannot be read.
    #[error(transparent)]
    File(#[from] config::Error),
    /// A certificate is unusable, or the port is taken.
    #[error("cannot serve on port {port}: {source}")]
    Listen {
        /// The port.
        port: u16,
        /// The cause.
        source: tls::Error,
    },
}

impl Directory for World {
    fn locate(&self, namespace: &str, name: &str, uid: Option<&str>) -> Option<HostPod> {
        let name = Name { namespace: namespace.to_owned(), name: name.to_owned() };
        let (host, made_for) = self.host_pod(&name)?;
        let made_for =
            made_for.filter(|origin| origin.namespace == name.namespace && origin.name == name.name)?;
        // A namesake that was deleted may still be stopping in the host.
        let current = self.nested_pod(&name)?;
        if current["metadata"]["uid"] != made_for.uid.as_str() || uid.is_some_and(|uid| uid != made_for.uid) {
            return None;
        }
        Some(HostPod {
            namespace: self.context.owner.namespace.clone(),
            name: host["metadata"]["name"].as_str()?.to_owned(),
        })
    }

    fn list(&self) -> Vec<Value> {
        let ours: HashSet<String> = self.host_pods_of_ours().map(|(_, origin)| origin.uid).collect();
        let runs = |pod: &Value| pod["metadata"]["uid"].as_str().is_some_and(|uid| ours.contains(uid));
        self.nested_pods.all().filter(runs).collect()
    }

    fn running(&self) -> Vec<Running> {
        self.host_pods_of_ours().filter_map(|(host, origin)| running(self, &host, origin)).collect()
    }
}

/// What runs in a host pod, if it is that of a pod that is still there.
fn running(world: &World, host: &Value, made_for: Origin) -> Option<Running> {
    let current = world.nested_pod(&Name::from(made_for.clone()))?;
    if current["metadata"]["uid"] != made_for.uid.as_str() {
        return None;
    }
    let time = |value: &Value| value.as_str()?.parse::<Timestamp>().ok();
    let status = &host["status"];
    let statuses = ["initContainerStatuses", "containerStatuses"].map(|list| status[list].as_array());
    let containers = statuses.into_iter().flatten().flatten().filter_map(|container| {
        Some((container["name"].as_str()?.to_owned(), time(&container["state"]["running"]["startedAt"])?))
    });
    let containers: Vec<_> = containers.collect();
    (!containers.is_empty()).then(|| Running {
        host_name: host["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
        namespace: made_for.namespace,
        name: made_for.name,
        uid: made_for.uid,
        started: time(&status["startTime"]),
        containers,
    })
}

/// Binds the port; `told` shows the policy. The returned future serves until `shutdown`.
pub async fn serve(
    world: Arc<World>,
    streaming: kube::Client,
    config: &Config,
    files: &Files,
    registry: Arc<Registry>,
    told: Cache,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = Result<(), Error>> + use<>, Error> {
    let port = config.kubelet_port;
    let listen = |source| Error::Listen { port, source };
    let certificate =
        ServerCertificate::from_pem(&read(&files.serving_certificate)?, &read(&files.serving_key)?)
            .map_err(listen)?;
    let callers = ClientAuth::Optional { ca_pem: read(&files.client_ca)? };
    // HTTP/1.1 only: upgrades do not exist in HTTP/2.
    let tls = tls::server_config(&certificate, callers, &[b"http/1.1"]).map_err(listen)?;
    let address = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), port);
    let listener = if let Ok(listener) = TlsListener::bind(address, tls.clone()).await {
        listener
    } else {
        // A host without IPv6.
        let address = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), port);
        TlsListener::bind(address, tls).await.map_err(listen)?
    };
    let owner = &world.context.owner;
    let usage = Usage::new(Source::new(world.host.clone(), &owner.namespace, &owner.cluster));
    let key = Key::default();
    let state = Arc::new(State::new(Parts {
        host: streaming,
        nested: world.nested.clone(),
        node: config.node_name.clone(),
        directory: world,
        usage,
        registry,
        admission: Admission::new(&config.cluster_name, key.clone(), told),
    }));
    let renewal = renew(certificate, key, files.clone());
    Ok(async move {
        tokio::select! {
            () = server::serve(listener, state, shutdown) => Ok(()),
            () = renewal => Ok(()),
        }
    })
}

/// Takes the mounted certificate and the key of admission into use whenever they change, for ever.
async fn renew(certificate: ServerCertificate, key: Key, files: Files) {
    let load = || Some((read(&files.serving_certificate).ok()?, read(&files.serving_key).ok()?));
    let mut current = load();
    loop {
        // A controller of an earlier version writes none.
        key.set(read(&files.admission_key).ok().as_deref());
        tokio::time::sleep(LOOK).await;
        let now = load();
        if now == current {
            continue;
        }
        if let Some((pem, key)) = &now {
            match certificate.replace(pem, key) {
                Ok(()) => {
                    tracing::info!("the serving certificate was renewed");
                    current = now;
                }
                // Half of a replacement seen between two reads: the next look sees the whole.
                Err(error) => tracing::warn!(%error, "the new serving certificate is not usable yet"),
            }
        }
    }
}
