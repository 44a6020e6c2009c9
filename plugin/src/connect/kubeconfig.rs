//! The user's kubeconfig files, found and merged by kubectl's rules, with kubectl's flags laid over them.

use crate::cli::ConnectionFlags;
use crate::error::Error;
use crate::merge::Origin;
use kube::config::{Config, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};
use std::env;
use std::path::{Path, PathBuf};

/// Name of the context, cluster and user that the flags and the chosen context add up to.
pub(crate) const EFFECTIVE: &str = "kubectl-k3k";

/// What a current context that is a cluster of ours stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meant {
    /// The host that it runs in: most commands are about what runs there.
    Host,
    /// Itself.
    Current,
}

/// The kubeconfig files in force, whether they exist or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// The one given with `--kubeconfig`; it must exist to be read.
    Explicit(PathBuf),
    /// Those of `KUBECONFIG`, or `~/.kube/config`; missing ones are skipped.
    List(Vec<PathBuf>),
}

impl Files {
    /// Finds them as kubectl does.
    pub(crate) fn find(explicit: Option<&Path>) -> Self {
        if let Some(path) = explicit {
            return Self::Explicit(path.to_owned());
        }
        let listed: Vec<PathBuf> = env::var_os("KUBECONFIG")
            .map(|value| env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect())
            .unwrap_or_default();
        if listed.is_empty() {
            Self::List(env::home_dir().map(|home| home.join(".kube").join("config")).into_iter().collect())
        } else {
            Self::List(listed)
        }
    }

    /// The files in order.
    pub(crate) fn paths(&self) -> &[PathBuf] {
        match self {
            Self::Explicit(path) => std::slice::from_ref(path),
            Self::List(paths) => paths,
        }
    }

    /// For the message that none exists.
    pub(crate) fn looked(&self) -> Vec<PathBuf> {
        self.paths().to_vec()
    }
}

/// Reads and merges the files and lays the flags over them. The result has a context [`EFFECTIVE`], and the name
/// of the context it came from is for messages. None: there is no file, so an in-cluster account has to do.
pub(crate) fn load(
    files: &Files,
    flags: &ConnectionFlags,
    meant: Meant,
) -> Result<(Option<Kubeconfig>, String), Error> {
    let mut merged = Kubeconfig::default();
    let mut found = false;
    for path in files.paths() {
        match Kubeconfig::read_from(path) {
            Ok(config) => {
                found = true;
                merged = merged.merge(config).map_err(|error| unusable(path, &error))?;
            }
            Err(kube::config::KubeconfigError::ReadConfig(source, _))
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                if matches!(files, Files::Explicit(_)) {
                    return Err(Error::NoKubeconfig { looked: files.looked() });
                }
            }
            Err(error) => return Err(unusable(path, &error)),
        }
    }
    if !found && flags.server.is_none() {
        return match env::var_os("KUBERNETES_SERVICE_HOST") {
            Some(_) => Ok((None, "in-cluster".to_owned())),
            None => Err(Error::NoKubeconfig { looked: files.looked() }),
        };
    }
    overlay(merged, flags, meant).map(|(config, context)| (Some(config), context))
}

fn unusable(path: &Path, error: &kube::config::KubeconfigError) -> Error {
    Error::Kubeconfig(format!("{}: {}", path.display(), super::explain::chain(error)))
}

/// Adds the context that the flags choose and change. Pure.
fn overlay(
    mut config: Kubeconfig,
    flags: &ConnectionFlags,
    meant: Meant,
) -> Result<(Kubeconfig, String), Error> {
    let mut wanted =
        flags.context.as_ref().or(config.current_context.as_ref()).filter(|name| !name.is_empty()).cloned();
    let chosen =
        [&flags.context, &flags.server, &flags.cluster, &flags.user].iter().any(|flag| flag.is_some());
    if meant == Meant::Host && !chosen {
        wanted = wanted.map(|name| host_of(&config, &name).unwrap_or(name));
    }
    let mut context = Context::default();
    match &wanted {
        Some(name) => {
            let named = config.contexts.iter().find(|named| &named.name == name);
            context = named.and_then(|named| named.context.clone()).ok_or_else(|| {
                let known: Vec<&str> = config.contexts.iter().map(|named| named.name.as_str()).collect();
                Error::Kubeconfig(format!("no context \"{name}\" (known: {})", known.join(", ")))
            })?;
        }
        None if flags.server.is_none() && flags.cluster.is_none() => {
            return Err(Error::Kubeconfig(
                "no current context is set; choose one with --context NAME".to_owned(),
            ));
        }
        None => {}
    }

    let cluster_name = flags.cluster.clone().unwrap_or_else(|| context.cluster.clone());
    let found = config.clusters.iter().find(|named| named.name == cluster_name);
    let mut cluster = match (found.and_then(|named| named.cluster.clone()), &flags.server) {
        (Some(cluster), _) => cluster,
        (None, Some(_)) if flags.cluster.is_none() => kube::config::Cluster::default(),
        (None, _) => return Err(Error::Kubeconfig(format!("no cluster \"{cluster_name}\""))),
    };
    if let Some(server) = &flags.server {
        cluster.server =
            Some(if server.contains("://") { server.clone() } else { format!("https://{server}") });
    }
    if let Some(path) = &flags.certificate_authority {
        cluster.certificate_authority = Some(path.display().to_string());
        cluster.certificate_authority_data = None;
        cluster.insecure_skip_tls_verify = None;
    }
    if flags.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(true);
        cluster.certificate_authority = None;
        cluster.certificate_authority_data = None;
    }
    if let Some(name) = &flags.tls_server_name {
        cluster.tls_server_name = Some(name.clone());
    }

    let user_name = flags.user.clone().or_else(|| context.user.clone()).unwrap_or_default();
    let found = config.auth_infos.iter().find(|named| named.name == user_name);
    let mut user = found.and_then(|named| named.auth_info.clone()).unwrap_or_default();
    if flags.user.is_some() && found.is_none() {
        return Err(Error::Kubeconfig(format!("no user \"{user_name}\"")));
    }
    if let Some(token) = &flags.token {
        user.token = Some(token.clone().into());
        (user.token_file, user.exec, user.auth_provider) = (None, None, None);
        (user.username, user.password) = (None, None);
    }
    if let Some(path) = &flags.client_certificate {
        user.client_certificate = Some(path.display().to_string());
        user.client_certificate_data = None;
    }
    if let Some(path) = &flags.client_key {
        user.client_key = Some(path.display().to_string());
        user.client_key_data = None;
    }
    if let Some(name) = &flags.impersonate {
        user.impersonate = Some(name.clone());
    }
    if !flags.impersonate_groups.is_empty() {
        user.impersonate_groups = Some(flags.impersonate_groups.clone());
    }
    if let Some(uid) = &flags.impersonate_uid {
        user.impersonate_uid = Some(uid.clone());
    }
    if user.impersonate.is_none() && (user.impersonate_groups.is_some() || user.impersonate_uid.is_some()) {
        return Err(Error::usage("--as-group and --as-uid need --as"));
    }

    EFFECTIVE.clone_into(&mut context.cluster);
    context.user = Some(EFFECTIVE.to_owned());
    let name = EFFECTIVE.to_owned();
    config.clusters.insert(
        0,
        NamedCluster { name: name.clone(), cluster: Some(cluster), other: std::collections::BTreeMap::new() },
    );
    config.auth_infos.insert(
        0,
        NamedAuthInfo { name: name.clone(), auth_info: Some(user), other: std::collections::BTreeMap::new() },
    );
    config
        .contexts
        .insert(0, NamedContext { name, context: Some(context), other: std::collections::BTreeMap::new() });
    Ok((config, wanted.unwrap_or_else(|| "none".to_owned())))
}

/// The context of the host, if `name` is a cluster of ours whose host is still reached by the context that it was
/// made through.
fn host_of(config: &Kubeconfig, name: &str) -> Option<String> {
    let context = |name: &str| config.contexts.iter().find(|named| named.name == name)?.context.as_ref();
    let origin = Origin::of(context(name)?)?;
    let host = context(&origin.host_context)?;
    let cluster = config.clusters.iter().find(|named| named.name == host.cluster)?.cluster.as_ref()?;
    let same = cluster.server.as_deref()?.trim_end_matches('/') == origin.host;
    same.then_some(origin.host_context)
}

/// Forgets a proxy from the environment when `NO_PROXY` names the host: the library compares `NO_PROXY` with the
/// proxy's own address.
pub(crate) fn respect_no_proxy(config: &mut Config) {
    let list = env::var("NO_PROXY").or_else(|_| env::var("no_proxy")).unwrap_or_default();
    if config.proxy_url.is_some() && config.cluster_url.host().is_some_and(|host| bypasses(&list, host)) {
        config.proxy_url = None;
    }
}

/// Whether `NO_PROXY` names the host: by name, by domain, by address or by range.
fn bypasses(list: &str, host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
    let address: Option<std::net::IpAddr> = host.parse().ok();
    if host == "localhost" || address.is_some_and(|address| address.is_loopback()) {
        return true;
    }
    list.split(',').map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" || entry == host {
            return true;
        }
        if let (Some(address), Some((network, bits))) = (address, entry.split_once('/')) {
            return within(address, network, bits);
        }
        let domain = entry.trim_start_matches('.');
        address.is_none() && host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    })
}

fn within(address: std::net::IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<std::net::IpAddr>(), bits.parse::<u32>()) else {
        return false;
    };
    let prefix = |address: std::net::IpAddr| match address {
        std::net::IpAddr::V4(address) => (u128::from(u32::from(address)) << 96, 32),
        std::net::IpAddr::V6(address) => (u128::from(address), 128),
    };
    let ((address, width), (network, network_width)) = (prefix(address), prefix(network));
    let mask = if bits == 0 { 0 } else { u128::MAX.checked_shl(128 - bits.min(128)).unwrap_or(0) };
    width == network_width && bits <= width && address & mask == network & mask
}

/// The current context of the merged files: the first file that sets one wins.
pub(crate) fn current_context(files: &Files) -> Option<String> {
    files
        .paths()
        .iter()
        .find_map(|path| Kubeconfig::read_from(path).ok()?.current_context.filter(|name| !name.is_empty()))
}

/// `namespace/name` of the cluster that the current context is of, if we added it.
pub(crate) fn current_cluster(files: &Files) -> Option<String> {
    let current = current_context(files)?;
    files.paths().iter().find_map(|path| {
        let config = Kubeconfig::read_from(path).ok()?;
        let named = config.contexts.iter().find(|named| named.name == current)?;
        Origin::of(named.context.as_ref()?).map(|origin| origin.cluster)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const TWO: &str = r#"
current-context: a
clusters:
- {name: ca, cluster: {server: "https://a:6443", certificate-authority-data: QQ==}}
- {name: cb, cluster: {server: "https://b:6443"}}
users:
- {name: ua, user: {token: secret, exec: {command: x}}}
contexts:
- {name: a, context: {cluster: ca, user: ua, namespace: na}}
- {name: b, context: {cluster: cb, user: missing}}
"#;

    fn with(
        flags: &ConnectionFlags,
    ) -> Result<(kube::config::Cluster, kube::config::AuthInfo, String), Error> {
        let (config, name) = overlay(Kubeconfig::from_yaml(TWO).expect("kubeconfig"), flags, Meant::Host)?;
        let cluster = config.clusters[0].cluster.clone().expect("cluster");
        Ok((cluster, config.auth_infos[0].auth_info.clone().expect("user"), name))
    }

    #[test]
    fn flags_win_over_the_context() {
        let flags = ConnectionFlags {
            server: Some("c:6443".into()),
            insecure_skip_tls_verify: true,
            token: Some("t".into()),
            impersonate: Some("jane".into()),
            ..ConnectionFlags::default()
        };
        let (cluster, user, name) = with(&flags).expect("overlay");
        assert_eq!((cluster.server.as_deref(), name.as_str()), (Some("https://c:6443"), "a"));
        assert!(cluster.certificate_authority_data.is_none() && user.exec.is_none());
        assert_eq!(user.impersonate.as_deref(), Some("jane"));
    }

    #[test]
    fn a_cluster_of_ours_stands_for_its_host() {
        let ours = |host: &str| {
            Kubeconfig::from_yaml(&format!(
                "{TWO}\n- name: k3k-dev\n  context: {{cluster: cb, extensions: [{{name: k3k.io, extension: \
                 {{clusterUID: u, cluster: n/dev, host: \"{host}\", hostContext: a}}}}]}}\n"
            ))
            .map(|mut config| {
                config.current_context = Some("k3k-dev".into());
                config
            })
            .expect("kubeconfig")
        };
        let name = |config: Kubeconfig, flags: &ConnectionFlags, meant| {
            overlay(config, flags, meant).expect("overlay").1
        };
        let none = ConnectionFlags::default();
        assert_eq!(name(ours("https://a:6443"), &none, Meant::Host), "a");
        assert_eq!(name(ours("https://a:6443"), &none, Meant::Current), "k3k-dev");
        assert_eq!(
            name(ours("https://other:6443"), &none, Meant::Host),
            "k3k-dev",
            "the context has moved on"
        );
        let chosen = ConnectionFlags { context: Some("k3k-dev".into()), ..ConnectionFlags::default() };
        assert_eq!(name(ours("https://a:6443"), &chosen, Meant::Host), "k3k-dev");
    }

    #[test]
    fn a_context_or_cluster_can_be_chosen() {
        let (cluster, _, name) =
            with(&ConnectionFlags { context: Some("b".into()), ..ConnectionFlags::default() })
                .expect("overlay");
        assert_eq!((cluster.server.as_deref(), name.as_str()), (Some("https://b:6443"), "b"));
        let (cluster, user, _) =
            with(&ConnectionFlags { cluster: Some("cb".into()), ..ConnectionFlags::default() })
                .expect("overlay");
        assert!(cluster.server.as_deref() == Some("https://b:6443") && user.exec.is_some());
    }

    #[rstest]
    #[case(ConnectionFlags { context: Some("x".into()), ..ConnectionFlags::default() }, "no context \"x\" (known: a, b)")]
    #[case(ConnectionFlags { cluster: Some("x".into()), ..ConnectionFlags::default() }, "no cluster \"x\"")]
    #[case(ConnectionFlags { user: Some("x".into()), ..ConnectionFlags::default() }, "no user \"x\"")]
    #[case(ConnectionFlags { impersonate_groups: vec!["g".into()], ..ConnectionFlags::default() }, "need --as")]
    fn what_does_not_exist_is_named(#[case] flags: ConnectionFlags, #[case] want: &str) {
        let error = with(&flags).expect_err("refused").to_string();
        assert!(error.contains(want), "{error}");
    }

    #[rstest]
    #[case("", "10.0.0.1", false)]
    #[case("", "127.0.0.1", true)]
    #[case("10.0.0.0/8", "10.1.2.3", true)]
    #[case("10.0.0.0/8", "11.1.2.3", false)]
    #[case("fd00::/8", "[fd00::1]", true)]
    #[case("0.0.0.0/0", "11.1.2.3", true)]
    #[case(".example.com, other", "api.example.com", true)]
    #[case("example.com", "notexample.com", false)]
    #[case("*", "api", true)]
    fn no_proxy_is_respected(#[case] list: &str, #[case] host: &str, #[case] want: bool) {
        assert_eq!(bypasses(list, host), want);
    }
}
