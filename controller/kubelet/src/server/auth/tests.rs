use super::*;
use k3k_runtime::scenario;
use serde_json::json;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/subjectaccessreviews";

fn user(name: &str) -> User {
    User { name: name.into(), uid: None, groups: Vec::new(), extra: BTreeMap::new() }
}

fn question() -> Question {
    Question { user: user("alice"), verb: "get", subresources: &["pods", "proxy"] }
}

#[tokio::test(start_paused = true)]
async fn any_one_subresource_is_enough_and_terms_differ() {
    let (nested, mut server) = scenario::client();
    let gate = Arc::new(Gate::new(nested, "k3k-dev"));
    let ask = |gate: Arc<Gate>| tokio::spawn(async move { gate.allows(&question()).await });

    let asked = ask(gate.clone());
    for subresource in ["pods", "proxy"] {
        let call = server.expect("POST", REVIEWS).await;
        assert_eq!(call.body["spec"]["resourceAttributes"]["subresource"], subresource);
        call.answer(201, &json!({"status": {"allowed": false}}));
    }
    assert_eq!(asked.await.unwrap(), Ok(false));
    assert_eq!(gate.allows(&question()).await, Ok(false), "remembered");

    tokio::time::advance(REFUSED).await;
    let asked = ask(gate.clone());
    server.expect("POST", REVIEWS).await.answer(201, &json!({"status": {"allowed": true}}));
    assert_eq!(asked.await.unwrap(), Ok(true), "a role that was mended counts within seconds");

    tokio::time::advance(ALLOWED / 2).await;
    assert_eq!(gate.allows(&question()).await, Ok(true));
    tokio::time::advance(ALLOWED / 2).await;
    let asked = ask(gate.clone());
    server.expect("POST", REVIEWS).await.answer(201, &json!({"status": {"allowed": false}}));
    server.expect("POST", REVIEWS).await.answer(201, &json!({"status": {"allowed": true, "denied": true}}));
    assert_eq!(asked.await.unwrap(), Ok(false), "and so does one that was taken away; denied wins");
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_allows_nothing_and_is_asked_again() {
    let (nested, mut server) = scenario::client();
    let gate = Arc::new(Gate::new(nested, "k3k-dev"));
    let asked = tokio::spawn({
        let gate = gate.clone();
        async move { gate.allows(&question()).await }
    });
    let silent = server.expect("POST", REVIEWS).await;
    assert_eq!(asked.await.unwrap(), Err(Refusal::unreviewed()));
    drop(silent);
    let asked = tokio::spawn(async move { gate.allows(&question()).await });
    server.expect("POST", REVIEWS).await.answer(201, &json!({"status": {"allowed": true}}));
    assert_eq!(asked.await.unwrap(), Ok(true));
}
