//! What the API server fills in before any rule is asked, as far as the answers depend on it.

use serde_json::{Map, Value, json};

const LISTS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

/// Fills in the defaults of a pod, or of a template of pods.
pub(super) fn pod(pod: &mut Value) {
    let Some(spec) = pod.get_mut("spec").and_then(Value::as_object_mut) else { return };
    volumes(spec);
    // The old name of the field.
    if let Some(account) = spec.get("serviceAccount").cloned()
        && spec.get("serviceAccountName").is_none_or(|name| name.as_str() == Some(""))
    {
        spec.insert("serviceAccountName".to_owned(), account);
    }
    for list in LISTS {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let Some(container) = container.as_object_mut() else { continue };
            image(container);
            amounts(container);
        }
    }
}

/// A volume that says nothing is an emptyDir.
fn volumes(spec: &mut Map<String, Value>) {
    for volume in spec.get_mut("volumes").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(volume) = volume.as_object_mut() else { continue };
        if volume.iter().all(|(key, value)| key == "name" || value.is_null()) {
            volume.insert("emptyDir".to_owned(), json!({}));
        }
        if let Some(image) = volume.get_mut("image").and_then(Value::as_object_mut) {
            let default = image.get("reference").and_then(Value::as_str).map(pull_policy);
            fill(image, "pullPolicy", default);
        }
    }
}

fn image(container: &mut Map<String, Value>) {
    let default = container.get("image").and_then(Value::as_str).map(pull_policy);
    fill(container, "imagePullPolicy", default);
}

fn fill(map: &mut Map<String, Value>, field: &str, default: Option<&str>) {
    let unset = map.get(field).is_none_or(|value| value.is_null() || value.as_str() == Some(""));
    if let (true, Some(default)) = (unset, default) {
        map.insert(field.to_owned(), default.into());
    }
}

/// Always for the tag `latest`, also where none is written.
fn pull_policy(image: &str) -> &'static str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let latest = match (image.contains('@'), last.split_once(':')) {
        (true, _) => false,
        (false, Some((_, tag))) => tag == "latest",
        (false, None) => true,
    };
    if latest { "Always" } else { "IfNotPresent" }
}

/// Who limits a resource and requests none requests the limit.
fn amounts(container: &mut Map<String, Value>) {
    let Some(resources) = container.get_mut("resources").and_then(Value::as_object_mut) else { return };
    let Some(limits) = resources.get("limits").and_then(Value::as_object).cloned() else { return };
    let requests = resources.entry("requests").or_insert_with(|| json!({}));
    if requests.is_null() {
        *requests = json!({});
    }
    let Some(requests) = requests.as_object_mut() else { return };
    for (resource, amount) in limits {
        requests.entry(resource).or_insert(amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("nginx", "Always")]
    #[case("nginx:latest", "Always")]
    #[case("nginx:1.27", "IfNotPresent")]
    #[case("localhost:5000/nginx", "Always")]
    #[case("localhost:5000/nginx:1", "IfNotPresent")]
    #[case("nginx@sha256:00", "IfNotPresent")]
    #[case("nginx:latest@sha256:00", "IfNotPresent")]
    fn pull_policies_follow_the_tag(#[case] image: &str, #[case] want: &str) {
        assert_eq!(pull_policy(image), want);
    }

    #[test]
    fn a_pod_is_what_the_api_server_makes_of_it() {
        let mut object = json!({"spec": {
            "serviceAccount": "app",
            "volumes": [{"name": "tmp"}, {"name": "c", "configMap": {"name": "c"}}],
            "containers": [{"name": "a", "image": "a:1",
                "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}}],
        }});
        pod(&mut object);
        let spec = &object["spec"];
        assert_eq!(spec["serviceAccountName"], "app");
        assert_eq!(
            spec["volumes"],
            json!([{"name": "tmp", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c"}}])
        );
        let container = &spec["containers"][0];
        assert_eq!(container["imagePullPolicy"], "IfNotPresent");
        assert_eq!(container["resources"]["requests"], json!({"cpu": "500m", "memory": "1Gi"}));
    }

    #[test]
    fn nonsense_stays_nonsense() {
        for nonsense in [
            json!(null),
            json!({"spec": 1}),
            json!({"spec": {"containers": [1, {"resources": {"limits": 1}}], "volumes": {}}}),
        ] {
            let mut object = nonsense.clone();
            pod(&mut object);
            assert_eq!(object, nonsense);
        }
    }
}
