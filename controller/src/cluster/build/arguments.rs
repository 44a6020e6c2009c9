//! `spec.serverArgs` and `spec.agentArgs`: which are passed on, which are merged into the configuration, which are refused.

use super::mode::Nodes;
use super::outside;

/// Flags that would contradict what the cluster is built on, with the reason.
const REFUSED: &[(&str, &str)] = &[
    ("agent-token", "the controller issues all credentials"),
    ("agent-token-file", "the controller issues all credentials"),
    ("bind-address", "the API is reached at the pod's address"),
    ("c", "the controller writes the configuration; mount drop-ins with spec.secretMounts"),
    ("cluster-cidr", "use spec.clusterCIDR"),
    ("cluster-dns", "use spec.clusterDNS"),
    ("cluster-domain", "tenants' pods are told cluster.local"),
    ("cluster-init", "the controller decides how servers form a cluster"),
    ("cluster-reset", "it would drop the cluster's members at each start"),
    ("cluster-reset-restore-path", "it would restore the same snapshot at each start"),
    ("config", "the controller writes the configuration; mount drop-ins with spec.secretMounts"),
    ("d", "the data must lie on the server's volume"),
    ("data-dir", "the data must lie on the server's volume"),
    ("disable-agent", "the cluster's mode decides whether servers are nodes"),
    ("disable-apiserver", "every server serves the API"),
    ("disable-controller-manager", "the cluster needs its controllers"),
    ("disable-etcd", "the controller decides where the data lies"),
    ("disable-scheduler", "tenants' pods would never be bound to a node"),
    ("egress-selector-mode", "the cluster's mode decides how the API server reaches its nodes"),
    ("enable-pprof", "it would open the server's memory to whoever reaches the API"),
    ("https-listen-port", "the Service routes to port 6443"),
    ("s", "the controller decides how servers form a cluster"),
    ("secrets-encryption-provider", "use secrets-encryption with its default provider"),
    ("server", "the controller decides how servers form a cluster"),
    ("service-cidr", "use spec.serviceCIDR"),
    ("t", "use spec.tokenSecretRef"),
    ("tls-san-security", "certificates must not take names from requests"),
    ("token", "use spec.tokenSecretRef"),
    ("token-file", "use spec.tokenSecretRef"),
    ("write-kubeconfig", "the server's file system holds no credentials for others"),
    ("o", "the server's file system holds no credentials for others"),
    ("advertise-port", "the API is reached at port 6443"),
];

/// The same, for servers that are no nodes.
const REFUSED_WITHOUT_NODE: &[(&str, &str)] = &[
    ("kubelet-arg", "the cluster's servers have no kubelet"),
    ("node-ip", "the cluster's servers are no nodes"),
    ("node-external-ip", "the cluster's servers are no nodes"),
    ("node-name", "the cluster's servers are no nodes"),
    ("rootless", "the server runs without privileges already"),
    ("vpn-auth", "the cluster has no network of its own"),
    ("vpn-auth-file", "the cluster has no network of its own"),
    ("with-node-id", "the cluster's servers are no nodes"),
];

/// The same, for servers and agents that are nodes.
const REFUSED_ON_NODES: &[(&str, &str)] = &[
    ("node-ip", "a node has its pod's address, which changes"),
    ("node-name", "a node has its pod's name, by which it is followed"),
    ("rootless", "use spec.hostUsers"),
    ("with-node-id", "a node has its pod's name, by which it is followed"),
];

/// Flags of agents that would contradict what the cluster is built on.
const REFUSED_ON_AGENTS: &[(&str, &str)] = &[
    ("c", "the controller writes the configuration; mount drop-ins with spec.secretMounts"),
    ("config", "the controller writes the configuration; mount drop-ins with spec.secretMounts"),
    ("d", "the data must lie on the agent's volume"),
    ("data-dir", "the data must lie on the agent's volume"),
    ("s", "the controller decides where agents join"),
    ("server", "the controller decides where agents join"),
    ("t", "use spec.tokenSecretRef"),
    ("token", "use spec.tokenSecretRef"),
    ("token-file", "use spec.tokenSecretRef"),
];

/// Arguments of the nested API server that would contradict what the cluster is built on.
const REFUSED_API_SERVER: &[&str] = &[
    "allow-privileged",
    "anonymous-auth",
    "authorization-mode",
    "bind-address",
    "client-ca-file",
    "kubelet-certificate-authority",
    "kubelet-client-certificate",
    "kubelet-client-key",
    "requestheader-client-ca-file",
    "secure-port",
    "service-account-key-file",
    "service-cluster-ip-range",
    "tls-cert-file",
    "tls-private-key-file",
];

/// Environment variables by which k3s would be told what its configuration says, or which we set.
const REFUSED_ENVIRONMENT: &[&str] = &[
    "K3S_AGENT_TOKEN",
    "K3S_AGENT_TOKEN_FILE",
    "K3S_CLUSTER_INIT",
    "K3S_CLUSTER_RESET",
    "K3S_CLUSTER_RESET_RESTORE_PATH",
    "K3S_CONFIG_FILE",
    "K3S_DATA_DIR",
    "K3S_KUBECONFIG_OUTPUT",
    "K3S_NODE_NAME",
    "K3S_TOKEN",
    "K3S_TOKEN_FILE",
    "K3S_URL",
    "POD_IP",
    "POD_NAME",
];

/// What is made of `spec.serverArgs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerArguments {
    /// Words for the command line.
    pub command_line: Vec<String>,
    /// Values of `--disable`. They join the configuration's list, which a flag would replace.
    pub disable: Vec<String>,
    /// Values of `--tls-san`, for the same reason.
    pub tls_sans: Vec<String>,
}

/// Why an argument is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Position in the list.
    pub index: usize,
    /// The reason, naming the argument but not its value, which may be secret.
    pub reason: String,
}

/// The words of a list. An element may be `--flag=value`, a flag and its value in two elements, or both in one
/// with a blank between, as upstream K3k, which hands them to a shell, takes them.
fn words(spec: &[String]) -> Vec<(usize, &str)> {
    let mut words: Vec<(usize, &str)> = Vec::new();
    for (index, element) in spec.iter().enumerate() {
        match split_flag(element) {
            Some((flag, value)) => words.extend([(index, flag), (index, value)]),
            None => words.push((index, element.trim())),
        }
    }
    words
}

/// The reason why a flag is refused.
fn reason(lists: &[&[(&str, &'static str)]], flag: &str) -> Option<&'static str> {
    lists.iter().copied().flatten().find(|(name, _)| *name == flag).map(|(_, reason)| *reason)
}

/// Checks `spec.agentArgs`, and gives their words.
pub fn agent_arguments(spec: &[String]) -> Result<Vec<String>, Refused> {
    let words = words(spec);
    for (index, word) in &words {
        if let Some((flag, _)) = parse(word)
            && let Some(reason) = reason(&[REFUSED_ON_AGENTS, REFUSED_ON_NODES], flag)
        {
            return Err(Refused { index: *index, reason: format!("{flag:?} cannot be set: {reason}") });
        }
    }
    Ok(words.into_iter().map(|(_, word)| word.to_owned()).collect())
}

/// Sorts `spec.serverArgs`.
pub fn server_arguments(spec: &[String], nodes: Nodes) -> Result<ServerArguments, Refused> {
    let of_nodes = if nodes.are_pods() { REFUSED_ON_NODES } else { REFUSED_WITHOUT_NODE };
    let mut sorted = ServerArguments::default();
    let mut words = words(spec).into_iter().peekable();
    while let Some((index, word)) = words.next() {
        let Some((flag, inline)) = parse(word) else {
            sorted.command_line.push(word.to_owned());
            continue;
        };
        if let Some(reason) = reason(&[REFUSED, of_nodes], flag) {
            return Err(Refused { index, reason: format!("{flag:?} cannot be set: {reason}") });
        }
        let list = match flag {
            "disable" => &mut sorted.disable,
            "tls-san" => &mut sorted.tls_sans,
            "kube-apiserver-arg" => {
                let value = inline.or_else(|| words.peek().map(|(_, next)| *next)).unwrap_or_default();
                refuse_api_server_argument(index, value)?;
                sorted.command_line.push(word.to_owned());
                continue;
            }
            _ => {
                sorted.command_line.push(word.to_owned());
                continue;
            }
        };
        let value = inline.map_or_else(|| words.next().map(|(_, next)| next), Some).unwrap_or_default();
        if value.is_empty() {
            return Err(Refused { index, reason: format!("{flag:?} has no value") });
        }
        list.extend(value.split(',').map(|part| part.trim().to_owned()));
    }
    // On the command line, since a list there takes the place of the configuration's. The last one counts.
    sorted.command_line.extend(nodes.are_outside().then(|| outside::NO_OWN_ENDPOINTS.to_owned()));
    Ok(sorted)
}

/// The first of `names` that may not be set on the server, by its position.
pub fn refused_environment<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<(usize, &'a str)> {
    let mut index = 0;
    names.find_map(|name| {
        let found = REFUSED_ENVIRONMENT.contains(&name).then_some((index, name));
        index += 1;
        found
    })
}

/// `--flag value` in one element.
fn split_flag(element: &str) -> Option<(&str, &str)> {
    let element = element.trim();
    let (flag, value) = element.split_once(char::is_whitespace)?;
    (flag.starts_with('-') && !flag.contains('=')).then(|| (flag, value.trim()))
}

/// Name and inline value of a flag. One dash or two: k3s takes both.
fn parse(word: &str) -> Option<(&str, Option<&str>)> {
    let name = word.strip_prefix('-')?;
    let name = name.strip_prefix('-').unwrap_or(name);
    Some(name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value))))
}

fn refuse_api_server_argument(index: usize, value: &str) -> Result<(), Refused> {
    let value = value.trim_start_matches('-');
    // Newer k3s also takes `name+=value` and `name-=value`.
    let name = value.split('=').next().unwrap_or_default().trim_end_matches(['+', '-']);
    if REFUSED_API_SERVER.contains(&name) {
        let reason = format!("the API server's {name:?} cannot be set: the cluster is built on it");
        return Err(Refused { index, reason });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn owned(spec: &[&str]) -> Vec<String> {
        spec.iter().map(|word| (*word).to_owned()).collect()
    }

    fn arguments(spec: &[&str]) -> Result<ServerArguments, Refused> {
        server_arguments(&owned(spec), Nodes::Shown)
    }

    #[rstest]
    #[case(&["--token=hunter2"], 0)]
    #[case(&["-t", "hunter2"], 0)]
    #[case(&["-token", "hunter2"], 0)]
    #[case(&["--debug", "--disable-agent=false"], 1)]
    #[case(&["--data-dir /tmp"], 0)]
    #[case(&["  --config=/etc/x"], 0)]
    #[case(&["--https-listen-port", "7443"], 0)]
    #[case(&["--service-cidr=10.0.0.0/8"], 0)]
    #[case(&["--cluster-cidr=10.0.0.0/8"], 0)]
    #[case(&["--cluster-dns=10.0.0.10"], 0)]
    #[case(&["--egress-selector-mode=cluster"], 0)]
    #[case(&["--server=https://elsewhere"], 0)]
    #[case(&["-s", "https://elsewhere"], 0)]
    #[case(&["--cluster-init"], 0)]
    #[case(&["--cluster-reset"], 0)]
    #[case(&["--kubelet-arg=x=y"], 0)]
    #[case(&["--kube-apiserver-arg=client-ca-file=/tmp/ca"], 0)]
    #[case(&["--kube-apiserver-arg", "client-ca-file=/tmp/ca"], 0)]
    #[case(&["--kube-apiserver-arg --anonymous-auth=true"], 0)]
    #[case(&["--kube-apiserver-arg=authorization-mode+=AlwaysAllow"], 0)]
    #[case(&["--disable"], 0)]
    fn refused(#[case] spec: &[&str], #[case] index: usize) {
        let refused = arguments(spec).unwrap_err();
        assert_eq!(refused.index, index);
        assert!(!refused.reason.contains("hunter2"), "{refused:?}");
    }

    #[rstest]
    #[case(&["--debug", "--kube-apiserver-arg=v=2"], &["--debug", "--kube-apiserver-arg=v=2"])]
    #[case(&["--kube-apiserver-arg", "v=2"], &["--kube-apiserver-arg", "v=2"])]
    #[case(&["--etcd-arg quota=1 2"], &["--etcd-arg", "quota=1 2"])]
    #[case(&["--node-label=a=b c"], &["--node-label=a=b c"])]
    #[case(&[], &[])]
    fn passed_on(#[case] spec: &[&str], #[case] words: &[&str]) {
        let arguments = arguments(spec).unwrap();
        assert_eq!(arguments.command_line, words);
        assert!(arguments.disable.is_empty() && arguments.tls_sans.is_empty());
    }

    #[test]
    fn lists_are_merged_into_the_configuration() {
        let arguments = arguments(&[
            "--disable",
            "coredns,helm",
            "--tls-san=a.example",
            "--tls-san b.example",
            "--debug",
        ])
        .unwrap();
        assert_eq!(arguments.disable, ["coredns", "helm"]);
        assert_eq!(arguments.tls_sans, ["a.example", "b.example"]);
        assert_eq!(arguments.command_line, ["--debug"]);
    }

    #[test]
    fn nodes_take_what_is_about_their_kubelet() {
        let spec = owned(&["--kubelet-arg=max-pods=50", "--node-label a=b"]);
        let words = ["--kubelet-arg=max-pods=50", "--node-label", "a=b"];
        assert_eq!(server_arguments(&spec, Nodes::Pods).unwrap().command_line, words);
        assert_eq!(agent_arguments(&spec).unwrap(), words);
        for refused in
            ["--node-name=x", "--with-node-id", "--node-ip=10.0.0.1", "-t=hunter2", "--data-dir=/x"]
        {
            let spec = owned(&["--debug", refused]);
            assert_eq!(agent_arguments(&spec).unwrap_err().index, 1, "{refused}");
            assert_eq!(server_arguments(&spec, Nodes::Pods).unwrap_err().index, 1, "{refused}");
        }
        assert_eq!(agent_arguments(&owned(&["--server https://elsewhere"])).unwrap_err().index, 0);
    }

    #[test]
    fn servers_without_nodes_of_their_own_leave_the_endpoints_to_us() {
        let spec = owned(&["--kube-apiserver-arg=endpoint-reconciler-type=lease"]);
        let words = server_arguments(&spec, Nodes::Outside).unwrap().command_line;
        assert_eq!(words.last().map(String::as_str), Some(outside::NO_OWN_ENDPOINTS));
        assert_eq!(server_arguments(&spec, Nodes::Shown).unwrap().command_line, spec);
    }

    #[test]
    fn environment_that_overrides_the_configuration_is_refused() {
        assert_eq!(refused_environment(["HTTP_PROXY", "K3S_TOKEN"].into_iter()), Some((1, "K3S_TOKEN")));
        assert_eq!(refused_environment(["K3S_DEBUG", "HTTP_PROXY"].into_iter()), None);
    }
}
