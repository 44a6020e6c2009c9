//! The endpoints of the Service `kubernetes` inside a cluster whose workers are elsewhere: where the API is for them.
//!
//! k3s' agents connect to these addresses, and pods reach the API at them. The API server would name its own pod.

use crate::cluster::build::outside::Advertised;
use futures::TryStreamExt as _;
use k3k_api::managers;
use k3k_runtime::apply;
use k8s_openapi::api::core::v1::Endpoints;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::DeleteParams;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The Service's name, and that of its endpoints.
const NAME: &str = "kubernetes";
/// Of its addresses of IPv6, which a slice cannot hold beside others.
const NAME_V6: &str = "kubernetes-ipv6";
const NAMESPACE: &str = "default";
/// How long the addresses of a name are believed: nothing tells of a change.
const NAMES_HOLD: Duration = Duration::from_secs(60);
/// How long a name server may take.
const LOOKUP: Duration = Duration::from_secs(2);
/// Before trying again.
const PAUSE: Duration = Duration::from_secs(2);

/// Keeps the endpoints as they shall be, until the watch breaks. Without any, never ends.
pub(super) async fn keep(client: Client, advertised: Option<&Advertised>) {
    let Some(advertised) = advertised else { return std::future::pending().await };
    let slices = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
    let of_service = watcher::Config::default().labels("kubernetes.io/service-name=kubernetes");
    let mut events = pin!(watcher(slices, of_service));
    let has_names = advertised.hosts.iter().any(|host| host.parse::<IpAddr>().is_err());
    loop {
        let told = match write(&client, advertised).await {
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(%error, "the endpoints of the nested API");
                return sleep(PAUSE).await;
            }
        };
        let renewal = async {
            match (told.is_empty(), has_names) {
                (true, _) => sleep(PAUSE).await,
                (false, true) => sleep(NAMES_HOLD).await,
                (false, false) => std::future::pending().await,
            }
        };
        let changed = async {
            loop {
                match events.try_next().await {
                    Ok(Some(Event::Apply(slice) | Event::InitApply(slice)))
                        if !is_as_told(&slice, &told, advertised.port) =>
                    {
                        return true;
                    }
                    Ok(Some(Event::Delete(_))) => return true,
                    Ok(Some(_)) => {}
                    Ok(None) | Err(_) => return false,
                }
            }
        };
        tokio::select! {
            () = renewal => {}
            goes_on = changed => if !goes_on { return },
        }
    }
}

/// Writes the endpoints and gives the addresses; none, and nothing is written, if no name has any now.
pub(super) async fn write(client: &Client, advertised: &Advertised) -> Result<Vec<IpAddr>, kube::Error> {
    let addresses = resolve(&advertised.hosts).await;
    if addresses.is_empty() {
        return Ok(addresses);
    }
    // What older k3s reads.
    let endpoints = parse::<Endpoints>(endpoints(&addresses, advertised.port))?;
    apply::apply(&Api::namespaced(client.clone(), NAMESPACE), managers::CONTROLLER_NESTED, &endpoints)
        .await?;
    let api = Api::<EndpointSlice>::namespaced(client.clone(), NAMESPACE);
    for (name, family) in [(NAME, "IPv4"), (NAME_V6, "IPv6")] {
        let of_family: Vec<_> =
            addresses.iter().filter(|address| family_of(address) == family).copied().collect();
        if of_family.is_empty() {
            match api.delete(name, &DeleteParams::default()).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                deleted => drop(deleted?),
            }
        } else {
            let slice = parse::<EndpointSlice>(slice(name, family, &of_family, advertised.port))?;
            apply::apply(&api, managers::CONTROLLER_NESTED, &slice).await?;
        }
    }
    Ok(addresses)
}

/// The addresses, those of names looked up. A loopback address is nobody's elsewhere.
async fn resolve(hosts: &[String]) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for host in hosts {
        if let Ok(address) = host.parse::<IpAddr>() {
            addresses.push(address);
            continue;
        }
        match timeout(LOOKUP, tokio::net::lookup_host((host.as_str(), 443))).await {
            Ok(Ok(found)) => addresses.extend(found.map(|found| found.ip())),
            Ok(Err(error)) => tracing::debug!(host, %error, "a name of the nested API has no address"),
            Err(_) => tracing::debug!(host, "nobody tells the address of a name of the nested API"),
        }
    }
    addresses.retain(|address| !address.is_loopback() && !address.is_unspecified());
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

fn family_of(address: &IpAddr) -> &'static str {
    if address.is_ipv4() { "IPv4" } else { "IPv6" }
}

/// Whether a slice says what was written. One of another name is somebody else's.
fn is_as_told(slice: &EndpointSlice, told: &[IpAddr], port: u16) -> bool {
    let family = match slice.name_any().as_str() {
        NAME => "IPv4",
        NAME_V6 => "IPv6",
        _ => return true,
    };
    let mut named: Vec<IpAddr> = slice
        .endpoints
        .iter()
        .flatten()
        .flat_map(|endpoint| &endpoint.addresses)
        .filter_map(|text| text.parse().ok())
        .collect();
    named.sort_unstable();
    let ports = slice.ports.as_deref().unwrap_or_default();
    named.iter().eq(told.iter().filter(|address| family_of(address) == family))
        && matches!(ports, [only] if only.port == Some(i32::from(port)))
}

fn endpoints(addresses: &[IpAddr], port: u16) -> Value {
    let addresses: Vec<Value> = addresses.iter().map(|address| json!({ "ip": address })).collect();
    json!({
        "apiVersion": "v1", "kind": "Endpoints",
        // The slices are ours as well.
        "metadata": { "name": NAME, "namespace": NAMESPACE, "labels": { "endpointslice.kubernetes.io/skip-mirror": "true" } },
        "subsets": [{ "addresses": addresses, "ports": [{ "name": "https", "port": port, "protocol": "TCP" }] }],
    })
}

fn slice(name: &str, family: &str, addresses: &[IpAddr], port: u16) -> Value {
    let endpoints: Vec<Value> = addresses
        .iter()
        .map(|address| json!({ "addresses": [address], "conditions": { "ready": true } }))
        .collect();
    json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": { "name": name, "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": NAME } },
        "addressType": family, "endpoints": endpoints,
        "ports": [{ "name": "https", "port": port, "protocol": "TCP" }],
    })
}

fn parse<K: serde::de::DeserializeOwned>(object: Value) -> Result<K, kube::Error> {
    serde_json::from_value(object).map_err(kube::Error::SerdeError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k3k_runtime::scenario;

    const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";

    fn advertised(hosts: &[&str]) -> Advertised {
        Advertised { hosts: hosts.iter().map(|host| (*host).to_owned()).collect(), port: 31234 }
    }

    #[tokio::test]
    async fn workers_are_told_addresses_by_family_and_never_loopback() {
        let (client, mut server) = scenario::client();
        let told = advertised(&["192.0.2.2", "192.0.2.1", "127.0.0.1", "2001:db8::1"]);
        let written = tokio::spawn(async move { write(&client, &told).await });
        let call = server.expect("PATCH", "/api/v1/namespaces/default/endpoints/kubernetes?").await;
        assert_eq!(call.body["metadata"]["labels"]["endpointslice.kubernetes.io/skip-mirror"], "true");
        assert_eq!(call.body["subsets"][0]["ports"][0]["port"], 31234);
        assert_eq!(call.body["subsets"][0]["addresses"].as_array().map(Vec::len), Some(3));
        call.accept();
        let call = server.expect("PATCH", &format!("{SLICES}/kubernetes?")).await;
        let slice = call.body.clone();
        call.accept();
        assert_eq!(slice["endpoints"][1]["addresses"], json!(["192.0.2.2"]));
        let call = server.expect("PATCH", &format!("{SLICES}/kubernetes-ipv6?")).await;
        assert_eq!(
            (&call.body["addressType"], &call.body["endpoints"][0]["addresses"]),
            (&json!("IPv6"), &json!(["2001:db8::1"]))
        );
        call.accept();
        let told = written.await.unwrap().unwrap();
        let slice: EndpointSlice = serde_json::from_value(slice).unwrap();
        assert!(is_as_told(&slice, &told, 31234));
        assert!(!is_as_told(&slice, &told, 443) && !is_as_told(&slice, &told[..1], 31234));
    }

    #[tokio::test]
    async fn without_any_address_nothing_is_written() {
        let (client, mut server) = scenario::client();
        assert!(write(&client, &advertised(&["localhost", "127.0.0.1"])).await.unwrap().is_empty());
        drop(client);
        assert!(server.next().await.is_none());
    }

    #[tokio::test]
    async fn a_slice_that_somebody_changed_is_put_right() {
        let (client, mut server) = scenario::client();
        let told = advertised(&["192.0.2.1"]);
        let kept = tokio::spawn(async move { keep(client, Some(&told)).await });
        for round in 0..2 {
            server.expect("PATCH", "/api/v1/namespaces/default/endpoints/kubernetes?").await.accept();
            server.expect("PATCH", &format!("{SLICES}/kubernetes?")).await.accept();
            server
                .expect("DELETE", &format!("{SLICES}/kubernetes-ipv6"))
                .await
                .refuse(404, "NotFound", "gone");
            if round == 0 {
                let changed = slice(NAME, "IPv4", &["192.0.2.66".parse().unwrap()], 31234);
                let list = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
                    "metadata": {"resourceVersion": "1"}, "items": [changed]});
                server.expect("GET", SLICES).await.answer(200, &list);
            }
        }
        kept.abort();
    }
}
