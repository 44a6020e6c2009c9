//! What depends on the host: its storage classes and its network.

use super::*;
use k3k_tests::in_namespace;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::storage::v1::StorageClass;

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn storage_classes_that_are_not_allowed_have_no_room() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        let class = format!("slow-{name}");
        make(&client, name, &json!({ "workloads": { "storageClasses": { "allowed": ["fast"] } } })).await?;
        bind(&client, namespace, Some(name)).await?;
        in_place(&client, name, 1).await?;
        let classes: Api<StorageClass> = Api::all(client.clone());
        let made: StorageClass = serde_json::from_value(
            json!({ "metadata": { "name": class }, "provisioner": "example.com/none" }),
        )?;
        classes.create(&PostParams::default(), &made).await?;
        let quotas = api::<ResourceQuota>(&client, namespace);
        let key = format!("{class}.storageclass.storage.k8s.io/requests.storage");
        let has = async || {
            let quota = quotas.get_opt(&format!("k3k-{name}-denied")).await?;
            let hard = quota.and_then(|quota| quota.spec?.hard).unwrap_or_default();
            anyhow::Ok(hard.get(&key).map(|amount| amount.0.clone()))
        };
        wait::until("no room for the class", async || Ok(has().await?.filter(|amount| amount == "0")))
            .await?;
        classes.delete(&class, &DeleteParams::default()).await?;
        wait::until("nothing said of it", async || Ok(has().await?.is_none().then_some(()))).await?;
        remove(&client, name).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn pods_of_the_host_are_left_out_as_nodes_come_and_go() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        make(&client, name, &json!({ "network": { "isolation": { "egressExcept": ["172.16.0.0/12"] } } }))
            .await?;
        bind(&client, namespace, Some(name)).await?;
        in_place(&client, name, 1).await?;
        let nodes: Api<Node> = Api::all(client.clone());
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": name }, "spec": { "podCIDR": "10.42.7.0/24", "podCIDRs": ["10.42.7.0/24"] },
        }))?;
        nodes.create(&PostParams::default(), &node).await?;
        let networks = api::<NetworkPolicy>(&client, namespace);
        let spec = async |part: &str| {
            let policy = networks.get(&format!("k3k-{name}{part}")).await?;
            anyhow::Ok(serde_json::to_value(policy.spec)?.to_string())
        };
        wait::until("the node's pods are left out", async || {
            let (tenants, servers) = (spec("-tenants").await?, spec("-servers").await?);
            Ok((tenants.contains("10.42.7.0/24") && servers.contains("10.42.7.0/24")).then_some(()))
        })
        .await?;
        let tenants = spec("-tenants").await?;
        for range in ["172.16.0.0/12", "10.96.0.0/16", "169.254.0.0/16", "fe80::/10", "10.42.7.0/31"] {
            assert!(tenants.contains(range), "{range} in {tenants}");
        }
        let isolated = |status: &VirtualClusterPolicyStatus| reason(status, "Isolated") == "NetworkPolicies";
        status(&client, name, isolated).await?;
        nodes.delete(name, &DeleteParams::default()).await?;
        wait::until("they are forgotten", async || {
            Ok((!spec("-tenants").await?.contains("10.42.7.0")).then_some(()))
        })
        .await?;

        change(&client, name, &json!({ "network": { "isolation": { "egressExcept": ["NodeIPs"] } } }))
            .await?;
        let is_invalid = |status: &VirtualClusterPolicyStatus| reason(status, "Accepted") == "Invalid";
        let invalid = status(&client, name, is_invalid).await?;
        assert_eq!(invalid.observed_generation, Some(1));
        remove(&client, name).await
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn virtual_kubelets_reach_the_hosts_api_where_it_is() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let name = namespace;
        make(&client, name, &json!({})).await?;
        bind(&client, namespace, Some(name)).await?;
        in_place(&client, name, 1).await?;
        let slice: EndpointSlice = serde_json::from_value(json!({
            "metadata": { "name": "kubernetes", "labels": { "kubernetes.io/service-name": "kubernetes" } },
            "addressType": "IPv4", "ports": [{ "name": "https", "port": 6443, "protocol": "TCP" }],
            "endpoints": [{ "addresses": ["192.0.2.7"] }],
        }))?;
        let slices = api::<EndpointSlice>(&client, "default");
        slices.create(&PostParams::default(), &slice).await?;
        let networks = api::<NetworkPolicy>(&client, namespace);
        let spec = async |part: &str| {
            let policy = networks.get(&format!("k3k-{name}{part}")).await?;
            anyhow::Ok(serde_json::to_value(policy.spec)?)
        };
        let want = json!({ "to": [{ "ipBlock": { "cidr": "192.0.2.7/32" } }], "ports": [{ "protocol": "TCP", "port": 6443 }] });
        wait::until("a way to the host's API", async || {
            let rules = spec("-kubelets").await?["egress"].as_array().cloned().unwrap_or_default();
            Ok(rules.contains(&want).then_some(()))
        })
        .await?;
        wait::until("no way there for servers", async || {
            Ok(spec("-servers").await?["egress"].to_string().contains("192.0.2.7/32").then_some(()))
        })
        .await?;
        slices.delete("kubernetes", &DeleteParams::default()).await?;
        remove(&client, name).await
    })
    .await
}
