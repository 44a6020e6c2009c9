//! The command line.

use jiff::SignedDuration;
use k3k_runtime::{admin::AdminArgs, log::LogArgs};
use std::net::SocketAddr;

/// Judges what nested clusters create in the host.
#[derive(clap::Parser, Clone, Debug)]
#[command(name = "k3k-webhook", version)]
pub struct Args {
    #[command(flatten)]
    #[allow(missing_docs)]
    pub log: LogArgs,
    #[command(flatten)]
    #[allow(missing_docs)]
    pub admin: AdminArgs,

    /// Where to answer admission reviews.
    #[arg(long, env = "K3K_WEBHOOK_ADDRESS", default_value = "0.0.0.0:9443", value_name = "ADDRESS")]
    pub address: SocketAddr,

    /// The namespace of the Secret, the Service and the Lease.
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAMESPACE")]
    pub namespace: String,

    /// Who this replica is; unique among the replicas.
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: String,

    /// The UID of this replica's pod.
    #[arg(long, env = "POD_UID", value_name = "UID")]
    pub uid: Option<String>,

    /// The Secret with the certificate. It must exist, and may be empty.
    #[arg(long, default_value = "k3k-webhook-tls", value_name = "NAME")]
    pub secret: String,

    /// The Service that the API server calls.
    #[arg(long, default_value = "k3k-webhook", value_name = "NAME")]
    pub service: String,

    /// The registrations, a `MutatingWebhookConfiguration` and a `ValidatingWebhookConfiguration`, by which the API server asks us.
    #[arg(long, default_value = "k3k-webhook", value_name = "NAME")]
    pub registration: String,

    /// The Lease whose holder issues the certificate.
    #[arg(long, default_value = "k3k-webhook", value_name = "NAME")]
    pub lease: String,

    /// One more DNS name or IP address in the certificate, for an API server that calls a URL. May be repeated.
    #[arg(long = "serving-name", value_name = "NAME")]
    pub serving_names: Vec<String>,

    /// A file with more authorities (PEM) that registries' certificates come from, if it is there.
    #[arg(long, value_name = "FILE")]
    pub registry_ca: Option<std::path::PathBuf>,

    /// A network of the host (CIDR) where no registry is, unless the policy marks it private. May be repeated. Addresses that are not
    /// public never count as a registry's.
    #[arg(long = "forbidden-network", value_name = "CIDR")]
    pub forbidden_networks: Vec<ipnet::IpNet>,

    /// How long to go on answering after being told to stop, until no API server calls this replica any more.
    #[arg(long, default_value = "10s", value_name = "DURATION")]
    pub drain: SignedDuration,
}
