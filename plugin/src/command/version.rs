//! `version`: what talks to what.

use super::host;
use crate::cli::{ConnectionFlags, VersionArgs};
use crate::connect;
use crate::error::{Error, Exit};
use crate::install::NAMESPACE;
use crate::output::object;
use crate::output::terminal::Terminal;
use k3k_api::version::K3sVersion;
use k8s_openapi::api::apps::v1::Deployment;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// The plugin's version.
const CLIENT: &str = concat!("v", env!("CARGO_PKG_VERSION"));
/// The API it speaks.
const API: &str = "k3k.io/v1beta1";

/// Runs `version`.
pub(super) async fn run(
    args: &VersionArgs,
    flags: &ConnectionFlags,
    terminal: &Terminal,
) -> Result<Exit, Error> {
    let mut document = json!({ "client": CLIENT, "api": API });
    let mut failure = None;
    if !args.client {
        match ask(flags, terminal).await {
            Ok(host) => document["host"] = host,
            Err(error) => failure = Some(error),
        }
    }
    let text = match args.output {
        Some(format) => object::document_text(format.into(), &document)?,
        None => page(&document),
    };
    terminal.data(&text)?;
    // What is known was printed; that the host does not answer is an error all the same.
    failure.map_or(Ok(Exit::Done), Err)
}

async fn ask(flags: &ConnectionFlags, terminal: &Terminal) -> Result<Value, Error> {
    let connection = connect::connect(flags, terminal).await?;
    let kubernetes = host::version(&connection).await?;
    let namespace = flags.namespace.as_deref().unwrap_or(NAMESPACE);
    let controller = host::controller(&connection, namespace).await?;
    let k3s = default_k3s(&kubernetes);
    Ok(json!({
        "context": connection.context,
        "kubernetes": kubernetes,
        "namespace": namespace,
        "controller": controller.as_ref().and_then(image_version),
        "defaultK3s": k3s,
    }))
}

/// The K3s that a cluster without a version gets: the host's Kubernetes.
fn default_k3s(kubernetes: &str) -> Option<String> {
    let plain = kubernetes.split(['+', '-']).next()?;
    format!("{plain}-k3s1").parse::<K3sVersion>().ok().map(|version| version.tag())
}

/// The tag of the controller's image.
fn image_version(deployment: &Deployment) -> Option<String> {
    let image = deployment.spec.as_ref()?.template.spec.as_ref()?.containers.first()?.image.as_deref()?;
    let name = image.split('@').next().unwrap_or(image);
    match name.rsplit_once(':') {
        Some((_, tag)) if !tag.contains('/') => Some(tag.to_owned()),
        _ => Some("latest".to_owned()),
    }
}

fn page(document: &Value) -> String {
    let mut text = format!("Client       {CLIENT}\n");
    if let Some(host) = document.get("host") {
        let field = |key: &str| host[key].as_str();
        let place = format!(
            "({}, context {})",
            field("namespace").unwrap_or_default(),
            field("context").unwrap_or_default()
        );
        let controller = field("controller").unwrap_or("not installed");
        let _ = writeln!(text, "Controller   {controller}   {place}");
        let _ = writeln!(text, "Kubernetes   {}", field("kubernetes").unwrap_or_default());
        if let Some(k3s) = field("defaultK3s") {
            let _ = writeln!(text, "K3s          default {k3s}");
        }
    }
    let _ = writeln!(text, "API          {API}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_k3s_is_the_hosts_kubernetes() {
        assert_eq!(default_k3s("v1.36.3+k3s1").as_deref(), Some("v1.36.3-k3s1"));
        assert_eq!(default_k3s("v1.35.2-gke.100").as_deref(), Some("v1.35.2-k3s1"));
        assert_eq!(default_k3s("unknown"), None);
    }

    #[test]
    fn the_controllers_version_is_its_images_tag() {
        let deployment = |image: &str| -> Deployment {
            serde_json::from_value(json!({"spec": {"selector": {}, "template": {"spec": {
                "containers": [{"name": "c", "image": image}]}}}}))
            .expect("deployment")
        };
        for (image, want) in
            [("reg:5000/k3k:0.1.0", "0.1.0"), ("reg:5000/k3k", "latest"), ("k3k:1@sha256:00", "1")]
        {
            assert_eq!(image_version(&deployment(image)).as_deref(), Some(want));
        }
    }

    #[test]
    fn the_page_has_a_line_per_part() {
        let document = json!({"host": {"context": "prod", "kubernetes": "v1.36.3", "namespace": "k3k-system",
            "controller": "0.1.0", "defaultK3s": "v1.36.3-k3s1"}});
        insta::assert_snapshot!(page(&document).replace(CLIENT, "vX.Y.Z"));
    }
}
