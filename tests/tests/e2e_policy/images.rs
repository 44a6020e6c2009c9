//! Tags that somebody moves, in a real registry that the nodes pull from.

use crate::{Policy, lab};
use anyhow::{Context, Result, ensure};
use k3k_tests::lab::crash;
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::json;

struct Registry(String);

impl Registry {
    fn up() -> Result<Self> {
        Ok(Self(lab("registry", &["up"])?.lines().last().context("no host was told")?.to_owned()))
    }

    fn push(image: &str, name: &str) -> Result<()> {
        lab("registry", &["push", image, name]).map(drop)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = lab("registry", &["down"]);
    }
}

#[test]
#[ignore = "needs the lab: make test"]
fn a_pod_keeps_its_image_when_somebody_moves_the_tag() -> Result<()> {
    let registry = Registry::up()?;
    let host = &registry.0;
    Registry::push("docker.io/library/busybox:1.36", "shop/app:1")?;
    let _policy = Policy::apply(
        "e2e-images",
        &json!({"images": {
            "digest": "Resolve", "pullPolicy": "Always", "resolve": {"freshForSeconds": 10},
            "allowedRegistries": [{"host": host, "repositories": ["shop/**"], "network": "Private", "insecure": true}],
        }}),
    )?;
    let cluster =
        NestedCluster::create_with("e2e-images", &["--storage", "ephemeral", "--policy", "e2e-images"])?;
    let run = |name: &str, image: &str| {
        cluster.run(&["run", name, "--image", image, "--restart=Always", "--", "sleep", "3600"])
    };
    run("shop", &format!("{host}/shop/app:1"))?;
    cluster.until_ready("shop")?;
    let host_name = k3k_api::names::translated("e2e-images", "default", "shop");
    let image = || cluster.on_host(&["get", "pod", &host_name, "-o", "jsonpath={.spec.containers[0].image}"]);
    let pinned = image()?;
    ensure!(pinned.starts_with(&format!("{host}/shop/app:1@sha256:")), "{pinned}");
    let id = || cluster.run(&["get", "pod", "shop", "-o", "jsonpath={.status.containerStatuses[0].imageID}"]);
    let before = id()?;
    ensure!(
        pinned.ends_with(before.rsplit('@').next().unwrap_or("?")),
        "{pinned} is not what runs: {before}"
    );
    // The tenant sees what it wrote.
    let inside = cluster.run(&["get", "pod", "shop", "-o", "jsonpath={.spec.containers[0].image}"])?;
    ensure!(inside == format!("{host}/shop/app:1"), "{inside}");

    // Somebody pushes something else under the same tag, and the pod's container starts anew, pulling again as it must.
    Registry::push("registry.k8s.io/pause:3.10.1", "shop/app:1")?;
    crash(&["container", &cluster.namespace(), &host_name, "shop"])?;
    eventually(
        "the container has been started anew",
        || {
            cluster.run(&[
                "get",
                "pod",
                "shop",
                "-o",
                "jsonpath={.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}",
            ])
        },
        |told| told == "1 true",
    )?;
    ensure!(id()? == before && image()? == pinned, "the pod's image was changed");
    // Nobody fights over the image.
    let version = || cluster.on_host(&["get", "pod", &host_name, "-o", "jsonpath={.metadata.generation}"]);
    ensure!(version()? == "1", "the host pod's spec was written again: generation {}", version()?);

    // Whoever asks now gets what the tag says now; what is not listed, and what does not exist, is refused with the reason.
    let events = |name: &str| {
        cluster.run(&[
            "get",
            "events",
            "--field-selector",
            &format!("involvedObject.name={name}"),
            "-o",
            "jsonpath={.items[*].message}",
        ])
    };
    for (name, image, reason) in [
        ("elsewhere", "docker.io/library/busybox:1.36".to_owned(), "images.registries"),
        ("missing", format!("{host}/shop/app:none"), "has no such image"),
    ] {
        // Refused inside at once, or, where only the host can tell, with an Event.
        let told = match run(name, &image) {
            Err(refused) => format!("{refused:#}"),
            Ok(_) => eventually("the reason is told", || events(name), |told| told.contains("images."))?,
        };
        ensure!(told.contains(reason), "{name}: {told}");
    }
    Ok(())
}
