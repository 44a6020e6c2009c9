//! Policies: made, bound, shown, held against what runs, unbound, deleted.

use super::{Host, ended};
use anyhow::{Result, ensure};
use k3k_api::v1beta1::VirtualClusterPolicy;
use k3k_api::{labels, managers};
use kube::Api;
use serde_json::{Value, json};
use std::fs;

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn a_policy_from_its_creation_to_its_end() -> Result<()> {
    let host = Host::with_resources().await?;
    host.kubectl(&["wait", "--for=condition=Established", "crd/virtualclusterpolicies.k3k.io"])?;
    for namespace in ["team-a", "team-b"] {
        host.kubectl(&["create", "namespace", namespace])?;
    }
    let line = [
        "policy",
        "create",
        "gold",
        "--level=restricted",
        "--digest=require",
        "--quota=pods=10",
        "--labels=a=b",
    ];
    let dry = host.run(&[&line[..], &["--dry-run=server"]].concat())?;
    ended(&dry, 0, &[])?;
    ensure!(dry.stdout == "virtualclusterpolicy.k3k.io/gold created (server dry run)\n", "{dry:?}");
    ended(&host.run(&["policy", "get", "gold"])?, 1, &["policy \"gold\" not found"])?;

    ended(
        &host.run(&[&line[..], &["--namespace=team-a"]].concat())?,
        0,
        &["Pod Security Standard Restricted"],
    )?;
    let policies = Api::<VirtualClusterPolicy>::all(host.server.client().await?);
    let made = policies.get("gold").await?;
    ensure!(made.metadata.labels.iter().flatten().any(|(key, value)| key == "a" && value == "b"), "{made:?}");
    let writers: Vec<_> =
        made.metadata.managed_fields.iter().flatten().filter_map(|field| field.manager.clone()).collect();
    ensure!(writers == [managers::PLUGIN], "{writers:?}");
    ended(&host.run(&line)?, 1, &["policy \"gold\" already exists"])?;
    // Who may write but not read gets the same answer from the API server.
    host.kubectl(&[
        "create",
        "clusterrole",
        "writer",
        "--verb=create,patch",
        "--resource=virtualclusterpolicies.k3k.io",
    ])?;
    host.kubectl(&["create", "clusterrolebinding", "writer", "--clusterrole=writer", "--user=jane"])?;
    ended(&host.run(&[&line[..], &["--as=jane"]].concat())?, 1, &["policy \"gold\" already exists"])?;

    let ran = host.run(&["policy", "get"])?;
    ensure!(
        ran.stdout.contains("gold   shared   restricted   require   shared      1            0          -"),
        "{ran:?}"
    );
    ensure!(host.run(&["policy", "describe", "gold"])?.stdout.contains("team-a  0 clusters"));
    let object: Value = serde_json::from_str(&host.run(&["policy", "get", "gold", "-o", "json"])?.stdout)?;
    ensure!(
        object["metadata"].get("managedFields").is_none() && object["spec"]["quota"]["hard"]["pods"] == "10",
        "{object}"
    );

    // Binding moves one label and nothing else.
    ended(&host.run(&["policy", "create", "silver"])?, 0, &["kubectl k3k policy bind silver NAMESPACE"])?;
    ended(
        &host.run(&["policy", "bind", "silver", "team-b", "team-a"])?,
        1,
        &["is bound to policy \"gold\""],
    )?;
    ensure!(bound(&host, "team-b")?.is_empty(), "a refused command has bound a namespace");
    ended(&host.run(&["policy", "bind", "silver", "team-a", "--overwrite", "--dry-run=server"])?, 0, &[])?;
    ensure!(bound(&host, "team-a")? == "gold", "a dry run has bound a namespace");
    ended(&host.run(&["policy", "bind", "silver", "team-b"])?, 0, &["was governed by the default policy"])?;
    ended(&host.run(&["policy", "bind", "silver", "team-b", "--as=jane"])?, 1, &["not allowed"])?;
    ensure!(bound(&host, "team-b")? == "silver");

    ended(
        &host.run(&["policy", "delete", "gold", "--yes"])?,
        1,
        &["governs 1 namespace: \"team-a\"", "policy unbind team-a"],
    )?;
    ended(&host.run(&["policy", "unbind", "team-a", "team-b"])?, 0, &["default policy from now on"])?;
    ensure!(bound(&host, "team-a")?.is_empty() && bound(&host, "team-b")?.is_empty());
    ended(&host.run(&["policy", "delete", "gold", "silver", "--yes", "--dry-run=server"])?, 0, &[])?;
    ended(&host.run(&["policy", "delete", "gold", "silver", "--yes"])?, 0, &[])?;
    ensure!(host.kubectl(&["get", "virtualclusterpolicies.k3k.io", "-o", "name"])?.is_empty());
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn bad_policies_are_refused_and_leave_nothing() -> Result<()> {
    let host = Host::with_resources().await?;
    host.kubectl(&["wait", "--for=condition=Established", "crd/virtualclusterpolicies.k3k.io"])?;
    let file = host.kubeconfig.with_file_name("policy.yaml");
    let path = file.to_string_lossy().into_owned();
    for (spec, code, words) in [
        ("{unknown: 1}", 1, ".spec.unknown: field not declared in schema"),
        ("{images: {digest: Maybe}}", 2, "spec.images.digest: unknown variant `Maybe`"),
        ("{enforcement: {rules: [{name: guard.exec, mode: Warn}]}}", 2, "guard rules always hold"),
        ("{tenancy: {tenant: Team_A}}", 1, "spec.tenancy.tenant"),
        ("{resources: {perPod: {maxContainers: 0}}}", 1, "spec.resources.perPod.maxContainers"),
    ] {
        let manifest = format!(
            "apiVersion: k3k.io/v1beta1\nkind: VirtualClusterPolicy\nmetadata: {{name: bad}}\nspec: {spec}\n"
        );
        fs::write(&file, manifest)?;
        for how in [&[][..], &["--dry-run=server"]] {
            let ran = host.run(&[&["policy", "create", "-f", &path], how].concat())?;
            ended(&ran, code, &[words])?;
            ensure!(ran.stdout.is_empty(), "{spec}: {}", ran.stdout);
        }
    }
    ensure!(host.kubectl(&["get", "virtualclusterpolicies.k3k.io", "-o", "name"])?.is_empty());
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s and kubectl-k3k: make test"]
async fn what_runs_is_held_against_the_policy() -> Result<()> {
    let host = Host::with_resources().await?;
    host.kubectl(&["wait", "--for=condition=Established", "crd/virtualclusterpolicies.k3k.io"])?;
    host.kubectl(&["create", "namespace", "team-a"])?;
    let line =
        ["policy", "create", "gold", "--level=baseline", "--service-type=ClusterIP", "--namespace=team-a"];
    ended(&host.run(&line)?, 0, &[])?;
    ended(&host.run(&["policy", "audit"])?, 0, &["would be denied now"])?;

    // Nobody runs it here: the API server has it, and that is enough.
    host.kubectl(&["create", "serviceaccount", "default", "-n", "team-a"])?;
    let manifests = host.kubeconfig.with_file_name("bad.json");
    let copy = |kind: &str, name: &str, spec: Value| {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": "team-a",
            "labels": {labels::CLUSTER_NAME: "dev"}, "annotations": {labels::VIRTUAL_NAME: name, labels::VIRTUAL_NAMESPACE: "shop"}}, "spec": spec})
    };
    let container = json!([{"name": "a", "image": "registry.example/a:1"}]);
    let mut items = vec![
        copy("Pod", "fine", json!({"automountServiceAccountToken": false, "containers": container})),
        copy(
            "Pod",
            "bad",
            json!({"automountServiceAccountToken": false, "hostNetwork": true, "containers": container}),
        ),
        copy("Service", "open", json!({"type": "NodePort", "ports": [{"port": 80}]})),
    ];
    let policy_of_mode = json!({"apiVersion": "k3k.io/v1beta1", "kind": "Cluster", "metadata": {"name": "dev", "namespace": "team-a"}, "spec": {"mode": "virtual"}});
    items.push(policy_of_mode);
    fs::write(&manifests, json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string())?;
    host.kubectl(&["apply", "-f", &manifests.to_string_lossy()])?;

    let before = host.kubectl(&[
        "get",
        "pods,services",
        "-n",
        "team-a",
        "-o",
        "jsonpath={.items[*].metadata.resourceVersion}",
    ])?;
    let ran = host.run(&["policy", "audit", "gold"])?;
    ended(&ran, 1, &["4 objects in 1 namespace: 3 would be denied now"])?;
    for words in [
        "pod/bad",
        "podSecurity.hostNamespaces",
        "service/open",
        "network.serviceType",
        "cluster/dev",
        "tenancy.clusters",
        "dev: shop/bad",
    ] {
        ensure!(ran.stdout.contains(words), "{words}: {}", ran.stdout);
    }
    ensure!(!ran.stdout.contains("pod/fine"), "{}", ran.stdout);
    let document: Value =
        serde_json::from_str(&host.run(&["policy", "audit", "-n", "team-a", "-o", "json"])?.stdout)?;
    ensure!(
        document["summary"]["denied"] == 3 && document["objects"].as_array().map(Vec::len) == Some(3),
        "{document}"
    );
    let after = host.kubectl(&[
        "get",
        "pods,services",
        "-n",
        "team-a",
        "-o",
        "jsonpath={.items[*].metadata.resourceVersion}",
    ])?;
    ensure!(before == after, "an audit has changed something");

    let page = host.run(&["policy", "explain", "pod", "bad", "-n", "shop", "--cluster", "team-a/dev"])?;
    ended(&page, 0, &[])?;
    ensure!(page.stdout.contains("copy of the tenant's pod shop/bad of cluster dev"), "{}", page.stdout);
    ensure!(page.stdout.contains("it would be denied now"), "{}", page.stdout);
    ended(&host.run(&["policy", "audit", "gold", "--as=jane"])?, 1, &["not allowed: list namespaces"])?;

    // The same manifests, asked before they are applied.
    let path = manifests.to_string_lossy().into_owned();
    let tested = host.run(&["policy", "test", "-f", &path, "--policy", "gold", "-o", "json"])?;
    ended(&tested, 1, &[])?;
    let report: Value = serde_json::from_str(&tested.stdout)?;
    ensure!(report["summary"]["denied"] == 3, "{report}");
    Ok(())
}

/// The policy that a namespace is bound to; empty if there is none.
fn bound(host: &Host, namespace: &str) -> Result<String> {
    let label = labels::POLICY_NAME.replace('.', "\\.");
    host.kubectl(&["get", "namespace", namespace, "-o", &format!("jsonpath={{.metadata.labels.{label}}}")])
}
