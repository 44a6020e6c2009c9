//! The flags of `create`. Each maps to one field of the Cluster.

use super::{DryRunFlag, WaitFlags};
use crate::output::object::Format;
use clap::{Args, ValueEnum};
use k3k_api::v1beta1::Mode;
use k3k_api::version::K3sVersion;
use std::path::PathBuf;

/// `create`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
#[command(after_help = "Examples:
  kubectl k3k create dev
  kubectl k3k create dev --storage 10Gi,class=fast --version v1.33.1-k3s1
  kubectl k3k create ci -n team-a --storage ephemeral --no-wait
  kubectl k3k create dev -f cluster.yaml --dry-run=server
  kubectl k3k create dev --dry-run=client -o yaml")]
pub(crate) struct CreateArgs {
    /// Name of the cluster; NAME or NAMESPACE/NAME. May be left out if -f names it
    #[arg(required_unless_present = "filename")]
    pub(crate) name: Option<String>,

    /// How tenants' pods run
    #[arg(long, value_parser = mode, value_name = "MODE", help_heading = "Cluster",
        long_help = "How tenants' pods run: shared (as pods of the host), virtual (inside agent pods) or hcp \
            (on nodes that join from outside)")]
    pub(crate) mode: Option<Mode>,

    /// Number of K3s servers
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..), help_heading = "Cluster")]
    pub(crate) servers: Option<i32>,

    /// Number of K3s agents, in mode virtual
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..), help_heading = "Cluster")]
    pub(crate) agents: Option<i32>,

    /// Version of K3s. Default: that of the host
    #[arg(long, value_name = "vX.Y.Z-k3sN", value_parser = version, help_heading = "Cluster")]
    pub(crate) version: Option<String>,

    /// Where the servers keep their data: "ephemeral", or the size of a volume
    #[arg(long, value_name = "ephemeral|SIZE[,class=NAME]", value_parser = storage, help_heading = "Cluster")]
    pub(crate) storage: Option<StorageFlag>,

    /// How the API is reached from outside the host
    #[arg(long, value_enum, value_name = "HOW", help_heading = "Cluster")]
    pub(crate) expose: Option<ExposeFlag>,

    /// Policy for the namespace, if it has to be made
    #[arg(long, value_name = "POLICY", help_heading = "Cluster")]
    pub(crate) policy: Option<String>,

    /// Node labels for server pods and, in mode shared, tenants' pods; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, value_delimiter = ',', help_heading = "Cluster")]
    pub(crate) node_selector: Vec<(String, String)>,

    /// Address range of pods
    #[arg(long, value_name = "CIDR", value_parser = cidr, help_heading = "Network")]
    pub(crate) cluster_cidr: Option<String>,

    /// Address range of Services
    #[arg(long, value_name = "CIDR", value_parser = cidr, help_heading = "Network")]
    pub(crate) service_cidr: Option<String>,

    /// Address of the DNS service inside the cluster
    #[arg(long, value_name = "IP", help_heading = "Network")]
    pub(crate) cluster_dns: Option<std::net::IpAddr>,

    /// Another name or address for the certificate of the API; may be repeated
    #[arg(long = "tls-san", value_name = "HOST", help_heading = "Network")]
    pub(crate) tls_sans: Vec<String>,

    /// Host, host:port or URL to write into the kubeconfig; also goes into the certificate
    #[arg(long, value_name = "HOST", help_heading = "Network")]
    pub(crate) kubeconfig_server: Option<String>,

    /// Argument for the K3s servers; may be repeated
    #[arg(long = "server-arg", value_name = "ARG", allow_hyphen_values = true, help_heading = "K3s")]
    pub(crate) server_args: Vec<String>,

    /// Argument for the K3s agents; may be repeated
    #[arg(long = "agent-arg", value_name = "ARG", allow_hyphen_values = true, help_heading = "K3s")]
    pub(crate) agent_args: Vec<String>,

    /// Environment variable for the K3s servers; may be repeated
    #[arg(long = "server-env", value_name = "NAME=VALUE", value_parser = pair, help_heading = "K3s")]
    pub(crate) server_envs: Vec<(String, String)>,

    /// Environment variable for the K3s agents; may be repeated
    #[arg(long = "agent-env", value_name = "NAME=VALUE", value_parser = pair, help_heading = "K3s")]
    pub(crate) agent_envs: Vec<(String, String)>,

    /// Manifest of a Cluster to start from (- is stdin); flags win over it
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) filename: Option<PathBuf>,

    /// Make the namespace if it does not exist. Always done for the default namespace k3k-NAME
    #[arg(long)]
    pub(crate) create_namespace: bool,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,

    /// Output format of the object
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,

    #[command(flatten)]
    pub(crate) wait: WaitFlags,

    /// Make the cluster your current context
    #[arg(long, conflicts_with = "no_kubeconfig")]
    pub(crate) connect: bool,

    /// Leave your kubeconfig alone
    #[arg(long)]
    pub(crate) no_kubeconfig: bool,

    /// K3s server arguments, separated by commas
    #[arg(long = "server-args", hide = true, value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) legacy_server_args: Vec<String>,

    /// K3s agent arguments, separated by commas
    #[arg(long = "agent-args", hide = true, value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) legacy_agent_args: Vec<String>,

    /// Server environment, separated by commas
    #[arg(long = "server-envs", hide = true, value_delimiter = ',', value_parser = pair)]
    pub(crate) legacy_server_envs: Vec<(String, String)>,

    /// Agent environment, separated by commas
    #[arg(long = "agent-envs", hide = true, value_delimiter = ',', value_parser = pair)]
    pub(crate) legacy_agent_envs: Vec<(String, String)>,

    /// Names for the certificate, separated by commas
    #[arg(long = "tls-sans", hide = true, value_delimiter = ',')]
    pub(crate) legacy_tls_sans: Vec<String>,

    /// Kind of storage
    #[arg(long, hide = true, value_enum, conflicts_with = "storage")]
    pub(crate) persistence_type: Option<PersistenceFlag>,

    /// StorageClass
    #[arg(long, hide = true, conflicts_with = "storage")]
    pub(crate) storage_class_name: Option<String>,

    /// Size of the volume
    #[arg(long, hide = true, conflicts_with = "storage", value_parser = quantity)]
    pub(crate) storage_request_size: Option<String>,

    /// One node per host node
    #[arg(long, hide = true)]
    pub(crate) mirror_host_nodes: bool,

    /// Labels of the Cluster
    #[arg(long, hide = true, value_parser = pair)]
    pub(crate) labels: Vec<(String, String)>,

    /// Annotations of the Cluster
    #[arg(long, hide = true, value_parser = pair)]
    pub(crate) annotations: Vec<(String, String)>,
}

/// The values of `--expose`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExposeFlag {
    /// Inside the host only
    None,
    /// By a port of the host's nodes
    #[value(name = "nodeport")]
    NodePort,
    /// By a load balancer
    #[value(name = "loadbalancer")]
    LoadBalancer,
    /// By an Ingress with TLS passthrough; needs a DNS name in --tls-san
    Ingress,
}

/// The values of `--persistence-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PersistenceFlag {
    /// A volume.
    Dynamic,
    /// Gone with the pod.
    Ephemeral,
}

/// The value of `--storage`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StorageFlag {
    /// Gone with the pod.
    Ephemeral,
    /// A volume.
    Volume {
        /// Its size, a quantity.
        size: String,
        /// Its StorageClass, if not the default.
        class: Option<String>,
    },
}

pub(super) fn mode(text: &str) -> Result<Mode, String> {
    [Mode::Shared, Mode::Virtual, Mode::Hcp]
        .into_iter()
        .find(|mode| mode.as_str() == text)
        .ok_or_else(|| "mode should be one of \"shared\", \"virtual\" or \"hcp\"".to_owned())
}

/// A tag of the K3s image. K3s writes its versions with `+`, which its image tags cannot contain.
pub(super) fn version(text: &str) -> Result<String, String> {
    text.parse::<K3sVersion>().map(|version| version.tag()).map_err(|error| error.to_string())
}

fn storage(text: &str) -> Result<StorageFlag, String> {
    if text == "ephemeral" {
        return Ok(StorageFlag::Ephemeral);
    }
    let mut parts = text.split(',');
    let size = quantity(parts.next().unwrap_or_default())?;
    let mut class = None;
    for part in parts {
        match part.split_once('=') {
            Some(("class", name)) if !name.is_empty() && class.is_none() => class = Some(name.to_owned()),
            _ => return Err(format!("\"{part}\" is not known here (write SIZE,class=NAME)")),
        }
    }
    Ok(StorageFlag::Volume { size, class })
}

/// A positive Kubernetes quantity.
pub(super) fn quantity(text: &str) -> Result<String, String> {
    const SUFFIXES: &[&str] = &["", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let positive = number.parse::<f64>().is_ok_and(|value| value > 0.0);
    if positive && !number.starts_with('.') && !number.ends_with('.') && SUFFIXES.contains(&suffix) {
        Ok(text.to_owned())
    } else {
        Err(format!("\"{text}\" is not a size (write 10Gi)"))
    }
}

/// `KEY=VALUE`, split at the first `=`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// One address range, or one of each family separated by a comma.
fn cidr(text: &str) -> Result<String, String> {
    let wrong = || format!("\"{text}\" is not an address range (write 10.42.0.0/16)");
    for range in text.split(',') {
        let (address, bits) = range.split_once('/').ok_or_else(wrong)?;
        let address: std::net::IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        if bits > if address.is_ipv4() { 32 } else { 128 } {
            return Err(wrong());
        }
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("v1.33.1-k3s1", Some("v1.33.1-k3s1"))]
    #[case("1.33.1-k3s1", None)]
    #[case("v1.33.1", None)]
    #[case("v1.33.1+k3s2", Some("v1.33.1-k3s2"))]
    #[case("v1.34.0-rc1+k3s1", Some("v1.34.0-rc1-k3s1"))]
    #[case("latest", None)]
    #[case("v1.33", None)]
    #[case("v1.33.x", None)]
    #[case("v1.33.1-", None)]
    #[case("v1.33.1-k3s1/../x", None)]
    #[case("", None)]
    fn versions_are_tags(#[case] text: &str, #[case] want: Option<&str>) {
        assert_eq!(version(text).ok().as_deref(), want);
    }

    #[rstest]
    #[case("ephemeral", Some(StorageFlag::Ephemeral))]
    #[case("10Gi", Some(StorageFlag::Volume { size: "10Gi".into(), class: None }))]
    #[case("1.5Gi,class=fast", Some(StorageFlag::Volume { size: "1.5Gi".into(), class: Some("fast".into()) }))]
    #[case("0Gi", None)]
    #[case("-1Gi", None)]
    #[case("10GB", None)]
    #[case("10Gi,fast", None)]
    #[case("10Gi,class=", None)]
    #[case(".5Gi", None)]
    #[case("dynamic", None)]
    fn storage_is_a_word_or_a_size(#[case] text: &str, #[case] want: Option<StorageFlag>) {
        assert_eq!(storage(text).ok(), want);
    }

    #[rstest]
    #[case("10.42.0.0/16", true)]
    #[case("10.42.0.0/16,fd00::/56", true)]
    #[case("10.42.0.0", false)]
    #[case("10.42.0.0/33", false)]
    #[case("10.42.0/16", false)]
    fn ranges_are_checked(#[case] text: &str, #[case] good: bool) {
        assert_eq!(cidr(text).is_ok(), good);
    }

    #[test]
    fn values_may_contain_equals_signs() {
        assert_eq!(pair("A=b=c"), Ok(("A".into(), "b=c".into())));
        assert!(pair("=b").is_err() && pair("a").is_err());
    }
}
