//! The CustomResourceDefinitions: what the derive makes of the types, brought to what the API server and people
//! expect of them.

use super::{Cluster, VirtualClusterPolicy};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSON, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;
use serde_json::json;

/// A quantity as the API server's own types accept it; an object with another text in such a field is refused.
const QUANTITY_PATTERN: &str = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$";

/// Descriptions longer than this, which are those of Kubernetes' own types, are cut: the whole text would not fit into
/// the annotation that `kubectl apply` keeps.
const DESCRIPTION_LENGTH: usize = 200;

/// The CustomResourceDefinitions of this version, Clusters first.
pub fn crds() -> Vec<CustomResourceDefinition> {
    vec![refined(Cluster::crd()), refined(VirtualClusterPolicy::crd())]
}

fn refined(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        let Some(schema) = version.schema.as_mut().and_then(|schema| schema.open_api_v3_schema.as_mut())
        else {
            continue;
        };
        schema.title = None; // the kind, again
        refine(schema);
        for part in ["spec", "status"] {
            // Without an object there is nothing for the defaults inside it to apply to.
            if let Some(part) = schema.properties.as_mut().and_then(|properties| properties.get_mut(part)) {
                part.default = Some(JSON(json!({})));
            }
        }
    }
    crd
}

fn refine(schema: &mut JSONSchemaProps) {
    // What is not nullable is pruned when it is null, and then defaulted: as in the API server's own types.
    schema.nullable = None;
    if schema.x_kubernetes_int_or_string == Some(true) {
        schema.pattern = Some(QUANTITY_PATTERN.into()); // all fields of this kind are quantities
    }
    if let Some(description) = &mut schema.description {
        *description = shorten(description);
    }
    for child in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        refine(child);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(child)) = &mut schema.additional_properties {
        refine(child);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(child)) => refine(child),
        Some(JSONSchemaPropsOrArray::Schemas(children)) => children.iter_mut().for_each(refine),
        None => {}
    }
}

/// The first paragraph in one line, for `kubectl explain` breaks lines itself. Of a long one the first sentence and
/// those that fit behind it.
fn shorten(description: &str) -> String {
    let paragraph = description.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    if paragraph.len() <= DESCRIPTION_LENGTH {
        return paragraph;
    }
    let mut ends = paragraph.match_indices(". ").map(|(position, _)| position + 1);
    let Some(first) = ends.next() else { return paragraph };
    let end = ends.take_while(|end| *end <= DESCRIPTION_LENGTH).last().unwrap_or(first);
    paragraph[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_one_line_of_whole_sentences() {
        assert_eq!(shorten("One\nline. Two.\n\nMore."), "One line. Two.");
        let long = format!("First. {}. Third.", "x".repeat(DESCRIPTION_LENGTH));
        assert_eq!(shorten(&long), "First.");
        let endless = "x".repeat(2 * DESCRIPTION_LENGTH);
        assert_eq!(shorten(&endless), endless);
    }

    #[test]
    fn no_text_of_ours_is_cut() {
        for crd in [Cluster::crd(), VirtualClusterPolicy::crd()] {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            for part in ["spec", "status"] {
                let properties = &schema["openAPIV3Schema"]["properties"][part]["properties"];
                for (name, property) in properties.as_object().unwrap() {
                    let description = property["description"].as_str().unwrap();
                    assert_eq!(shorten(description), description.replace('\n', " "), "{part}.{name}");
                }
            }
        }
    }

    #[test]
    fn the_annotation_of_kubectl_apply_has_room() {
        for crd in crds() {
            let size = serde_json::to_vec(&crd).unwrap().len();
            assert!(size < 200 * 1024, "{size} bytes, of the 256 KiB that annotations may have");
        }
    }
}
