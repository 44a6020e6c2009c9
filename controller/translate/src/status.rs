//! The status of a host pod as the status of the nested pod it runs.

use k3k_api::labels::VIRTUAL_GENERATION;
use serde_json::{Map, Value, json};

/// The status of the nested pod `nested`, from that of its host pod. The node's address takes the place of the host
/// node's; what the nested cluster itself decided – scheduling, the conditions of readiness gates – stays.
pub fn of_pod(nested: &Value, host: &Value, node_ip: &str) -> Value {
    let empty = Map::new();
    let source = host["status"].as_object().unwrap_or(&empty);
    let mut status = Map::new();
    for (field, value) in source {
        match field.as_str() {
            // Of the host's scheduling, or rewritten below.
            "nominatedNodeName"
            | "resourceClaimStatuses"
            | "extendedResourceClaimStatus"
            | "conditions"
            | "hostIP"
            | "hostIPs"
            | "observedGeneration"
            | "qosClass" => {}
            "message" => drop(status.insert(field.clone(), text_for_tenant(value, nested, host))),
            "containerStatuses" | "initContainerStatuses" | "ephemeralContainerStatuses" => {
                let list = field
                    .replace("containerStatuses", "containers")
                    .replace("ContainerStatuses", "Containers");
                status.insert(field.clone(), as_written(value, &list, nested, host));
            }
            _ => drop(status.insert(field.clone(), value.clone())),
        }
    }
    if source.contains_key("hostIP") {
        status.insert("hostIP".into(), node_ip.into());
        status.insert("hostIPs".into(), json!([{"ip": node_ip}]));
    }
    if let Some(class) = nested.pointer("/status/qosClass").or_else(|| source.get("qosClass")) {
        status.insert("qosClass".into(), class.clone());
    }
    if let Some(generation) = source.get("observedGeneration").and_then(|told| observed(nested, host, told)) {
        status.insert("observedGeneration".into(), generation);
    }
    status.insert("conditions".into(), conditions(nested, host).into());
    Value::Object(status)
}

/// `statuses` of the containers in `list`, with the images as the tenant wrote them where the host has only added a digest. Which one, `imageID`
/// tells. A container that still runs an earlier image says so.
fn as_written(statuses: &Value, list: &str, nested: &Value, host: &Value) -> Value {
    let image = |pod: &Value, name: &Value| -> Option<String> {
        let containers = pod.pointer(&format!("/spec/{list}"))?.as_array()?;
        let container = containers.iter().find(|container| container["name"] == *name)?;
        container["image"].as_str().map(str::to_owned)
    };
    let mut statuses = statuses.clone();
    for status in statuses.as_array_mut().into_iter().flatten() {
        let Some((wrote, pinned)) = image(nested, &status["name"]).zip(image(host, &status["name"])) else {
            continue;
        };
        let Some(digest) = pinned.strip_prefix(&wrote).and_then(|rest| rest.strip_prefix('@')) else {
            continue;
        };
        let runs = status["imageID"].as_str().and_then(|id| id.rsplit_once('@')).map(|(_, digest)| digest);
        if runs.is_none_or(|runs| runs == digest) {
            status["image"] = wrote.into();
        }
    }
    statuses
}

/// The generation of the nested pod that the host's kubelet has acted upon when it says that it observed `told` of the host pod: the one
/// that was carried over last, once the host's kubelet has seen the host pod as it is now.
fn observed(nested: &Value, host: &Value, told: &Value) -> Option<Value> {
    let wanted = nested.pointer("/metadata/generation")?;
    if told.as_u64() < host.pointer("/metadata/generation").and_then(Value::as_u64) {
        return nested.pointer("/status/observedGeneration").cloned();
    }
    let is_ending = |pod: &Value| pod["metadata"]["deletionTimestamp"].is_string();
    if is_ending(nested) && is_ending(host) {
        return Some(wanted.clone()); // an end is a generation too, and is carried over by ending the host pod
    }
    let carried = host["metadata"]["annotations"][VIRTUAL_GENERATION].as_str();
    Some(carried.and_then(|text| text.parse::<u64>().ok()).map_or_else(|| wanted.clone(), Value::from))
}

/// Set by the kubelet and, when it evicts, by the control plane.
const SHARED_CONDITION: &str = "DisruptionTarget";

/// Conditions that the kubelet writes come from the host; all others are the nested cluster's.
const KUBELET_CONDITIONS: [&str; 8] = [
    "Initialized",
    "ContainersReady",
    "Ready",
    "PodReadyToStartContainers",
    "AllContainersRestarting",
    SHARED_CONDITION,
    "PodResizePending",
    "PodResizeInProgress",
];

fn conditions(nested: &Value, host: &Value) -> Vec<Value> {
    let list = |object: &Value| {
        object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default()
    };
    let from_kubelet =
        |condition: &Value| condition["type"].as_str().is_some_and(|kind| KUBELET_CONDITIONS.contains(&kind));
    let told_by_host = |condition: &Value| list(host).iter().any(|told| told["type"] == condition["type"]);
    let stays = |condition: &Value| {
        !from_kubelet(condition) || (condition["type"] == SHARED_CONDITION && !told_by_host(condition))
    };
    let mut all: Vec<Value> = list(nested).into_iter().filter(stays).collect();
    let gate = unmet_gate(nested, &all);
    for mut condition in list(host).into_iter().filter(from_kubelet) {
        if let Some(fields) = condition.as_object_mut()
            && let Some(told) = fields.remove("observedGeneration")
            && let Some(generation) = observed(nested, host, &told)
        {
            fields.insert("observedGeneration".into(), generation);
        }
        if condition["type"] == "Ready"
            && condition["status"] == "True"
            && let Some(gate) = &gate
        {
            condition["status"] = "False".into();
            condition["reason"] = "ReadinessGatesNotReady".into();
            condition["message"] =
                format!("the status of pod readiness gate \"{gate}\" is not \"True\"").into();
        }
        all.push(condition);
    }
    all
}

/// The first readiness gate of the nested pod that is not met. Gates are the nested cluster's business: the host pod
/// has none, so its `Ready` knows nothing of them.
fn unmet_gate(nested: &Value, conditions: &[Value]) -> Option<String> {
    let gates = nested.pointer("/spec/readinessGates")?.as_array()?;
    let gates = gates.iter().filter_map(|gate| gate["conditionType"].as_str());
    let met = |gate: &str| {
        conditions.iter().any(|condition| condition["type"] == gate && condition["status"] == "True")
    };
    gates.into_iter().find(|gate| !met(gate)).map(str::to_owned)
}

/// The status of a nested pod that its node does not admit, as a kubelet writes it: it has failed, and its controller makes another.
pub fn rejected(nested: &Value, reason: &str, message: &str) -> Value {
    let mut status = nested.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    for (field, value) in [("phase", "Failed"), ("reason", reason), ("message", message)] {
        status.insert(field.to_owned(), value.into());
    }
    Value::Object(status)
}

/// The status of a nested pod that was stopped with its cluster and does not run again, as a kubelet writes it when its node shuts down: it
/// has failed by no fault of its own.
pub fn stopped(nested: &Value, now: &str) -> Value {
    let message =
        "Pod was stopped when the cluster was paused, and its restartPolicy does not let it run again";
    let mut status = rejected(nested, "Terminated", message);
    for list in ["containerStatuses", "initContainerStatuses"] {
        for container in status.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            for field in ["ready", "started"] {
                container[field] = false.into();
            }
            let Some(started) =
                container["state"]["running"].as_object().map(|running| running.get("startedAt").cloned())
            else {
                continue;
            };
            container["state"] = json!({"terminated": {
                "exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": started, "finishedAt": now,
                "message": "The container was stopped with its cluster, and how it ended is not known",
            }});
        }
    }
    let mut conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    for (kind, value, reason) in [
        ("ContainersReady", "False", "PodFailed"),
        ("Ready", "False", "PodFailed"),
        ("DisruptionTarget", "True", "TerminationByKubelet"),
    ] {
        conditions.retain(|condition| condition["type"] != kind);
        conditions.push(json!({
            "type": kind, "status": value, "reason": reason, "message": message, "lastTransitionTime": now,
        }));
    }
    status["conditions"] = conditions.into();
    status
}

/// The status of a nested pod that the host would not take: every container waits, with the reason.
pub fn refused(nested: &Value, reason: &str, message: &str, now: &str) -> Value {
    let waiting = |list: &str| -> Vec<Value> {
        let containers =
            nested.pointer(&format!("/spec/{list}")).and_then(Value::as_array).into_iter().flatten();
        containers
            .map(|container| {
                json!({
                    "name": container["name"], "image": container["image"], "imageID": "", "ready": false, "started": false,
                    "restartCount": 0, "state": {"waiting": {"reason": reason, "message": message}},
                })
            })
            .collect()
    };
    let mut status = nested.get("status").and_then(Value::as_object).cloned().unwrap_or_default();
    let mut conditions = status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    for kind in ["ContainersReady", "Ready"] {
        let old =
            conditions.iter().find(|condition| condition["type"] == kind && condition["status"] == "False");
        let since = old.and_then(|old| old["lastTransitionTime"].as_str()).unwrap_or(now).to_owned();
        conditions.retain(|condition| condition["type"] != kind);
        conditions.push(json!({"type": kind, "status": "False", "reason": reason, "message": message, "lastTransitionTime": since}));
    }
    status.insert("phase".into(), "Pending".into());
    status.insert("conditions".into(), conditions.into());
    status.insert("containerStatuses".into(), waiting("containers").into());
    let init = waiting("initContainers");
    if !init.is_empty() {
        status.insert("initContainerStatuses".into(), init.into());
    }
    Value::Object(status)
}

/// `text` with the host's names of the pod replaced by the tenant's.
pub fn for_tenant(text: &str, host_name: &str, host_namespace: &str, name: &str, namespace: &str) -> String {
    text.replace(&format!("{host_namespace}/{host_name}"), &format!("{namespace}/{name}"))
        .replace(&format!("{host_name}_{host_namespace}"), &format!("{name}_{namespace}"))
        .replace(host_name, name)
        .replace(&format!("namespace \"{host_namespace}\""), &format!("namespace \"{namespace}\""))
}

fn text_for_tenant(value: &Value, nested: &Value, host: &Value) -> Value {
    let meta = |object: &Value, key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
    match value.as_str() {
        Some(text) => for_tenant(
            text,
            &meta(host, "name"),
            &meta(host, "namespace"),
            &meta(nested, "name"),
            &meta(nested, "namespace"),
        )
        .into(),
        None => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_node_and_the_nested_scheduler_have_the_last_word() {
        let nested = json!({
            "metadata": {"name": "web", "namespace": "default", "generation": 3},
            "spec": {"readinessGates": [{"conditionType": "example.com/lb"}]},
            "status": {"qosClass": "BestEffort", "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        });
        let host = json!({
            "metadata": {"name": "web-default-dev-77", "namespace": "k3k-dev"},
            "status": {
                "phase": "Running", "podIP": "10.244.0.9", "podIPs": [{"ip": "10.244.0.9"}], "hostIP": "10.10.0.2",
                "observedGeneration": 1, "nominatedNodeName": "host-1",
                "conditions": [
                    {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:09Z"},
                    {"type": "Ready", "status": "True", "observedGeneration": 1},
                ],
            },
        });
        let status = of_pod(&nested, &host, "10.96.7.7");
        assert_eq!(status["hostIP"], "10.96.7.7");
        assert_eq!(status["podIP"], "10.244.0.9");
        assert_eq!(status["observedGeneration"], 3);
        assert_eq!(status.get("nominatedNodeName"), None);
        assert_eq!(status["conditions"][0]["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(status["conditions"][1]["status"], "False");
        assert_eq!(status["conditions"][1]["reason"], "ReadinessGatesNotReady");
    }

    #[test]
    fn a_generation_is_observed_when_it_was_carried_over_and_seen_by_the_host() {
        let nested = json!({"metadata": {"generation": 3}, "status": {"observedGeneration": 2}});
        let observed = |nested: &Value, metadata: &Value, told: u32| {
            let host = json!({"metadata": metadata, "status": {
                "observedGeneration": told, "conditions": [{"type": "Ready", "observedGeneration": told}],
            }});
            let status = of_pod(nested, &host, "10.96.7.7");
            assert_eq!(status["observedGeneration"], status["conditions"][0]["observedGeneration"]);
            status["observedGeneration"].clone()
        };
        let carried = |nested: &str, host: u32| json!({"generation": host, "annotations": {"k3k.io/generation": nested}});
        assert_eq!(observed(&nested, &carried("2", 7), 7), 2, "the third is still to be carried over");
        assert_eq!(observed(&nested, &carried("3", 8), 7), 2, "the host's kubelet has not seen it yet");
        assert_eq!(observed(&nested, &carried("3", 8), 8), 3);
        assert_eq!(observed(&nested, &json!({"generation": 8}), 8), 3, "a host pod of an earlier version");

        let ending = "2026-01-01T00:00:00Z";
        let nested = json!({"metadata": {"generation": 4, "deletionTimestamp": ending}, "status": {"observedGeneration": 3}});
        let mut host = carried("3", 9);
        assert_eq!(observed(&nested, &host, 9), 3, "the host pod does not end yet");
        host["deletionTimestamp"] = ending.into();
        assert_eq!(observed(&nested, &host, 9), 4);
    }

    #[test]
    fn an_image_is_called_what_the_tenant_called_it_and_its_digest_is_told() {
        let image = |id: &str, nested: &str, host: &str, list: &str, statuses: &str| {
            let pod = |image: &str| json!({"spec": {list: [{"name": "c", "image": image}]}});
            let mut host = pod(host);
            host["status"] = json!({statuses: [{"name": "c", "image": "docker.io/library/nginx:x", "imageID": id}, {"name": "other"}]});
            let status = of_pod(&pod(nested), &host, "10.96.7.7");
            assert_eq!(status[statuses][0]["imageID"], id);
            status[statuses][0]["image"].as_str().unwrap().to_owned()
        };
        let shown =
            |id: &str, nested: &str, host: &str| image(id, nested, host, "containers", "containerStatuses");
        let id = "docker.io/library/nginx@sha256:aa";
        assert_eq!(shown(id, "nginx:1.27", "nginx:1.27@sha256:aa"), "nginx:1.27");
        assert_eq!(
            shown("", "nginx:1.27", "nginx:1.27@sha256:aa"),
            "nginx:1.27",
            "it has not been pulled yet"
        );
        let (all, earlier) = ("docker.io/library/nginx:x", "docker.io/library/nginx@sha256:bb");
        assert_eq!(
            shown(earlier, "nginx:1.27", "nginx:1.27@sha256:aa"),
            all,
            "it runs what was there before"
        );
        assert_eq!(shown(id, "nginx:1.27", "nginx:1.27"), all, "as the host's kubelet says");
        assert_eq!(
            shown(id, "nginx:1.28", "nginx:1.27@sha256:aa"),
            all,
            "the change was not carried over yet"
        );
        for (list, statuses) in [
            ("initContainers", "initContainerStatuses"),
            ("ephemeralContainers", "ephemeralContainerStatuses"),
        ] {
            assert_eq!(image(id, "nginx", "nginx@sha256:aa", list, statuses), "nginx", "{list}");
        }
    }

    #[test]
    fn a_refusal_waits_with_its_reason_and_keeps_its_time() {
        let nested =
            json!({"spec": {"containers": [{"name": "c", "image": "i"}]}, "status": {"phase": "Pending"}});
        let first = refused(&nested, "HostAdmissionDenied", "no", "t1");
        assert_eq!(first["containerStatuses"][0]["state"]["waiting"]["reason"], "HostAdmissionDenied");
        let again =
            refused(&json!({"spec": nested["spec"], "status": first}), "HostAdmissionDenied", "no", "t2");
        assert_eq!(
            again["conditions"][0]["lastTransitionTime"], "t1",
            "an unchanged refusal writes nothing new"
        );
    }

    #[test]
    fn an_eviction_in_the_nested_cluster_stays_visible() {
        let evicted = |reason: &str| json!({"type": "DisruptionTarget", "status": "True", "reason": reason});
        let nested = json!({"status": {"conditions": [evicted("EvictionByEvictionAPI")]}});
        assert_eq!(conditions(&nested, &json!({})), [evicted("EvictionByEvictionAPI")]);
        let host = json!({"status": {"conditions": [evicted("TerminationByKubelet")]}});
        assert_eq!(conditions(&nested, &host), [evicted("TerminationByKubelet")]);
    }
}
