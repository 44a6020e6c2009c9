//! What is known of the versions of a cluster's pods, put together for the decision.

use super::decide::{Course, Member, Told, World, decide};
use crate::cluster::build::mode::Nodes;
use crate::cluster::build::{Kind, Site};
use crate::cluster::error::Error;
use crate::cluster::etcd;
use crate::cluster::{Context, pods, validate};
use k3k_api::labels::component;
use k3k_api::v1beta1::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::DynamicObject;
use std::sync::Arc;

/// What the cluster's servers and agents shall run now.
pub async fn step(
    context: &Context,
    site: &Site,
    cluster: &Cluster,
    etcd: &etcd::Outcome,
) -> Result<Course, Error> {
    let status = cluster.status.as_ref();
    let host = match status.and_then(|status| status.host_version.as_deref()) {
        Some(version) => version,
        None => context.host.version().await?,
    };
    let names = site.names();
    let api = context.health.of(&site.uid).api;
    // A port that is open is not yet an API that answers; one of several servers is only ready when it is.
    let answers = |server: Member| {
        if !server.ready || etcd.servers.etcd || api.ok {
            return server;
        }
        Member { ready: false, state: format!("{}, and {}", server.state, api.message), ..server }
    };
    let unwell = || {
        let report = etcd.report.as_ref();
        let unknown = || Some("the servers' etcd was not asked yet".to_owned());
        report.map_or_else(unknown, |report| (!report.ok).then(|| report.message.clone()))
    };
    Ok(decide(&World {
        // That it is none is said where the spec is judged.
        wanted: validate::version(&cluster.spec, host).ok(),
        running: status.and_then(|status| status.version.clone()),
        under_way: status.and_then(|status| status.upgrade.clone()),
        set: context.caches.owned(site, Kind::StatefulSet, &names.server()).and_then(|set| told(&set)),
        replicas: etcd.servers.replicas,
        servers: members(&context.caches.server_pods(site)).into_iter().map(answers).collect(),
        agents: if Nodes::of(cluster.spec.mode()).are_pods() {
            members(&context.caches.pods(site, component::AGENT))
        } else {
            Vec::new()
        },
        unwell: if etcd.servers.etcd { unwell() } else { None },
    }))
}

fn told(set: &DynamicObject) -> Option<Told> {
    let spec = &set.data["spec"];
    let image = spec["template"]["spec"]["containers"][0]["image"].as_str()?;
    let partition = spec["updateStrategy"]["rollingUpdate"]["partition"].as_u64().unwrap_or_default();
    Some(Told {
        version: image_tag(image)?.to_owned(),
        partition: u32::try_from(partition).unwrap_or_default(),
    })
}

fn members(pods: &[Arc<Pod>]) -> Vec<Member> {
    let member = |pod: &Arc<Pod>| {
        let name = pod.name_any();
        let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.as_deref());
        Some(Member {
            ordinal: name.rsplit_once('-')?.1.parse().ok()?,
            version: image.and_then(image_tag).map(str::to_owned),
            ready: pods::is_ready(pod),
            state: pods::judge(std::slice::from_ref(pod), &name, None).message,
            failure: pods::failure(pod),
            name,
        })
    };
    pods.iter().filter_map(member).collect()
}

/// The tag of an image. What follows a colon is a port as long as a slash comes after it.
pub fn image_tag(image: &str) -> Option<&str> {
    image.rsplit_once(':').map(|(_, tag)| tag).filter(|tag| !tag.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case("rancher/k3s:v1.36.3-k3s1", Some("v1.36.3-k3s1"))]
    #[case("registry:5000/rancher/k3s:v1", Some("v1"))]
    #[case("registry:5000/rancher/k3s", None)]
    #[case("rancher/k3s", None)]
    fn tags(#[case] image: &str, #[case] tag: Option<&str>) {
        assert_eq!(image_tag(image), tag);
    }

    #[test]
    fn the_set_says_version_and_partition() {
        let set = |strategy: serde_json::Value| -> DynamicObject {
            serde_json::from_value(json!({ "metadata": { "name": "s" }, "spec": {
                "updateStrategy": strategy,
                "template": { "spec": { "containers": [{ "name": "c", "image": "rancher/k3s:v1.35.6-k3s1" }] } },
            } }))
            .unwrap()
        };
        let version = || "v1.35.6-k3s1".to_owned();
        assert_eq!(told(&set(json!(null))), Some(Told { version: version(), partition: 0 }));
        let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": 2 } });
        assert_eq!(told(&set(strategy)), Some(Told { version: version(), partition: 2 }));
    }

    #[test]
    fn pods_say_what_they_were_made_for() {
        let pod = json!({
            "metadata": { "name": "k3k-dev-server-2" },
            "spec": { "containers": [{ "name": "c", "image": "rancher/k3s:v1.36.3-k3s1" }] },
            "status": { "containerStatuses": [{ "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such tag" } } }] },
        });
        let members = members(&[Arc::new(serde_json::from_value(pod).unwrap())]);
        let member = &members[0];
        assert_eq!(
            (member.ordinal, member.version.as_deref(), member.ready),
            (2, Some("v1.36.3-k3s1"), false)
        );
        assert!(member.failure.as_ref().is_some_and(|failure| failure.contains("no such tag")), "{member:?}");
    }
}
