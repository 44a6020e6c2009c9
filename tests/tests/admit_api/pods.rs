//! What happens to pods.

use crate::{Host, cluster_namespace};
use anyhow::{Context, Result, bail, ensure};
use k3k_tests::wait;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, Status};
use kube::{Api, Client, ResourceExt};
use rstest::rstest;
use serde_json::{Value, json};

/// Pods as JSON, with nothing between the test and the API server.
pub(crate) fn api(client: &Client, namespace: &str) -> Api<DynamicObject> {
    Api::namespaced_with(
        client.clone(),
        namespace,
        &ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "Pod")),
    )
}

pub(crate) fn pod(name: &str, spec: &Value) -> Value {
    let mut whole = json!({"containers": [{"name": "main", "image": "busybox"}]});
    for (key, value) in spec.as_object().into_iter().flatten() {
        whole[key] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole})
}

async fn create(client: &Client, namespace: &str, pod: &Value) -> kube::Result<DynamicObject> {
    let object = serde_json::from_value(pod.clone()).map_err(kube::Error::SerdeError)?;
    api(client, namespace).create(&PostParams::default(), &object).await
}

fn denied<T>(outcome: kube::Result<T>) -> Result<Status> {
    match outcome {
        Err(kube::Error::Api(status)) if status.is_forbidden() => Ok(*status),
        Err(error) => Err(error).context("refused, but not by a decision"),
        Ok(_) => bail!("admitted"),
    }
}

#[rstest]
#[case::network("podSecurity.hostNamespaces", "spec.hostNetwork", json!({"hostNetwork": true}))]
#[case::pid("podSecurity.hostNamespaces", "spec.hostPID", json!({"hostPID": true}))]
#[case::ipc("podSecurity.hostNamespaces", "spec.hostIPC", json!({"hostIPC": true}))]
#[case::path("podSecurity.hostPath", "spec.volumes[0].hostPath.path", json!({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}))]
#[case::privileged("podSecurity.privileged", "spec.containers[0].securityContext.privileged",
    json!({"containers": [{"name": "main", "image": "b", "securityContext": {"privileged": true}}]}))]
#[case::init("podSecurity.privileged", "spec.initContainers[0].securityContext.privileged",
    json!({"initContainers": [{"name": "first", "image": "b", "securityContext": {"privileged": true}}]}))]
#[case::sidecar("podSecurity.privileged", "spec.initContainers[0].securityContext.privileged",
    json!({"initContainers": [{"name": "side", "image": "b", "restartPolicy": "Always", "securityContext": {"privileged": true}}]}))]
#[case::port("podSecurity.hostPorts", "spec.containers[0].ports[0].hostPort",
    json!({"containers": [{"name": "main", "image": "b", "ports": [{"containerPort": 80, "hostPort": 80}]}]}))]
#[case::capability("podSecurity.capabilities", "spec.containers[0].securityContext.capabilities.add[0]",
    json!({"containers": [{"name": "main", "image": "b", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}]}))]
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn pods_that_reach_for_the_host_are_refused(
    #[case] rule: &str,
    #[case] field: &str,
    #[case] spec: Value,
) -> Result<()> {
    let client = Host::shared().await?.server.client().await?;
    cluster_namespace(&client, "refused", None).await?;
    let name = format!("p-{}", rule.len() * 100 + field.len());
    let status = denied(create(&client, "refused", &pod(&name, &spec)).await)?;
    let prefix = "admission webhook \"mutate.policy.k3k.io\" denied the request: ";
    ensure!(status.message.starts_with(&format!("{prefix}{rule}: {field}")), "{}", status.message);
    ensure!(status.message.contains("the default policy allows"), "{}", status.message);
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    ensure!(causes.iter().any(|cause| cause.reason == rule && cause.field == field), "{causes:?}");

    // Without a name, and as a rehearsal, too.
    let mut unnamed = pod(&name, &spec);
    unnamed["metadata"] = json!({"generateName": "x-"});
    denied(create(&client, "refused", &unnamed).await)?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let object = serde_json::from_value(pod(&name, &spec))?;
    denied(api(&client, "refused").create(&dry, &object).await)?;

    // Where no cluster lives, nobody asks.
    api(&client, "default").create(&dry, &serde_json::from_value(pod(&name, &spec))?).await?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn plain_pods_live_and_change_and_die() -> Result<()> {
    let client = Host::shared().await?.server.client().await?;
    cluster_namespace(&client, "plain", None).await?;
    let spec = json!({
        "initContainers": [{"name": "first", "image": "b", "securityContext": {"privileged": false}}],
        "containers": [{"name": "main", "image": "b", "ports": [{"containerPort": 80}],
                        "securityContext": {"runAsUser": 0, "capabilities": {"add": ["CHOWN"]}}}],
        "volumes": [{"name": "e", "emptyDir": {}},
                    {"name": "s", "secret": {"secretName": "s"}},
                    {"name": "g", "ephemeral": {"volumeClaimTemplate": {"spec": {
                        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}}}],
    });
    create(&client, "plain", &pod("p", &spec)).await?;
    let pods = api(&client, "plain");
    let image = json!({"spec": {"containers": [{"name": "main", "image": "c"}]}});
    pods.patch("p", &PatchParams::default(), &Patch::Strategic(image)).await?;
    pods.delete("p", &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_debug_container_is_judged_too() -> Result<()> {
    let client = Host::shared().await?.server.client().await?;
    cluster_namespace(&client, "debug", None).await?;
    create(&client, "debug", &pod("p", &json!({}))).await?;
    let pods = api(&client, "debug");
    let debugger = |privileged: bool| {
        json!({"spec": {"ephemeralContainers": [
            {"name": "debugger", "image": "b", "securityContext": {"privileged": privileged}},
        ]}})
    };
    let params = PatchParams::default();
    let patch = Patch::Strategic(debugger(true));
    let status = denied(pods.patch_subresource("ephemeralcontainers", "p", &params, &patch).await)?;
    ensure!(
        status.message.contains("spec.ephemeralContainers[0].securityContext.privileged"),
        "{}",
        status.message
    );
    pods.patch_subresource("ephemeralcontainers", "p", &params, &Patch::Strategic(debugger(false))).await?;
    Ok(())
}

/// A policy is heeded from the moment it is bound, and what is there already can still be labelled and removed.
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn policies_are_heeded_as_they_change() -> Result<()> {
    let client = Host::shared().await?.server.client().await?;
    let gvk = GroupVersionKind::gvk("k3k.io", "v1beta1", "VirtualClusterPolicy");
    let resource = ApiResource::from_gvk_with_plural(&gvk, "virtualclusterpolicies");
    let policies: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let policy = |level: &str| {
        json!({"apiVersion": "k3k.io/v1beta1", "kind": "VirtualClusterPolicy", "metadata": {"name": "changing"},
               "spec": {"podSecurityAdmissionLevel": level}})
    };
    let risky = |name: &str| pod(name, &json!({"hostPID": true}));
    let params = PatchParams::apply("test").force();

    cluster_namespace(&client, "changing", Some("changing")).await?;
    let status = denied(create(&client, "changing", &pod("p", &json!({}))).await)?;
    ensure!(
        status.message.contains("policy-missing") && status.message.contains("\"changing\""),
        "{}",
        status.message
    );

    policies.patch("changing", &params, &Patch::Apply(policy("privileged"))).await?;
    // A new policy is looked up at once; only changes take the time that a watch takes.
    let mut held = risky("held");
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    create(&client, "changing", &held).await?;

    policies.patch("changing", &params, &Patch::Apply(policy("baseline"))).await?;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let refused = wait::until("the stricter policy is heeded", async || {
        let outcome = api(&client, "changing").create(&dry, &serde_json::from_value(risky("p"))?).await;
        Ok(denied(outcome).ok())
    });
    let status = refused.await?;
    ensure!(status.message.contains("VirtualClusterPolicy \"changing\" allows"), "{}", status.message);

    let pods = api(&client, "changing");
    let merge = |patch: Value| Patch::Merge(patch);
    pods.patch("held", &PatchParams::default(), &merge(json!({"metadata": {"labels": {"a": "b"}}}))).await?;
    let image = json!({"spec": {"containers": [{"name": "main", "image": "evil"}]}});
    denied(pods.patch("held", &PatchParams::default(), &merge(image.clone())).await)?;
    pods.delete("held", &DeleteParams::default().grace_period(0)).await?;
    ensure!(pods.get("held").await?.metadata.deletion_timestamp.is_some());
    denied(pods.patch("held", &PatchParams::default(), &merge(image)).await)?;
    pods.patch("held", &PatchParams::default(), &merge(json!({"metadata": {"finalizers": null}}))).await?;
    ensure!(pods.get_opt("held").await?.is_none(), "it may go");
    Ok(())
}

/// The same result by every way of writing.
#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn no_way_of_writing_goes_around() -> Result<()> {
    let client = Host::shared().await?.server.client().await?;
    cluster_namespace(&client, "ways", None).await?;
    let pods = api(&client, "ways");
    let bad = pod("p", &json!({"hostNetwork": true}));
    denied(pods.patch("p", &PatchParams::apply("k3k-controller").force(), &Patch::Apply(&bad)).await)?;
    let created = create(&client, "ways", &pod("p", &json!({}))).await?;
    let mut large = pod("large", &json!({"hostNetwork": true}));
    large["metadata"]["annotations"] = json!({"big": "x".repeat(250_000)});
    denied(create(&client, "ways", &large).await)?;
    ensure!(created.name_any() == "p");
    pods.delete_collection(&DeleteParams::default().grace_period(0), &kube::api::ListParams::default())
        .await?;
    Ok(())
}
