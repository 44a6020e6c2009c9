//! Pod Security labels: ours come and go, others' stay.

use super::*;
use k3k_tests::in_namespace;
use std::collections::BTreeMap;

const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
const WARN: &str = "pod-security.kubernetes.io/warn";

async fn levels(client: &Client, namespace: &str) -> Result<BTreeMap<String, String>> {
    let namespaces: Api<Namespace> = Api::all(client.clone());
    let labels = namespaces.get(namespace).await?.labels().clone();
    Ok(labels.into_iter().filter(|(key, _)| key.starts_with("pod-security")).collect())
}

async fn has(client: &Client, namespace: &str, wanted: &[(&str, &str)]) -> Result<()> {
    wait::until(&format!("{wanted:?}"), async || {
        let mut levels = levels(client, namespace).await?;
        levels.retain(|key, _| !key.ends_with("-version") && !key.ends_with("/audit"));
        let has: Vec<_> = levels.iter().map(|(key, level)| (key.as_str(), level.as_str())).collect();
        Ok((has == wanted).then_some(()))
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn our_labels_come_and_go_with_the_policy() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        make(&client, name, &json!({ "podSecurityAdmissionLevel": "restricted" })).await?;
        bind(&client, namespace, Some(name)).await?;
        has(&client, namespace, &[(ENFORCE, "baseline"), (WARN, "restricted")]).await?;
        assert_eq!(levels(&client, namespace).await?.len(), 6);
        change(&client, name, &json!({ "podSecurityAdmissionLevel": "privileged" })).await?;
        has(&client, namespace, &[(ENFORCE, "privileged")]).await?;
        change(&client, name, &json!({ "podSecurityAdmissionLevel": null })).await?;
        has(&client, namespace, &[]).await?;
        change(&client, name, &json!({ "podSecurityAdmissionLevel": "baseline" })).await?;
        has(&client, namespace, &[(ENFORCE, "baseline"), (WARN, "baseline")]).await?;
        // Nobody takes part of it away for long.
        label(&client, namespace, &json!({ ENFORCE: null })).await?;
        has(&client, namespace, &[(ENFORCE, "baseline"), (WARN, "baseline")]).await?;
        bind(&client, namespace, None).await?;
        has(&client, namespace, &[]).await?;
        bind(&client, namespace, Some(name)).await?;
        has(&client, namespace, &[(ENFORCE, "baseline"), (WARN, "baseline")]).await?;
        remove(&client, name).await?;
        has(&client, namespace, &[]).await?;
        assert!(levels(&client, namespace).await?.is_empty(), "nor a version");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn an_administrators_level_stays() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        label(&client, namespace, &json!({ ENFORCE: "restricted" })).await?;
        make(&client, name, &json!({ "podSecurityAdmissionLevel": "baseline" })).await?;
        bind(&client, namespace, Some(name)).await?;
        has(&client, namespace, &[(ENFORCE, "restricted"), (WARN, "baseline")]).await?;
        let of_others = |status: &VirtualClusterPolicyStatus| {
            reason(status, "NativeObjectsReady") == "PodSecurityLabelOfOthers"
        };
        let told = status(&client, name, of_others).await?;
        let message = &find(&told.conditions, "NativeObjectsReady").unwrap().message;
        assert!(message.ends_with(&format!("{namespace}: {ENFORCE}=restricted")), "{message}");
        assert_eq!(told.observed_generation, Some(1));

        // What was ours and is changed by an administrator is theirs from then on.
        label(&client, namespace, &json!({ WARN: "restricted" })).await?;
        let both = |status: &VirtualClusterPolicyStatus| {
            find(&status.conditions, "NativeObjectsReady").is_some_and(|ready| ready.message.contains(WARN))
        };
        status(&client, name, both).await?;
        bind(&client, namespace, None).await?;
        has(&client, namespace, &[(ENFORCE, "restricted"), (WARN, "restricted")]).await?;
        holds(&client, namespace, &[]).await?;
        remove(&client, name).await
    })
    .await
}
