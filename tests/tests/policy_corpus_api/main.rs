//! The corpus of ways around a policy, sent to a real API server: with the webhook, and with what holds without it.

mod complete;
mod exceptions;
mod host;
mod outcome;
mod plan;
#[expect(dead_code, reason = "one replica is enough here, and nobody asks it how it is")]
#[path = "../shared/webhook.rs"]
mod webhook;

use anyhow::{Context, Result, ensure};
use exceptions::{Exception, of_the_floor, with_the_webhook};
use futures::{StreamExt, TryStreamExt, stream};
use host::{Caller, Host};
use http::Method;
use k3k_api::labels;
use k3k_tests::corpus::{Corpus, Expect};
use k3k_tests::wait;
use outcome::{By, check, refused_by};
use plan::Plan;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

/// How many requests are made at a time.
const AT_A_TIME: usize = 8;

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn what_is_tried_comes_out_as_it_should() -> Result<()> {
    let corpus = Corpus::read()?;
    let host = Host::start(&policies(&corpus)?).await?;
    let plans = prepared(&corpus, &host).await?;
    let webhook = host.install()?;
    wait_until_asked(&host, true).await?;

    // What the webhook makes of what it changes.
    let mut made = BTreeMap::new();
    let (mut seen, mut wrong) = (BTreeMap::new(), Vec::new());
    let mut answers = stream::iter(&plans)
        .map(async |plan| {
            let answer =
                host.ask(Some(&plan.caller), plan.method.clone(), &plan.path, plan.body.as_ref()).await;
            (plan, answer)
        })
        .buffer_unordered(AT_A_TIME);
    while let Some((plan, answer)) = answers.next().await {
        let answer = answer.with_context(|| plan.case.label.clone())?;
        let by = refused_by(&plan.case, &answer);
        *seen.entry(by).or_insert(0) += 1;
        if let Err(error) = check(plan.entry, &plan.case, &answer) {
            wrong.push((plan, by, error.to_string()));
        } else if plan.case.expect == Expect::Mutate
            && let Some(mut body) = plan.body.clone()
        {
            body["spec"] = answer.body["spec"].clone();
            made.insert(plan.case.label.as_str(), body);
        }
    }
    say(&format!("with the webhook: {} requests, refused by {seen:?}", plans.len()))?;
    let with = compared(wrong, with_the_webhook());

    host.only_the_floor().await?;
    wait_until_asked(&host, false).await?;
    drop(webhook);
    let (mut seen, mut wrong) = (BTreeMap::new(), Vec::new());
    let mut answers = stream::iter(&plans)
        .map(async |plan| {
            let body = made.get(plan.case.label.as_str()).or(plan.body.as_ref());
            let answer = host.ask(Some(&plan.caller), plan.method.clone(), &plan.path, body).await;
            (plan, answer)
        })
        .buffer_unordered(AT_A_TIME);
    while let Some((plan, answer)) = answers.next().await {
        let answer = answer.with_context(|| plan.case.label.clone())?;
        let by = refused_by(&plan.case, &answer);
        *seen.entry(by).or_insert(0) += 1;
        let floor = |name: &str| plan.entry.floor.iter().any(|floor| floor == name);
        let claimed = plan.case.expect == Expect::Deny && floor("vap");
        if claimed && by != By::Floor && !(by == By::ApiServer && floor("apiserver")) {
            wrong.push((plan, by, format!("{by:?} {}", answer.message())));
        } else if plan.case.expect != Expect::Deny && by == By::Floor {
            // What was not changed, as no registry was there, is refused here as well.
            let is_unchanged =
                plan.case.expect == Expect::Mutate && !made.contains_key(plan.case.label.as_str());
            if !is_unchanged {
                wrong.push((plan, by, format!("refused: {}", answer.message())));
            }
        }
    }
    say(&format!("without it: {} requests, refused by {seen:?}", plans.len()))?;
    let without = compared(wrong, of_the_floor());
    ensure!(
        with.is_empty() && without.is_empty(),
        "with the webhook:\n{}\n\nwithout:\n{}",
        with.join("\n"),
        without.join("\n")
    );
    Ok(())
}

/// The policies of the corpus, with times that are still to come where they were when it was written.
fn policies(corpus: &Corpus) -> Result<Vec<(String, Value)>> {
    let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let all = corpus.policies.iter().map(|(name, spec)| {
        let text = spec
            .to_string()
            .replace("2027-01-31T00:00:00Z", &soon.strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
        Ok((name.clone(), serde_json::from_str(&text)?))
    });
    all.chain([Ok(("lax".to_owned(), json!({})))]).collect()
}

/// Every case as a request, with everything there that has to be: nobody has objected so far.
async fn prepared<'a>(corpus: &'a Corpus, host: &Host) -> Result<Vec<Plan<'a>>> {
    let mut plans = Vec::new();
    for entry in corpus.entries.iter().filter(|entry| entry.elsewhere.is_none()) {
        for case in corpus.cases(entry)? {
            plans.push(Plan::new(corpus, entry, case, plans.len())?);
        }
    }
    let namespaces: BTreeMap<&str, &str> = plans
        .iter()
        .filter(|plan| plan.needs_namespace())
        .map(|plan| (plan.namespace.as_str(), plan.entry.policy()))
        .chain([("asked", "none")])
        .collect();
    let of = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    stream::iter(namespaces.keys())
        .map(async |name| host.create("/api/v1/namespaces", &of(name)).await.map(drop))
        .buffer_unordered(AT_A_TIME)
        .try_collect::<()>()
        .await?;
    for account in ["default", "builder", "k3k-ca-kubelet"] {
        for policy in ["restricted"] {
            let object = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}});
            host.create(&format!("/api/v1/namespaces/t-a-{policy}/serviceaccounts"), &object).await?;
        }
    }
    let labelled: Vec<(String, Value)> = namespaces
        .iter()
        .map(|(name, policy)| {
            let policy = match *policy {
                "none" => Value::Null,
                "missing" => json!("nope"),
                "unreadable" => json!("odd"),
                other => json!(other),
            };
            let labels = json!({labels::CLUSTER_NAMESPACE: "true", labels::POLICY_NAME: policy});
            (format!("/api/v1/namespaces/{name}"), json!({"metadata": {"labels": labels}}))
        })
        .collect();
    drop(namespaces);
    let failed: Vec<String> = stream::iter(&mut plans)
        .map(async |plan| plan.prepare(host).await.err().map(|error| format!("{error:#}")))
        .buffer_unordered(AT_A_TIME)
        .filter_map(async |error| error)
        .collect()
        .await;
    ensure!(failed.is_empty(), "what has to be there cannot be made:\n{}", failed.join("\n"));
    stream::iter(&labelled)
        .map(async |(path, patch)| host.demand(Method::PATCH, path, Some(patch)).await.map(drop))
        .buffer_unordered(AT_A_TIME)
        .try_collect::<()>()
        .await?;
    Ok(plans)
}

/// An API server learns of what is registered a little after it is written, and of each on its own.
async fn wait_until_asked(host: &Host, with_webhook: bool) -> Result<()> {
    let caller = Caller::new("jane".to_owned(), Vec::new());
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
                     "spec": {"hostPID": true, "containers": [{"name": "c", "image": "i"}]}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "p", "labels": {"k3k.io/clusterName": "ca"}}});
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "p"},
                         "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
    let token = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest"});
    let label = json!({"metadata": {"labels": {"k3k.io/x": "z"}}});
    let of_pods =
        if with_webhook { "admission webhook \"mutate.policy.k3k.io\" denied" } else { "'k3k-floor-pods'" };
    let bound = "/api/v1/namespaces/t-a-restricted";
    for (path, method, body, by) in [
        ("/api/v1/namespaces/asked/pods".to_owned(), Method::POST, &pod, of_pods),
        (format!("{bound}/pods"), Method::POST, &pod, of_pods),
        (format!("{bound}/secrets"), Method::POST, &secret, "'k3k-floor-guard'"),
        (format!("{bound}/services"), Method::POST, &service, "'k3k-floor-services'"),
        (format!("{bound}/serviceaccounts/k3k-ca-kubelet/token"), Method::POST, &token, "'k3k-floor-ways'"),
        (bound.to_owned(), Method::PATCH, &label, "'k3k-floor-namespaces'"),
    ] {
        let path = format!("{path}?dryRun=All");
        let asked = wait::until(by, async || {
            let answer = host.ask(Some(&caller), method.clone(), &path, Some(body)).await?;
            let by_webhook = answer.message().starts_with("admission webhook");
            Ok((answer.message().contains(by) && by_webhook == by.starts_with("admission webhook"))
                .then_some(()))
        });
        asked.await?;
    }
    // Nothing but the webhook refuses this.
    let ingress = json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "p"},
                         "spec": {"ingressClassName": "nginx", "rules": [{"host": "b.example"}]}});
    let path = "/apis/networking.k8s.io/v1/namespaces/t-a-restricted/ingresses?dryRun=All";
    wait::until("the validating webhook is asked, or not", async || {
        let answer = host.ask(Some(&caller), Method::POST, path, Some(&ingress)).await?;
        let refused = answer.message().starts_with("admission webhook \"validate.policy.k3k.io\" denied");
        Ok((refused == with_webhook && answer.status.is_success() != with_webhook).then_some(()))
    })
    .await
}

/// What came out otherwise than it should and is in no table, and what is in a table and came out as it should.
fn compared(wrong: Vec<(&Plan<'_>, By, String)>, table: &[Exception]) -> Vec<String> {
    let listed: BTreeMap<&str, By> =
        table.iter().flat_map(|(by, _, ids)| ids.iter().map(|id| (*id, *by))).collect();
    let (mut found, mut lines) = (BTreeSet::new(), Vec::new());
    for (plan, by, error) in wrong {
        // By its id, or, where only the template is not valid, by that.
        let id = plan.entry.id.clone();
        let id = if plan.case.label.contains(" as a ") && !listed.contains_key(id.as_str()) {
            format!("{id} template")
        } else {
            id
        };
        if listed.get(id.as_str()) == Some(&by) {
            found.insert(id);
        } else {
            lines.push(format!("{} [{} {}]: {error}", plan.case.label, plan.entry.caller, plan.path));
        }
    }
    lines.sort();
    let fine = listed.keys().filter(|id| !found.contains(**id));
    lines.extend(fine.map(|id| format!("{id} is listed, and came out as it should")));
    lines
}

fn say(line: &str) -> Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}
