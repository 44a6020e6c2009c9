//! `kubeconfig get`, `merge`, `remove`, and the entry that `create` adds.

use super::create::{namespaced, short};
use crate::cli::{
    ConnectionFlags, KubeconfigGetArgs, KubeconfigMergeArgs, KubeconfigRemoveArgs, LegacyGenerate,
};
use crate::clusters::{self, Target};
use crate::connect::{self, Connection};
use crate::error::{Action, Error, Exit};
use crate::merge::{self, Entry, Origin};
use crate::output::object;
use crate::output::terminal::Terminal;
use k3k_api::names::ClusterNames;
use k8s_openapi::api::core::v1::Secret;
use std::path::{Path, PathBuf};

/// Key of the kubeconfig in its Secret.
const KEY: &str = "kubeconfig.yaml";

/// Runs `kubeconfig get`.
pub(super) async fn get(
    args: &KubeconfigGetArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let connection = connect::connect(flags, terminal).await?;
    let entry = entry(&connection, &target, args.kubeconfig_server.as_deref(), None).await?;
    terminal.data(&text(&entry)?)?;
    Ok(Exit::Done)
}

/// Runs `kubeconfig merge`.
pub(super) async fn merge(
    args: &KubeconfigMergeArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let connection = connect::connect(flags, terminal).await?;
    let entry =
        entry(&connection, &target, args.kubeconfig_server.as_deref(), args.context_name.as_deref()).await?;
    let options = merge::Options { switch: args.switch, overwrite: args.overwrite };
    let merged = match &args.output {
        Some(path) => merge::add_to(path, &entry, options),
        None => merge::add(&connection.files, &entry, options),
    }
    .map_err(|error| match error {
        merge::Error::Taken { .. } => Error::State {
            message: error.to_string(),
            notes: vec![
                ("try", "another name, with --context-name NAME".to_owned()),
                ("or", "--overwrite, which replaces it".to_owned()),
            ],
        },
        error => error.into(),
    })?;
    let path = shown(&merged.path);
    let verb = if merged.changed { "is in" } else { "was already in" };
    terminal.note(&format!("Context \"{}\" {verb} {path}.", entry.name));
    if let Some(previous) = merged.previous {
        terminal.note(&format!("Switched to it (was \"{previous}\")."));
    }
    Ok(Exit::Done)
}

/// Runs `kubeconfig remove`. The cluster need not exist any more, and the host need not answer.
pub(super) async fn remove(
    args: &KubeconfigRemoveArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let connection = connect::connect(flags, terminal).await?;
    let references: Vec<String> = target
        .candidates(&connection.context_namespace)
        .iter()
        .map(|namespace| format!("{namespace}/{}", target.name))
        .collect();
    let removed = merge::remove(&connection.files, |origin| {
        origin.host == connection.server && references.contains(&origin.cluster)
    })?;
    if removed.is_empty() {
        terminal.note(&format!("Nothing in your kubeconfig was added for {}.", references.join(" or ")));
    }
    tell_removed(&removed, |line| terminal.note(line));
    Ok(Exit::Done)
}

/// Runs `kubeconfig generate`.
pub(super) async fn generate(
    args: &LegacyGenerate,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let name = args.name.as_deref().or(args.legacy_name.as_deref()).unwrap_or_default();
    let target = Target::parse(name, flags.namespace.as_deref())?;
    let connection = connect::connect(flags, terminal).await?;
    let entry = entry(&connection, &target, args.kubeconfig_server.as_deref(), None).await?;
    let file = args.config_name.clone().unwrap_or_else(|| {
        PathBuf::from(format!("{}-kubeconfig.yaml", entry.origin.cluster.replace('/', "-")))
    });
    merge::write_private(&file, &text(&entry)?)?;
    terminal.note("You can start using the cluster with:\n");
    terminal.note(&format!("\texport KUBECONFIG={}", std::path::absolute(&file).unwrap_or(file).display()));
    terminal.note("\tkubectl cluster-info");
    Ok(Exit::Done)
}

/// What `merge::remove` did, a line per file and one for the context that is current now.
pub(super) fn tell_removed(removed: &[merge::Removed], tell: impl Fn(&str)) {
    for removed in removed {
        let plural = if removed.contexts.len() == 1 { "Context" } else { "Contexts" };
        let back = match &removed.current {
            merge::Current::Back(previous) => format!("; back on \"{previous}\""),
            merge::Current::None => "; no context is current now".to_owned(),
            merge::Current::Kept => String::new(),
        };
        let names: Vec<String> = removed.contexts.iter().map(|name| format!("\"{name}\"")).collect();
        tell(&format!("{plural} {} removed from {}{back}.", names.join(", "), shown(&removed.path)));
    }
}

/// The kubeconfig entry of a cluster: from its Secret, under the name `k3k-NAME` or the given one.
///
/// # Errors
/// What the host said, or [`Error::State`] if the cluster has no kubeconfig yet.
pub(super) async fn entry(
    connection: &Connection,
    target: &Target,
    server: Option<&str>,
    context_name: Option<&str>,
) -> Result<Entry, Error> {
    let cluster = clusters::find(connection, target).await?;
    if let Some(paused) = super::pause::hindrance(&cluster) {
        return Err(paused);
    }
    let metadata = &cluster["metadata"];
    let namespace = metadata["namespace"].as_str().unwrap_or_default();
    let names = ClusterNames(&target.name);
    let secret = names.kubeconfig();
    let found = namespaced::<Secret>(connection, namespace).get_opt(&secret).await.map_err(|error| {
        connection.explain(Action::new("get", "secrets").on(&secret).within(namespace), &error)
    })?;
    let data = found.and_then(|secret| secret.data?.remove(KEY));
    let text = data.and_then(|data| String::from_utf8(data.0).ok()).ok_or_else(|| Error::State {
        message: format!("cluster \"{}\" has no kubeconfig yet", target.name),
        notes: vec![("look", format!("kubectl k3k describe {}", short(&target.name, namespace)))],
    })?;
    let origin = Origin {
        uid: metadata["uid"].as_str().unwrap_or_default().to_owned(),
        cluster: format!("{namespace}/{}", target.name),
        host: connection.server.clone(),
        host_context: connection.context.clone(),
        previous_context: None,
    };
    let name = context_name.map_or_else(|| names.context(), str::to_owned);
    let server = server.map(url);
    Ok(Entry::from_source(&merge::parse(&text)?, &name, server.as_deref(), origin)?)
}

/// A kubeconfig with this entry alone, as text.
pub(super) fn text(entry: &Entry) -> Result<String, Error> {
    object::yaml(&entry.document()).map_err(Error::Kubeconfig)
}

/// A URL from a host, host:port or URL.
fn url(server: &str) -> String {
    if server.contains("://") {
        return server.to_owned();
    }
    match server.parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("https://[{address}]"),
        Err(_) => format!("https://{server}"),
    }
}

/// A path as people write it: with `~` for the home directory.
pub(super) fn shown(path: &Path) -> String {
    std::env::home_dir()
        .and_then(|home| path.strip_prefix(home).ok().map(|rest| format!("~/{}", rest.display())))
        .unwrap_or_else(|| path.display().to_string())
}

#[cfg(test)]
mod tests {
    #[test]
    fn servers_become_urls() {
        for (given, want) in [
            ("api.example.com", "https://api.example.com"),
            ("10.0.0.1:6443", "https://10.0.0.1:6443"),
            ("fd00::1", "https://[fd00::1]"),
            ("http://x", "http://x"),
        ] {
            assert_eq!(super::url(given), want);
        }
    }
}
