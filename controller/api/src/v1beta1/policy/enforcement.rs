//! What happens when a rule is broken, and who is excused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What happens when a rule is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum EnforcementMode {
    /// It is counted and written to the audit log of the API server.
    Audit,
    /// Whoever writes the object is warned as well.
    Warn,
    /// The object is refused.
    #[default]
    Enforce,
}

/// What happens when a rule is broken, and who is excused.
#[derive(Serialize, Deserialize, kube::KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Enforcement {
    /// For every rule that is not listed. Guard rules are always enforced.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<EnforcementMode>,

    /// For single rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub rules: Vec<RuleMode>,

    /// What is excused, for how long and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    #[schemars(length(max = 64))]
    pub exemptions: Vec<Exemption>,
}

/// What happens when one rule is broken.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RuleMode {
    /// A rule such as images.digest, or an area of rules such as images.
    #[schemars(regex(pattern = r"^[a-z][a-zA-Z]*(\.[a-z][a-zA-Z]*)?$"))]
    pub name: String,
    /// What happens.
    pub mode: EnforcementMode,
}

/// What is excused from some rules until some day.
#[derive(Serialize, Deserialize, kube::KubeSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Exemption {
    /// Name of the exemption.
    pub name: String,
    /// The rules or areas of rules that do not hold. Guard rules cannot be listed.
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = ("self.all(r, r != 'guard' && !r.startsWith('guard.'))", "guard rules have no exemptions"))]
    pub rules: Vec<String>,
    /// Only in these clusters; all, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub clusters: Vec<String>,
    /// Only what comes from these namespaces inside the clusters; all, if none is named.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub virtual_namespaces: Vec<String>,
    /// Why, for whoever reads this later.
    #[schemars(length(min = 1, max = 1024))]
    pub reason: String,
    /// When the exemption ends, in RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub expires_at: String,
}
