//! Tenants who do not keep still.

use super::sides::Sides;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Where they do so.
pub(crate) const NAMESPACES: [&str; 3] = ["churn-a", "churn-b", "churn-c"];
const IMAGE: &str = "docker.io/library/busybox:1.36";
/// A few, so that what is created is often the namesake of what was deleted.
const NAMES: [&str; 4] = ["ash", "birch", "cedar", "date"];
const FIELD_MANAGER: &str = "churn";

/// One tenant.
pub(crate) struct Churn<'a> {
    pub(crate) sides: &'a Sides,
    pub(crate) random: fastrand::Rng,
    /// How often what was done, and how often that was not taken.
    pub(crate) done: BTreeMap<&'static str, (u32, u32)>,
}

impl Churn<'_> {
    /// Does one thing after another, for ever.
    pub(crate) async fn run(&mut self) {
        for namespace in NAMESPACES {
            let _ = self.namespace(namespace).await;
        }
        loop {
            self.step().await;
            tokio::time::sleep(Duration::from_millis(self.random.u64(50..250))).await;
        }
    }

    fn one(&mut self, of: &'static [&'static str]) -> &'static str {
        of[self.random.usize(..of.len())]
    }

    async fn step(&mut self) {
        let sides = self.sides;
        let namespace = self.one(&NAMESPACES);
        let name = self.one(&NAMES);
        let (what, result) = match self.random.u32(..100) {
            0..24 => ("create a pod", sides.create("Pod", namespace, pod(&mut self.random, name)).await),
            24..30 => ("label a pod", self.label(namespace, name).await),
            30..42 => ("delete a pod", sides.delete("Pod", namespace, name, None).await),
            42..52 => ("delete a pod by force", sides.delete("Pod", namespace, name, Some(0)).await),
            52..60 => {
                ("apply a service", sides.apply("Service", namespace, service(&mut self.random, name)).await)
            }
            60..65 => ("delete a service", sides.delete("Service", namespace, name, None).await),
            65..70 => ("create a claim", sides.create("PersistentVolumeClaim", namespace, claim(name)).await),
            70..74 => ("delete a claim", sides.delete("PersistentVolumeClaim", namespace, name, None).await),
            74..80 => {
                let kind = self.one(&["ConfigMap", "Secret"]);
                ("apply data", sides.apply(kind, namespace, data(&mut self.random, name)).await)
            }
            80..83 => {
                let kind = self.one(&["ConfigMap", "Secret"]);
                ("delete data", sides.delete(kind, namespace, name, None).await)
            }
            83..89 => (
                "apply a deployment",
                sides.apply("Deployment", namespace, deployment(&mut self.random)).await,
            ),
            89..91 => ("delete a deployment", sides.delete("Deployment", namespace, "web", None).await),
            91..95 => (
                "apply a stateful set",
                sides.apply("StatefulSet", namespace, stateful_set(&mut self.random)).await,
            ),
            95..97 => ("delete a stateful set", sides.delete("StatefulSet", namespace, "db", None).await),
            97..98 => ("delete a namespace", self.delete_namespace(namespace).await),
            _ => ("create a namespace", self.namespace(namespace).await),
        };
        let count = self.done.entry(what).or_default();
        match result {
            Ok(()) => count.0 += 1,
            Err(_) => count.1 += 1,
        }
    }

    async fn label(&mut self, namespace: &str, name: &str) -> kube::Result<()> {
        let value = if self.random.bool() { json!(self.one(&NAMES)) } else { Value::Null };
        let patch = json!({"metadata": {"labels": {"tree": value}}});
        let pods = self.sides.nested_api("Pod", namespace);
        pods.patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
    }

    fn namespaces(&self) -> Api<DynamicObject> {
        Api::all_with(self.sides.nested.clone(), &super::sides::resource("Namespace"))
    }

    async fn namespace(&self, name: &str) -> kube::Result<()> {
        let wanted = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        let wanted = serde_json::from_value(wanted).map_err(kube::Error::SerdeError)?;
        self.namespaces().create(&PostParams::default(), &wanted).await.map(drop)
    }

    async fn delete_namespace(&self, name: &str) -> kube::Result<()> {
        self.namespaces().delete(name, &DeleteParams::default()).await.map(drop)
    }
}

impl Sides {
    async fn create(&self, kind: &str, namespace: &str, object: Value) -> kube::Result<()> {
        let mut object: DynamicObject = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
        object.types = Some(kube::core::TypeMeta {
            kind: kind.into(),
            api_version: super::sides::resource(kind).api_version,
        });
        self.nested_api(kind, namespace).create(&PostParams::default(), &object).await.map(drop)
    }

    async fn apply(&self, kind: &str, namespace: &str, mut object: Value) -> kube::Result<()> {
        let name = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let resource = super::sides::resource(kind);
        object["apiVersion"] = resource.api_version.into();
        object["kind"] = resource.kind.into();
        self.nested_api(kind, namespace).patch(&name, &params, &Patch::Apply(&object)).await.map(drop)
    }

    async fn delete(&self, kind: &str, namespace: &str, name: &str, grace: Option<u32>) -> kube::Result<()> {
        let params = DeleteParams { grace_period_seconds: grace, ..DeleteParams::background() };
        self.nested_api(kind, namespace).delete(name, &params).await.map(drop)
    }
}

fn meta(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

/// A pod that runs on, one that ends, well or badly, or one that is started twice; it may use data and a claim.
fn pod_spec(random: &mut fastrand::Rng, restarts: bool) -> Value {
    let stays = "exec sleep 3600";
    let (script, policy) = match random.u32(..8) {
        0 if !restarts => ("true", "Never"),
        1 if !restarts => ("exit 3", "OnFailure"),
        2 if !restarts => ("exit 3", "Never"),
        3 => ("[ -e /scratch/again ] || { touch /scratch/again; exit 1; }; exec sleep 3600", "Always"),
        _ => (stays, "Always"),
    };
    let mut volumes = vec![json!({"name": "scratch", "emptyDir": {}})];
    let mut mounts = vec![json!({"name": "scratch", "mountPath": "/scratch"})];
    let mut add = |name: &str, mut volume: Value| {
        volume["name"] = name.into();
        volumes.push(volume);
        mounts.push(json!({"name": name, "mountPath": format!("/{name}")}));
    };
    let tree = |random: &mut fastrand::Rng| NAMES[random.usize(..NAMES.len())];
    if random.u32(..3) == 0 {
        add("config", json!({"configMap": {"name": tree(random), "optional": true}}));
    }
    if random.u32(..3) == 0 {
        add("secret", json!({"secret": {"secretName": tree(random), "optional": true}}));
    }
    if random.u32(..4) == 0 {
        add("claim", json!({"persistentVolumeClaim": {"claimName": tree(random)}}));
    }
    let mut container = json!({
        "name": "c", "image": IMAGE, "command": ["sh", "-c", script], "volumeMounts": mounts,
    });
    if random.u32(..4) == 0 {
        container["envFrom"] = json!([{"configMapRef": {"name": tree(random), "optional": true}}]);
    }
    json!({
        "restartPolicy": policy, "terminationGracePeriodSeconds": random.u32(0..4),
        "automountServiceAccountToken": random.bool(),
        "containers": [container], "volumes": volumes,
    })
}

fn pod(random: &mut fastrand::Rng, name: &str) -> Value {
    let mut pod = meta(name);
    pod["metadata"]["labels"] = json!({"tree": NAMES[random.usize(..NAMES.len())]});
    pod["spec"] = pod_spec(random, false);
    pod
}

fn service(random: &mut fastrand::Rng, name: &str) -> Value {
    let mut service = meta(name);
    let port = random.u16(8000..8004);
    service["spec"] = json!({
        "type": if random.u32(..3) == 0 { "NodePort" } else { "ClusterIP" },
        "selector": {"tree": name}, "ports": [{"name": "web", "port": port, "targetPort": 80}],
    });
    service
}

fn claim(name: &str) -> Value {
    let mut claim = meta(name);
    claim["spec"] = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "5Mi"}}});
    claim
}

fn data(random: &mut fastrand::Rng, name: &str) -> Value {
    let other = if random.bool() { "YWJj" } else { "ZGVm" };
    json!({"metadata": {"name": name}, "data": {"number": "MTIz", "other": other}})
}

fn workload(random: &mut fastrand::Rng, name: &str) -> Value {
    let mut workload = meta(name);
    let labels = json!({"app": name, "tree": "ash"});
    workload["spec"] = json!({
        "replicas": random.u32(..3), "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": labels}, "spec": pod_spec(random, true)},
    });
    workload
}

fn deployment(random: &mut fastrand::Rng) -> Value {
    workload(random, "web")
}

fn stateful_set(random: &mut fastrand::Rng) -> Value {
    let mut set = workload(random, "db");
    // Its pods come back under the same names. Its template does not change but in what may change.
    set["spec"]["serviceName"] = "db".into();
    set["spec"]["template"]["spec"] = json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "c", "image": IMAGE, "command": ["sh", "-c", "exec sleep 3600"],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        }],
    });
    let mut template = claim("data");
    template["metadata"] = json!({"name": "data"});
    set["spec"]["volumeClaimTemplates"] = json!([template]);
    set
}
