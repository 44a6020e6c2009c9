//! `join`: what a worker outside runs. It only reads: the token and the address are the controller's.

use super::create::{namespaced, short};
use crate::cli::{ConnectionFlags, JoinArgs};
use crate::clusters::{self, Target};
use crate::connect::Connection;
use crate::error::{Action, Error, Exit};
use crate::merge;
use crate::output::object;
use crate::output::terminal::Terminal;
use k3k_api::conditions::{self, EXPOSED, READY};
use k3k_api::names::ClusterNames;
use k3k_api::v1beta1::{Cluster, Mode};
use k3k_api::version::K3sVersion;
use k8s_openapi::api::core::v1::Secret;
use serde_json::{Value, json};
use std::path::Path;

/// Key of the token in its Secret.
const KEY: &str = "token";
/// Where the worker has the token.
const TOKEN_FILE: &str = "/etc/rancher/k3s-token";
/// What installs K3s.
const INSTALLER: &str = "https://get.k3s.io";

/// Runs `join`.
pub(super) async fn run(
    args: &JoinArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let target = Target::parse(&args.name, flags.namespace.as_deref())?;
    let (connection, cluster) = clusters::named(&target, flags, terminal).await?;
    let plan = Plan::of(&cluster)?;
    let needs_token = args.token_file.is_some() || args.show_token;
    let token = if needs_token { Some(token(&connection, &plan).await?) } else { None };
    match (args.token_file.as_deref(), &token) {
        (Some(path), Some(token)) if path == Path::new("-") => {
            terminal.data(&format!("{token}\n"))?;
            return Ok(Exit::Done);
        }
        (Some(path), Some(token)) => {
            merge::write_private(path, &format!("{token}\n"))?;
            terminal.note(&format!("The token is in {}, which only you may read.", path.display()));
        }
        _ => {}
    }
    let shown = token.as_deref().filter(|_| args.show_token);
    let text = match args.output {
        Some(format) => object::document_text(format.into(), &plan.document(shown))?,
        None => plan.text(shown, args.token_file.as_deref()),
    };
    terminal.data(&text)?;
    Ok(Exit::Done)
}

/// The workers' token.
async fn token(connection: &Connection, plan: &Plan) -> Result<String, Error> {
    let secret = ClusterNames(&plan.name).agent_config();
    let found =
        namespaced::<Secret>(connection, &plan.namespace).get_opt(&secret).await.map_err(|error| {
            connection.explain(Action::new("get", "secrets").on(&secret).within(&plan.namespace), &error)
        })?;
    let data = found.and_then(|secret| secret.data?.remove(KEY));
    let token = data.and_then(|data| String::from_utf8(data.0).ok()).map(|token| token.trim().to_owned());
    token.filter(|token| !token.is_empty()).ok_or_else(|| Error::State {
        message: format!("cluster \"{}\" has no token for workers yet (Secret \"{secret}\")", plan.name),
        notes: vec![("look", format!("kubectl k3k describe {}", plan.short()))],
    })
}

/// How a worker joins.
#[derive(Debug)]
struct Plan {
    name: String,
    namespace: String,
    url: String,
    /// None if the image's tag does not say.
    version: Option<String>,
}

impl Plan {
    /// Reads it from the Cluster, or says what is missing.
    fn of(cluster: &Cluster) -> Result<Self, Error> {
        let name = cluster.metadata.name.clone().unwrap_or_default();
        let namespace = cluster.metadata.namespace.clone().unwrap_or_default();
        let shorter = short(&name, &namespace);
        let look = ("look", format!("kubectl k3k describe {shorter}"));
        let state = |message: String, notes| Err(Error::State { message, notes });
        match cluster.spec.mode() {
            Mode::Hcp => {}
            Mode::Shared => {
                let message = format!(
                    "cluster \"{name}\" is in mode shared: its pods run on the host, and no worker joins"
                );
                return state(
                    message,
                    vec![("try", "kubectl k3k create NAME --mode hcp --expose nodeport".to_owned())],
                );
            }
            Mode::Virtual => {
                let message =
                    format!("cluster \"{name}\" is in mode virtual: its workers are pods of the host");
                let patch = "{\"spec\":{\"agents\":N}}";
                return state(
                    message,
                    vec![(
                        "try",
                        format!(
                            "kubectl -n {namespace} patch clusters.k3k.io {name} --type=merge -p '{patch}'"
                        ),
                    )],
                );
            }
        }
        let status = cluster.status.clone().unwrap_or_default();
        let condition = |kind| conditions::find(&status.conditions, kind);
        if condition(READY).is_none_or(|ready| ready.status != "True") {
            let why = condition(READY).map_or_else(String::new, |ready| format!(": {}", ready.message));
            return state(format!("cluster \"{name}\" is not ready{why}"), vec![look]);
        }
        match condition(EXPOSED) {
            Some(exposed) if exposed.status == "True" => {}
            Some(exposed) => {
                let message =
                    format!("cluster \"{name}\" is not reached from outside yet: {}", exposed.message);
                return state(message, vec![look]);
            }
            None => {
                let message = format!("cluster \"{name}\" is not exposed: workers outside cannot reach it");
                return state(message, vec![("try", expose(&name, &namespace))]);
            }
        }
        let Some(url) = status.endpoint else {
            return state(format!("cluster \"{name}\" has no address yet"), vec![look]);
        };
        let version = status.version.as_deref().and_then(|version| version.parse::<K3sVersion>().ok());
        Ok(Self { name, namespace, url, version: version.map(|version| version.to_string()) })
    }

    fn short(&self) -> String {
        short(&self.name, &self.namespace)
    }

    /// What K3s' installer is told.
    fn environment(&self) -> Vec<(&'static str, &str)> {
        let version = self.version.as_deref().map(|version| ("INSTALL_K3S_VERSION", version));
        version.into_iter().chain([("K3S_URL", self.url.as_str()), ("K3S_TOKEN_FILE", TOKEN_FILE)]).collect()
    }

    fn install(&self) -> String {
        let environment: Vec<String> =
            self.environment().into_iter().map(|(name, value)| format!("{name}={}", quoted(value))).collect();
        format!("curl -sfL {INSTALLER} | {} sh -s - agent", environment.join(" "))
    }

    /// For programs.
    fn document(&self, token: Option<&str>) -> Value {
        let environment: serde_json::Map<String, Value> =
            self.environment().into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        let mut document = json!({
            "cluster": format!("{}/{}", self.namespace, self.name),
            "url": self.url,
            "tokenFile": TOKEN_FILE,
            "environment": environment,
            "arguments": ["agent"],
            "install": self.install(),
        });
        if let Some(version) = &self.version {
            document["version"] = version.as_str().into();
        }
        if let Some(token) = token {
            document["token"] = token.into();
        }
        document
    }

    /// For people. `written` is where the token has been put.
    fn text(&self, token: Option<&str>, written: Option<&Path>) -> String {
        let short = self.short();
        let store = format!("umask 077; mkdir -p /etc/rancher; cat >{TOKEN_FILE}");
        let first = match (token, written) {
            (Some(token), _) => {
                format!(
                    "# 1. On the worker, as root: the token, in a file that only root may read.\n{store} <<'EOF'\n{token}\nEOF\n"
                )
            }
            (None, Some(path)) => format!(
                "# 1. From here, by whatever way leads to the worker: the token, into a file that only root may read.\n\
                 ssh root@WORKER '{store}' <{}\n",
                quoted(&path.to_string_lossy())
            ),
            (None, None) => format!(
                "# 1. From here, by whatever way leads to the worker: the token, into a file that only root may read.\n\
                 kubectl k3k join {short} --token-file - | ssh root@WORKER '{store}'\n"
            ),
        };
        format!(
            "# How a worker joins {short} at {}\n\n{first}\n# 2. On the worker, as root: K3s{}.\n{}\n\n# 3. From here: whether it has come.\n\
             kubectl k3k kubectl {short} -- get nodes\n",
            self.url,
            self.version
                .as_ref()
                .map_or_else(String::new, |version| format!(" {version}, which the servers run")),
            self.install(),
        )
    }
}

/// The command that shows how a worker joins.
pub(super) fn command(short: &str) -> String {
    format!("kubectl k3k join {short}")
}

/// What to do for workers of a cluster in mode hcp.
pub(super) fn next(cluster: &Cluster) -> String {
    let name = cluster.metadata.name.as_deref().unwrap_or_default();
    let namespace = cluster.metadata.namespace.as_deref().unwrap_or_default();
    let conditions = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    match conditions::find(conditions, EXPOSED) {
        Some(_) => format!("join from outside: {}", command(&short(name, namespace))),
        None => format!("cannot reach it until it is exposed: {}", expose(name, namespace)),
    }
}

fn expose(name: &str, namespace: &str) -> String {
    let patch = r#"{"spec":{"expose":{"nodePort":{}}}}"#;
    format!("kubectl -n {namespace} patch clusters.k3k.io {name} --type=merge -p '{patch}'")
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:+,@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell_where_they_must_be() {
        for (word, want) in [
            ("https://10.0.0.1:31234", "https://10.0.0.1:31234"),
            ("v1.36.3+k3s1", "v1.36.3+k3s1"),
            ("https://[2001:db8::1]:31234", "'https://[2001:db8::1]:31234'"),
            ("it's", r"'it'\''s'"),
            ("$(x)", "'$(x)'"),
            ("", "''"),
        ] {
            assert_eq!(quoted(word), want);
        }
    }
}
