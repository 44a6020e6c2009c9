//! What is there after a Cluster was created.

use super::*;
use k3k_api::labels;
use k3k_api::v1beta1::ClusterSpec;
use k3k_api::v1beta1::Phase;
use k3k_controller::args::Images;
use k3k_controller::cluster::apply::Live;
use k3k_controller::cluster::build::certificates::{self, Authorities};
use k3k_controller::cluster::build::exposure::Exposure;
use k3k_controller::cluster::build::{Kind, Manifest, Site, token};
use k3k_controller::cluster::credentials::Credentials;
use k3k_controller::cluster::observe::Observed;
use k3k_controller::cluster::pause::{Running, Step};
use k3k_controller::cluster::upgrade::Course;
use k3k_controller::cluster::{plan, validate};
use k3k_tests::in_namespace;
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};
use std::collections::HashMap;

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_cluster_gets_its_objects() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let created =
            create(&client, namespace, "dev", &json!({ "persistence": { "type": "ephemeral" } })).await?;
        let status = provisioned(&client, namespace, "dev").await?;
        let objects = objects(&client, namespace).await?;
        let names: Vec<&str> = objects.keys().map(String::as_str).collect();
        let ours: Vec<&str> = names.iter().copied().filter(|name| name.contains("k3k-dev")).collect();
        assert_eq!(
            ours,
            [
                "ConfigMap/k3k-dev-policy",
                "Deployment/k3k-dev-kubelet",
                "RoleBinding/k3k-dev-kubelet",
                "Secret/k3k-dev-agent-config",
                "Secret/k3k-dev-certificates",
                "Secret/k3k-dev-init-server-config",
                "Secret/k3k-dev-kubeconfig",
                "Secret/k3k-dev-token",
                "Service/k3k-dev-kube-dns",
                "Service/k3k-dev-kubelet",
                "Service/k3k-dev-service",
                "Service/k3k-dev-service-headless",
                "ServiceAccount/k3k-dev-kubelet",
                "StatefulSet/k3k-dev-server",
            ]
        );
        for name in ours {
            let owners = objects[name].owner_references();
            assert_eq!(owners.len(), 1, "{name}");
            assert_eq!(
                (Some(&owners[0].uid), owners[0].controller),
                (created.metadata.uid.as_ref(), Some(true)),
                "{name}"
            );
            // Made once and never replaced.
            let once = name.ends_with("-token") || name.ends_with("-certificates");
            assert_eq!(applied_by_us(&objects[name]), !once, "{name}");
        }

        let cluster = clusters(&client, namespace).get("dev").await?;
        assert!(cluster.finalizers().iter().any(|finalizer| finalizer == labels::CLUSTER_FINALIZER));
        assert_eq!(cluster.labels()[labels::PROVIDER], labels::PROVIDER_VALUE);
        let labelled = Api::<Namespace>::all(client.clone()).get(namespace).await?;
        assert_eq!(labelled.labels()[labels::CLUSTER_NAMESPACE], "true");

        let range = Api::<ServiceCIDR>::all(client.clone()).get("kubernetes").await?;
        assert_eq!(status.service_cidr, range.spec.unwrap().cidrs.unwrap().into_iter().next());
        let address = |name: &str| objects[name].data["spec"]["clusterIP"].as_str().unwrap().to_owned();
        assert_eq!(status.cluster_dns, Some(address("Service/k3k-dev-kube-dns")));
        assert_eq!(status.endpoint, Some(format!("https://{}", address("Service/k3k-dev-service"))));
        assert!(status.tls_sans.contains(&address("Service/k3k-dev-service")));
        assert!(status.host_version.is_some_and(|version| version.starts_with('v')));
        assert_eq!(status.phase, Phase::Provisioning);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn the_kubeconfig_leads_to_the_api_by_the_clusters_own_authorities() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        create(&client, namespace, "dev", &json!({})).await?;
        provisioned(&client, namespace, "dev").await?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let text = |secret: Secret, key: &str| {
            String::from_utf8(secret.data.unwrap().remove(key).unwrap().0).unwrap()
        };
        let kubeconfig = text(secrets.get("k3k-dev-kubeconfig").await?, "kubeconfig.yaml");
        let kubeconfig = Kubeconfig::from_yaml(&kubeconfig)?;
        let authority = text(secrets.get("k3k-dev-certificates").await?, "server-ca.crt");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let expected = k3k_runtime::certificates::inspect(&authority)?;
        assert!(expected.common_name.contains("server-ca"));
        assert_eq!(config.root_cert.unwrap().len(), 1);
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_token_that_is_there_is_used() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let token: Secret = serde_json::from_value(json!({
            "metadata": { "name": "k3k-dev-token" }, "stringData": { "token": "of-my-own" },
        }))?;
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let before = secrets.create(&PostParams::default(), &token).await?;
        create(&client, namespace, "dev", &json!({})).await?;
        provisioned(&client, namespace, "dev").await?;
        let config =
            secrets.get("k3k-dev-init-server-config").await?.data.unwrap().remove("config.yaml").unwrap();
        assert!(String::from_utf8(config.0)?.contains("token: of-my-own"));
        assert_eq!(
            secrets.get("k3k-dev-token").await?.metadata.resource_version,
            before.metadata.resource_version
        );
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn authorities_of_a_users_own_are_used() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        let spec = json!({ "customCAs": { "enabled": true, "sources": { "serverCA": { "secretName": "mine" } } } });
        create(&client, namespace, "dev", &spec).await?;
        let refused = status(&client, namespace, "dev", |status| status.phase == Phase::Pending).await?;
        let missing = "spec.customCAs.sources.serverCA: there is no Secret \"mine\"";
        assert!(message(&refused).starts_with(missing), "{}", message(&refused));

        let pair = k3k_runtime::certificates::Authority::generate("mine")?.pair();
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let mine = json!({
            "metadata": { "name": "mine" }, "stringData": { "tls.crt": pair.certificate, "tls.key": pair.key },
        });
        secrets.create(&PostParams::default(), &serde_json::from_value(mine)?).await?;
        provisioned(&client, namespace, "dev").await?;
        let made = secrets.get("k3k-dev-certificates").await?.data.unwrap();
        assert_eq!(made["server-ca.crt"].0, pair.certificate.as_bytes());
        assert_ne!(made["client-ca.crt"].0, pair.certificate.as_bytes());
        Ok(())
    })
    .await
}

/// What the controller would apply for a Cluster that uses every field, before it is in the host.
fn planned(namespace: &str) -> Result<Vec<Manifest>> {
    let spec: ClusterSpec = serde_json::from_value(json!({
        "nodeSelector": { "a": "b" }, "priorityClass": "p", "tlsSANs": ["dev.example"], "serverArgs": ["--debug"],
        "serverEnvs": [{ "name": "A", "value": "b" }], "addons": [{ "secretRef": "x" }],
        "serverLimit": { "cpu": "1" }, "serverAffinity": { "nodeAffinity": {} },
        "agentAffinity": { "podAffinity": {} }, "runtimeClassName": "r", "hostUsers": false,
        "secretMounts": [{ "secretName": "s", "mountPath": "/s", "defaultMode": 256, "optional": true }],
        "podSecurityContext": { "fsGroup": 1 }, "securityContext": { "runAsUser": 1 },
        "persistence": { "type": "dynamic", "storageClassName": "fast" },
        "expose": { "nodePort": { "serverPort": 31999 }, "annotations": { "a": "b" } },
    }))?;
    let site = Site { name: "dev".into(), namespace: namespace.into(), uid: "11111111-2222".into() };
    let observed = Observed {
        host_version: "v1.36.3".into(),
        host_service_cidr: "10.43.0.0/16".into(),
        policy_name: None,
        policy: None,
        policy_generation: 0,
        policy_in_force: true,
        older: None,
        capacity: BTreeMap::new(),
        nodes: Vec::new(),
        node_addresses: Vec::new(),
        all_node_addresses: Vec::new(),
        live: Live::default(),
        named_secrets: HashMap::new(),
        offered: k3k_api::offered::Offered::default(),
    };
    let authorities = certificates::generate("dev")?;
    let workload = plan::workload(&plan::Inputs {
        site: &site,
        spec: &spec,
        accepted: &validate::cluster(&site, &spec, None, &observed)?,
        observed: &observed,
        addresses: &plan::Addresses {
            api: "10.43.0.5".parse()?,
            api_port: 443,
            shown: Some(plan::Shown { kubelet: "10.43.0.6".parse()?, dns: "10.43.0.7".parse()? }),
        },
        exposure: &Exposure::Inside,
        credentials: &Credentials {
            authorities: Authorities::read(&authorities).map_err(anyhow::Error::msg)?,
            token: "token".into(),
        },
        images: &Images { pull_secrets: vec!["pull".into()], ..Images::default() },
        kubelet_replicas: 2,
        servers: &plan::Servers::single(),
        course: &Course::straight("v1.36.3-k3s1"),
        pause: &Step::of(Running::All),
        now: jiff::Timestamp::now(),
    })?;
    let mut manifests = plan::foundation(&site, &spec, &plan::Servers::single());
    let ingress = json!({ "ingress": { "ingressClassName": "nginx", "annotations": { "a": "b" } } });
    let by_name = ClusterSpec { expose: Some(serde_json::from_value(ingress)?), ..spec };
    manifests.extend(
        plan::foundation(&site, &by_name, &plan::Servers::single())
            .into_iter()
            .filter(|manifest| manifest.kind == Kind::Ingress),
    );
    manifests.extend([certificates::secret(&site, &authorities), token::secret(&site, "token")]);
    manifests.extend(workload.configuration);
    manifests.extend(workload.runners);
    Ok(manifests)
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn every_field_that_is_built_is_known_to_the_api_server() -> Result<()> {
    let client = client().await?;
    in_namespace(&client, async |namespace| {
        for manifest in planned(namespace)? {
            let strict = PatchParams::apply(managers::CONTROLLER).force().validation_strict().dry_run();
            let api = api(&client, namespace, &manifest.kind.to_string());
            api.patch(&manifest.name, &strict, &Patch::Apply(manifest.sealed()))
                .await
                .with_context(|| format!("{} {}", manifest.kind, manifest.name))?;
        }
        Ok(())
    })
    .await
}
