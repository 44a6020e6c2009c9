//! Manifests: the examples, and objects with every field there is.

use crate::{apply, server};
use anyhow::{Context, Result, ensure};
use k3k_api::v1beta1::{Cluster, VirtualClusterPolicy};
use k3k_tests::{in_namespace, workspace};
use rstest::rstest;
use serde_json::Value;
use std::fs;
use std::path::Path;

fn read(path: &Path) -> Result<Value> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("parsing {}", path.display()))
}

/// Whether all of `part` is found in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|found| contains(found, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        _ => whole == part,
    }
}

#[rstest]
#[case("manifests/examples/shared-single-server.yaml")]
#[case("manifests/examples/shared-multiple-servers.yaml")]
#[case("manifests/examples/virtual-server.yaml")]
#[case("manifests/examples/hcp-server.yaml")]
#[case("manifests/examples/virtualclusterpolicy.yaml")]
#[case("manifests/examples/policy-shared-nodes.yaml")]
#[case("manifests/examples/policy-exclusive-nodes.yaml")]
#[case("tests/tests/data/cluster-every-field.yaml")]
#[case("tests/tests/data/policy-every-field.yaml")]
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn manifests_apply_unchanged_and_come_back_whole(#[case] file: &str) -> Result<()> {
    let client = server().await?.client().await?;
    in_namespace(&client, async |namespace| {
        let manifest = read(&workspace::path(file))?;
        let stored = apply(&client, namespace, &manifest).await?;
        ensure!(contains(&stored["spec"], &manifest["spec"]), "something is lost: {}", stored["spec"]);

        // Through the Rust types and back: what the API server stores is what they read and write.
        let typed = if manifest["kind"] == "Cluster" {
            serde_json::to_value(serde_json::from_value::<Cluster>(stored.clone())?)?
        } else {
            serde_json::to_value(serde_json::from_value::<VirtualClusterPolicy>(stored.clone())?)?
        };
        assert_eq!(typed["spec"], stored["spec"]);
        if manifest["kind"] == "VirtualClusterPolicy" {
            k3k_policy::read_policy(&stored).context("the webhook would not understand it")?;
        }

        // Again, as people do. (The resource version moves once: the default of `status` is stored with the first update.)
        let again = apply(&client, namespace, &manifest).await?;
        assert_eq!(again["metadata"]["generation"], stored["metadata"]["generation"]);
        Ok(())
    })
    .await
}

#[test]
fn every_example_is_tried_here() -> Result<()> {
    let this = fs::read_to_string(workspace::path("tests/tests/crd_api/manifests.rs"))?;
    for entry in fs::read_dir(workspace::path("manifests/examples"))? {
        let name = entry?.file_name().into_string().unwrap();
        ensure!(this.contains(&format!("manifests/examples/{name}")), "{name} is not");
    }
    Ok(())
}

/// Keeps the test above honest when a field is added.
#[test]
fn the_objects_with_every_field_have_every_field() -> Result<()> {
    let files = ["tests/tests/data/cluster-every-field.yaml", "tests/tests/data/policy-every-field.yaml"];
    for (crd, file) in k3k_api::crds().iter().zip(files) {
        let manifest = read(&workspace::path(file))?;
        let schema = serde_json::to_value(&crd.spec.versions[0].schema)?;
        missing(&schema["openAPIV3Schema"]["properties"]["spec"], &manifest["spec"], "spec")
            .map_or(Ok(()), |field| Err(anyhow::anyhow!("{file} lacks {field}")))?;
    }
    Ok(())
}

/// The first property of our own types that `value` does not have. Kubernetes' types and either-ors are not followed.
fn missing(schema: &Value, value: &Value, path: &str) -> Option<String> {
    const NOT_FOLLOWED: [&str; 9] = [
        "expose",
        "serverResources",
        "workerResources",
        "quota",
        "limit",
        "serverEnvs",
        "agentEnvs",
        "podSecurityContext",
        "securityContext",
    ];
    let properties = schema["properties"].as_object()?;
    properties.iter().find_map(|(name, schema)| {
        let path = format!("{path}.{name}");
        let Some(value) = value.get(name) else { return Some(path) };
        let followed = !NOT_FOLLOWED.contains(&name.as_str()) && !name.ends_with("Affinity");
        let (schema, value) = if value.is_array() { (&schema["items"], &value[0]) } else { (schema, value) };
        if followed { missing(schema, value, &path) } else { None }
    })
}
