//! Both sides agree in the end, whoever dies meanwhile and whatever is changed by hand.
//!
//! `K3K_CHURN_SEED` repeats a run, as far as a run can be repeated; `K3K_CHURN_ROUNDS` makes it longer.

mod agree;
mod churn;
mod drift;
mod faults;
mod sides;

use agree::{differences, is_copy, text};
use anyhow::{Context, Result, bail, ensure};
use churn::Churn;
use faults::{Faults, say, until_up};
use k3k_tests::lab;
use k3k_tests::nested::NestedCluster;
use kube::api::{Api, DeleteParams, ListParams, LogParams};
use sides::{KINDS, Sides, Snapshot, resource};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Longest time to come to an agreement.
const LIMIT: Duration = Duration::from_secs(240);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Runs `test` in the lab's network, in a thread of its own.
fn in_network(test: impl AsyncFnOnce() -> Result<()> + Send + 'static) -> Result<()> {
    let thread = std::thread::spawn(move || {
        lab::enter_network()?;
        let _ = rustls::crypto::ring::default_provider().install_default();
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(test())
    });
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits until `judge` finds nothing to say about both sides.
async fn until_agreed(sides: &Sides, judge: impl Fn(&Snapshot) -> Vec<String>) -> Result<()> {
    let start = Instant::now();
    loop {
        let found = match sides.snapshot().await {
            Ok(snapshot) => judge(&snapshot),
            Err(error) => vec![format!("{error:#}")],
        };
        if found.is_empty() {
            say(&format!("agreed after {:.1} s", start.elapsed().as_secs_f32()));
            return Ok(());
        }
        if start.elapsed() > LIMIT {
            logs(sides).await;
            bail!("no agreement after {} s:\n  {}", LIMIT.as_secs(), found.join("\n  "));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Prints what the virtual kubelets said.
async fn logs(sides: &Sides) {
    let pods: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(sides.host.clone(), &sides.namespace);
    let ours = format!("{}={}", k3k_api::labels::COMPONENT, k3k_api::labels::component::KUBELET);
    let found = pods.list(&ListParams::default().labels(&ours)).await;
    for pod in found.into_iter().flatten() {
        let name = pod.metadata.name.unwrap_or_default();
        for previous in [true, false] {
            let params = LogParams { previous, tail_lines: Some(200), ..LogParams::default() };
            if let Ok(log) = pods.logs(&name, &params).await {
                say(&format!("log of {name}{}:\n{log}", if previous { " before" } else { "" }));
            }
        }
    }
}

#[test]
#[ignore = "needs the lab: make test"]
fn both_sides_agree_whoever_is_killed() -> Result<()> {
    let seed = number("K3K_CHURN_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000));
    let rounds = number("K3K_CHURN_ROUNDS").unwrap_or(1);
    say(&format!("K3K_CHURN_SEED={seed}"));
    in_network(async move || churned(seed, rounds).await).with_context(|| format!("K3K_CHURN_SEED={seed}"))
}

#[test]
#[ignore = "needs the lab: make test"]
fn what_is_changed_by_hand_is_put_right() -> Result<()> {
    in_network(drift::run)
}

async fn churned(seed: u64, rounds: u64) -> Result<()> {
    let cluster = NestedCluster::create_with("e2e-churn", &["--storage", "1Gi"])?;
    let sides = Sides::of(&cluster).await?;
    let mut random = fastrand::Rng::with_seed(seed);
    let mut churn = Churn { sides: &sides, random: random.fork(), done: BTreeMap::new() };
    let mut faults = Faults { sides: &sides, random: random.fork() };
    for _ in 0..rounds {
        tokio::select! {
            () = churn.run() => {}
            result = faults.run(1) => result?,
        }
        say(&format!("done, and not taken: {:?}", churn.done));
        until_up(&sides.host).await;
        until_agreed(&sides, differences).await?;
    }

    say("the tenant takes everything away");
    let namespaces = Api::<kube::api::DynamicObject>::all_with(sides.nested.clone(), &resource("Namespace"));
    for name in churn::NAMESPACES {
        let _ = namespaces.delete(name, &DeleteParams::default()).await;
    }
    until_agreed(&sides, left).await?;

    let namespace = cluster.namespace();
    say("the cluster goes");
    cluster.delete()?;
    nothing_left(&sides, &namespace).await
}

/// What is left of the churn on either side.
fn left(snapshot: &Snapshot) -> Vec<String> {
    let mut found = differences(snapshot);
    let of_churn = |name: &str| churn::NAMESPACES.contains(&name);
    for (kind, objects) in &snapshot.host {
        let copies = objects.iter().filter(|object| is_copy(object));
        found.extend(
            copies
                .filter(|copy| {
                    of_churn(copy["metadata"]["annotations"]["k3k.io/namespace"].as_str().unwrap_or_default())
                })
                .map(|copy| format!("{kind} {} is left in the host", text(copy, "/metadata/name"))),
        );
    }
    for object in &snapshot.nested["Namespace"] {
        if of_churn(text(object, "/metadata/name")) {
            found.push(format!("Namespace {} is left: {}", text(object, "/metadata/name"), object["status"]));
        }
    }
    for object in &snapshot.nested["PersistentVolume"] {
        found.push(format!("PersistentVolume {} is left inside", text(object, "/metadata/name")));
    }
    let claims = &snapshot.host["PersistentVolumeClaim"];
    for volume in &snapshot.host["PersistentVolume"] {
        if !claims.iter().any(|claim| claim["spec"]["volumeName"] == volume["metadata"]["name"]) {
            found.push(format!("PersistentVolume {} is left in the host", text(volume, "/metadata/name")));
        }
    }
    found
}

/// After the cluster's end the host has nothing of it.
async fn nothing_left(sides: &Sides, namespace: &str) -> Result<()> {
    let start = Instant::now();
    loop {
        let mut left = Vec::new();
        for kind in KINDS {
            let all = Api::<kube::api::DynamicObject>::all_with(sides.host.clone(), &resource(kind));
            for object in all.list(&ListParams::default()).await?.items {
                let claimed = text(&object.data, "/spec/claimRef/namespace") == namespace;
                if object.metadata.namespace.as_deref() == Some(namespace) || claimed {
                    left.push(format!("{kind} {}", object.metadata.name.unwrap_or_default()));
                }
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        ensure!(start.elapsed() < LIMIT, "left after the end of the cluster: {left:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}
