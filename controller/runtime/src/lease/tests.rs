use super::*;
use crate::scenario::{self, Call, Scenario};
use serde_json::{Value, json};

const URI: &str = "/apis/coordination.k8s.io/v1/namespaces/k3k-system/leases";
const ITEM: &str = "/apis/coordination.k8s.io/v1/namespaces/k3k-system/leases/k3k-controller";

fn params(identity: &str) -> LeaseParams {
    LeaseParams {
        namespace: "k3k-system".into(),
        name: "k3k-controller".into(),
        identity: identity.into(),
        duration: Duration::from_secs(15),
        owner: None,
    }
}

fn held_by(holder: &str, version: &str, renewed: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {"namespace": "k3k-system", "name": "k3k-controller", "resourceVersion": version},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 15, "leaseTransitions": 3,
            "acquireTime": "2026-01-01T00:00:00.000000Z", "renewTime": renewed,
        },
    })
}

fn start(identity: &str) -> (Lease, Scenario, CancellationToken) {
    let (client, scenario) = scenario::client();
    let shutdown = CancellationToken::new();
    (Lease::spawn(client, params(identity), shutdown.clone()), scenario, shutdown)
}

/// Accepts a write and gives the object the version that a server would.
fn accept(call: Call, version: &str) {
    let mut body = call.body.clone();
    body["metadata"]["resourceVersion"] = version.into();
    call.answer(200, &body);
}

/// A candidate that holds the Lease at version 1.
async fn holder() -> (Lease, Scenario, CancellationToken) {
    let (mut lease, mut scenario, shutdown) = start("a");
    scenario.expect("GET", ITEM).await.refuse(404, "NotFound", "not found");
    accept(scenario.expect("POST", URI).await, "1");
    lease.acquired().await.unwrap();
    (lease, scenario, shutdown)
}

#[tokio::test(start_paused = true)]
async fn creates_renews_and_gives_back() {
    let (lease, mut scenario, _shutdown) = holder().await;
    let renewal = scenario.expect("PUT", ITEM).await;
    assert_eq!(renewal.body["metadata"]["resourceVersion"], "1", "guarded by the version");
    assert_eq!(renewal.body["spec"]["holderIdentity"], "a");
    assert_eq!(renewal.body["spec"]["leaseDurationSeconds"], 15);
    accept(renewal, "2");
    let released = tokio::spawn(lease.release());
    let vacated = scenario.expect("PUT", ITEM).await;
    assert_eq!(vacated.body["metadata"]["resourceVersion"], "2");
    assert_eq!(vacated.body["spec"]["holderIdentity"], "");
    vacated.accept();
    released.await.unwrap();
    assert!(scenario.next().await.is_none(), "nothing more is sent");
}

#[tokio::test(start_paused = true)]
async fn takes_over_only_what_has_not_changed_for_its_duration() {
    let (mut lease, mut scenario, _shutdown) = start("b");
    let begun = Instant::now();
    // Renewed once, then silent. The times in it are long past: they must not matter.
    scenario.expect("GET", ITEM).await.answer(200, &held_by("a", "7", "2026-01-01T00:00:00.000000Z"));
    let last = loop {
        let call = scenario.next().await.unwrap();
        if call.method == "PUT" {
            break call;
        }
        assert_eq!(*lease.state.borrow(), State::Waiting);
        call.answer(200, &held_by("a", "8", "2026-01-01T00:00:02.000000Z"));
    };
    assert!(begun.elapsed() >= Duration::from_secs(17), "2 s until the change was seen, and 15 s of silence");
    assert_eq!(last.body["metadata"]["resourceVersion"], "8");
    assert_eq!(last.body["spec"]["holderIdentity"], "b");
    assert_eq!(last.body["spec"]["leaseTransitions"], 4);
    accept(last, "9");
    lease.acquired().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn our_own_lease_is_taken_back_at_once() {
    let (mut lease, mut scenario, _shutdown) = start("a");
    scenario.expect("GET", ITEM).await.answer(200, &held_by("a", "7", "2026-01-01T00:00:00.000000Z"));
    let claim = scenario.expect("PUT", ITEM).await;
    assert_eq!(claim.body["spec"]["leaseTransitions"], 3);
    accept(claim, "8");
    lease.acquired().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lost_race_is_run_again() {
    let (mut lease, mut scenario, _shutdown) = start("a");
    scenario.expect("GET", ITEM).await.refuse(404, "NotFound", "not found");
    scenario.expect("POST", URI).await.refuse(409, "AlreadyExists", "already exists");
    scenario.expect("GET", ITEM).await.answer(200, &held_by("", "2", "2026-01-01T00:00:00.000000Z"));
    scenario.expect("PUT", ITEM).await.refuse(409, "Conflict", "changed");
    scenario.expect("GET", ITEM).await.answer(200, &held_by("", "3", "2026-01-01T00:00:01.000000Z"));
    accept(scenario.expect("PUT", ITEM).await, "4");
    lease.acquired().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_cannot_renew_gives_up_before_others_may_take_over() {
    let (mut lease, mut scenario, _shutdown) = holder().await;
    let acquired = Instant::now();
    let (mut failures, mut hung) = (0, None);
    // The requests end when the candidate does.
    while let Some(call) = scenario.next().await {
        failures += 1;
        // A server that answers nothing is as bad as one that answers badly.
        if failures > 1 {
            hung = Some(call);
        } else {
            call.refuse(500, "InternalError", "etcd is gone");
        }
    }
    lease.lost().await;
    drop(hung);
    assert_eq!(failures, 2, "one that fails after 2 s, and one that hangs until 9 s");
    assert_eq!(acquired.elapsed().as_secs(), 10, "others may take over after 15 s");
}

#[tokio::test(start_paused = true)]
async fn a_transient_failure_loses_nothing() {
    let (lease, mut scenario, _shutdown) = holder().await;
    scenario.expect("PUT", ITEM).await.abort();
    scenario.expect("PUT", ITEM).await.refuse(503, "ServiceUnavailable", "later");
    accept(scenario.expect("PUT", ITEM).await, "2");
    accept(scenario.expect("PUT", ITEM).await, "3");
    assert_eq!(*lease.state.borrow(), State::Held);
}

#[tokio::test(start_paused = true)]
async fn another_holder_means_lost_at_once() {
    let (mut lease, mut scenario, _shutdown) = holder().await;
    scenario.expect("PUT", ITEM).await.refuse(409, "Conflict", "changed");
    scenario.expect("GET", ITEM).await.answer(200, &held_by("b", "5", "2026-01-01T00:00:00.000000Z"));
    lease.lost().await;
    assert!(scenario.next().await.is_none(), "what is another's is not touched");
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_deleted_is_made_again() {
    let (lease, mut scenario, _shutdown) = holder().await;
    scenario.expect("PUT", ITEM).await.refuse(404, "NotFound", "not found");
    scenario.expect("GET", ITEM).await.refuse(404, "NotFound", "not found");
    accept(scenario.expect("POST", URI).await, "6");
    assert_eq!(*lease.state.borrow(), State::Held);
}

#[tokio::test(start_paused = true)]
async fn shutdown_ends_the_waiting_and_writes_nothing() {
    let (mut lease, mut scenario, shutdown) = start("b");
    scenario.expect("GET", ITEM).await.answer(200, &held_by("a", "7", "2026-01-01T00:00:00.000000Z"));
    shutdown.cancel();
    let error = lease.acquired().await.unwrap_err().to_string();
    assert_eq!(error, "stopped while waiting for lease k3k-system/k3k-controller");
    assert!(scenario.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn shutdown_does_not_take_the_lease_from_unfinished_work() {
    let (lease, mut scenario, shutdown) = holder().await;
    shutdown.cancel();
    accept(scenario.expect("PUT", ITEM).await, "2");
    accept(scenario.expect("PUT", ITEM).await, "3");
    drop(lease);
    let vacated = scenario.expect("PUT", ITEM).await;
    assert_eq!(vacated.body["spec"]["holderIdentity"], "", "dropping gives it back too");
    vacated.accept();
}

#[tokio::test(start_paused = true)]
async fn a_tenure_ends_by_the_clock_and_with_the_lease() {
    let (client, mut scenario) = scenario::client();
    let tenure = Tenure::default();
    let mut lease = Lease::spawn_noting(client, params("a"), tenure.clone(), CancellationToken::new());
    let call = scenario.expect("GET", ITEM).await;
    assert!(!tenure.holds(), "nothing is held yet");
    call.refuse(404, "NotFound", "not found");
    accept(scenario.expect("POST", URI).await, "1");
    lease.acquired().await.unwrap();
    assert!(tenure.holds());
    let hung = scenario.expect("PUT", ITEM).await;
    // A process that is frozen, or too busy to run the task that says "lost".
    tokio::time::advance(Duration::from_secs(9)).await;
    assert!(!tenure.holds(), "ten seconds after the last success");
    drop(hung);
    lease.lost().await;
    assert!(!tenure.holds());
}

#[tokio::test(start_paused = true)]
async fn a_tenure_ends_before_the_lease_is_given_back() {
    let (client, mut scenario) = scenario::client();
    let tenure = Tenure::default();
    let mut lease = Lease::spawn_noting(client, params("a"), tenure.clone(), CancellationToken::new());
    scenario.expect("GET", ITEM).await.refuse(404, "NotFound", "not found");
    accept(scenario.expect("POST", URI).await, "1");
    lease.acquired().await.unwrap();
    let released = tokio::spawn(lease.release());
    let vacated = scenario.expect("PUT", ITEM).await;
    assert!(!tenure.holds());
    vacated.accept();
    released.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_has_its_owner_from_the_beginning() {
    let (client, mut scenario) = scenario::client();
    let owner = OwnerReference { uid: "u".into(), ..OwnerReference::default() };
    let params = LeaseParams { owner: Some(owner), ..params("a") };
    let _lease = Lease::spawn(client, params, CancellationToken::new());
    scenario.expect("GET", ITEM).await.refuse(404, "NotFound", "not found");
    let call = scenario.expect("POST", URI).await;
    assert_eq!(call.body["metadata"]["ownerReferences"][0]["uid"], "u");
}
