//! The watches after an outage of the host, in a time of their own.

use super::*;
use k3k_runtime::scenario::{self, Scenario};
use kube::runtime::controller::Action;
use serde_json::json;
use std::time::Duration;
use tokio::time::Instant;

const OUTAGE: Duration = Duration::from_secs(20);

/// Refuses all for a while. Then nothing is there, and watches stay open.
async fn host(mut calls: Scenario) {
    let begun = Instant::now();
    let mut open = Vec::new();
    while let Some(call) = calls.next().await {
        if begun.elapsed() < OUTAGE {
            call.refuse(500, "InternalError", "starting");
        } else if call.uri.contains("watch=true") {
            open.push(call);
        } else {
            call.answer(200, &json!({ "metadata": { "resourceVersion": "1" }, "items": [] }));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_all_is_heard_again_in_seconds() {
    let (client, calls) = scenario::client();
    let (caches, controller) = watches(&client, &Arc::default());
    let host = tokio::spawn(host(calls));
    let running = controller.run(
        |_, _| std::future::ready(Ok::<_, kube::Error>(Action::await_change())),
        |_, _, _: Arc<()>| Action::await_change(),
        Arc::default(),
    );
    // By the test's own clock, which no machine slows down.
    let limit = OUTAGE + Duration::from_secs(10);
    tokio::select! {
        () = running.for_each(|_| std::future::ready(())) => unreachable!("nobody ends it"),
        heard = tokio::time::timeout(limit, caches.ready()) => heard.expect("all is heard"),
    }
    host.abort();
}
