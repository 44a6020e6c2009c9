//! The flags of `policy create`. Each maps to one field of the policy.

use crate::cli::DryRunFlag;
use crate::cli::create::{mode, pair, quantity};
use crate::output::object::Format;
use clap::{Args, ValueEnum};
use k3k_api::v1beta1::Mode;
use k3k_api::v1beta1::policy::PodSecurityLevel;
use std::path::PathBuf;

/// `policy create`.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  kubectl k3k policy create standard --level baseline --namespace team-a
  kubectl k3k policy create gold --level restricted --digest require --registry registry.example.com/team-a/**
  kubectl k3k policy create ci --mode virtual --quota requests.cpu=8,requests.memory=16Gi,pods=100
  kubectl k3k policy create gold -f gold.yaml --dry-run=server
  kubectl k3k policy create gold --service-type ClusterIP --dry-run=client -o yaml")]
pub(crate) struct PolicyCreateArgs {
    /// Name of the policy. May be left out if -f names it
    #[arg(required_unless_present = "filename")]
    pub(crate) name: Option<String>,

    /// The one mode that clusters may have: shared, virtual or hcp. Default: shared
    #[arg(long, value_parser = mode, value_name = "MODE", help_heading = "Policy")]
    pub(crate) mode: Option<Mode>,

    /// Pod Security Standard of tenants' pods
    #[arg(long, value_parser = level, value_name = "privileged|baseline|restricted", help_heading = "Policy")]
    pub(crate) level: Option<PodSecurityLevel>,

    /// Whether images are named by digest
    #[arg(long, value_enum, value_name = "RULE", help_heading = "Policy")]
    pub(crate) digest: Option<DigestFlag>,

    /// When nodes pull images
    #[arg(long, value_enum, ignore_case = true, value_name = "WHEN", help_heading = "Policy")]
    pub(crate) pull_policy: Option<PullPolicyFlag>,

    /// Registry, and repositories in it, that images may come from; may be repeated
    #[arg(long = "registry", value_name = "HOST[/REPO-GLOB]", value_parser = registry, help_heading = "Policy")]
    pub(crate) registries: Vec<RegistryFlag>,

    /// Type of Services that is allowed; may be repeated
    #[arg(
        long = "service-type",
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        value_name = "TYPE",
        help_heading = "Policy"
    )]
    pub(crate) service_types: Vec<ServiceTypeFlag>,

    /// Label of the nodes that every pod runs on; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, value_delimiter = ',', help_heading = "Policy")]
    pub(crate) node_selector: Vec<(String, String)>,

    /// Who else runs on these nodes
    #[arg(long, value_enum, value_name = "WHO", help_heading = "Policy")]
    pub(crate) placement: Option<PlacementFlag>,

    /// Amounts for a ResourceQuota in each bound namespace
    #[arg(long, value_name = "RESOURCE=AMOUNT,...", value_parser = amount, value_delimiter = ',', help_heading = "Policy")]
    pub(crate) quota: Vec<(String, String)>,

    /// Label of the policy; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, value_delimiter = ',')]
    pub(crate) labels: Vec<(String, String)>,

    /// Annotation of the policy; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) annotations: Vec<(String, String)>,

    /// Namespace to bind to the policy; may be repeated
    // The same id as the flag of all commands, whose place it takes.
    #[arg(
        id = "namespace",
        short = 'n',
        long = "namespace",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    pub(crate) namespaces: Vec<String>,

    /// Also bind namespaces that are bound to another policy
    #[arg(long)]
    pub(crate) overwrite: bool,

    /// Manifest of a policy to start from (- is stdin); flags win over it
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) filename: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) dry_run: DryRunFlag,

    /// Output format of the object
    #[arg(short = 'o', long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<Format>,
}

/// The values of `--digest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DigestFlag {
    /// As each pod says
    Off,
    /// An image without a digest is refused
    Require,
    /// The digest of a tag is asked of its registry and added
    Resolve,
}

/// The values of `--pull-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicyFlag {
    /// Every time
    #[value(name = "Always")]
    Always,
    /// When the node does not have the image
    #[value(name = "IfNotPresent")]
    IfNotPresent,
}

/// The values of `--service-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ServiceTypeFlag {
    /// Inside only
    #[value(name = "ClusterIP")]
    ClusterIP,
    /// A port on every node
    #[value(name = "NodePort")]
    NodePort,
    /// A load balancer of the host
    #[value(name = "LoadBalancer")]
    LoadBalancer,
    /// Another name
    #[value(name = "ExternalName")]
    ExternalName,
}

/// The values of `--placement`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlacementFlag {
    /// Anybody
    Shared,
    /// This policy's clusters, on nodes of --node-selector
    Dedicated,
    /// The same, and no pod of another policy is placed beside them
    Exclusive,
}

/// The value of `--registry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegistryFlag {
    /// Host, and port.
    pub(crate) host: String,
    /// Glob of repositories; all, if there is none.
    pub(crate) repositories: Option<String>,
}

fn level(text: &str) -> Result<PodSecurityLevel, String> {
    [PodSecurityLevel::Privileged, PodSecurityLevel::Baseline, PodSecurityLevel::Restricted]
        .into_iter()
        .find(|level| level.as_str() == text)
        .ok_or_else(|| "write privileged, baseline or restricted".to_owned())
}

fn registry(text: &str) -> Result<RegistryFlag, String> {
    let (host, repositories) = match text.split_once('/') {
        Some((host, rest)) => (host, Some(rest)),
        None => (text, None),
    };
    let good = !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte))
        && !text.contains("//")
        && repositories.is_none_or(|rest| !rest.is_empty());
    if !good {
        return Err(format!(
            "\"{text}\" is not a registry (write registry.example.com or registry.example.com/team/**)"
        ));
    }
    Ok(RegistryFlag { host: host.to_owned(), repositories: repositories.map(str::to_owned) })
}

/// `RESOURCE=AMOUNT`. Counts are amounts without a unit.
fn amount(text: &str) -> Result<(String, String), String> {
    let (resource, value) = pair(text)?;
    let milli = value
        .strip_suffix('m')
        .is_some_and(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    if value == "0" || milli {
        return Ok((resource, value));
    }
    quantity(&value)
        .map(|value| (resource, value))
        .map_err(|_| format!("\"{value}\" is not an amount (write 8, 500m or 16Gi)"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("registry.example.com", Some(("registry.example.com", None)))]
    #[case("registry.example.com:5000/team/**", Some(("registry.example.com:5000", Some("team/**"))))]
    #[case("docker.io/library/*", Some(("docker.io", Some("library/*"))))]
    #[case("", None)]
    #[case("/x", None)]
    #[case("host/", None)]
    #[case("https://host/x", None)]
    fn registries_are_taken_apart(#[case] text: &str, #[case] want: Option<(&str, Option<&str>)>) {
        let got = registry(text).ok();
        assert_eq!(got.as_ref().map(|flag| (flag.host.as_str(), flag.repositories.as_deref())), want);
    }

    #[rstest]
    #[case("requests.cpu=8", true)]
    #[case("requests.cpu=500m", true)]
    #[case("pods=0", true)]
    #[case("requests.memory=16Gi", true)]
    #[case("pods=many", false)]
    #[case("pods", false)]
    #[case("=1", false)]
    fn amounts_are_quantities(#[case] text: &str, #[case] good: bool) {
        assert_eq!(amount(text).is_ok(), good);
    }
}
