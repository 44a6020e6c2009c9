//! The corpus of ways around a policy, `tests/data/corpus/*.yaml`: what is tried, by whom, and what comes of it. It is
//! run against the evaluator alone, and against a real API server.
//!
//! Every file is a list of entries. `bases.yaml` has the objects that entries begin with, `policies.yaml` the specs of
//! the policies that they name.

mod cases;

pub use cases::Case;

use crate::workspace;
use anyhow::{Context, Result, bail, ensure};
use k3k_api::names;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;

/// The policy of entries that name none.
const USUAL_POLICY: &str = "restricted";
/// The namespace of entries that name none.
const USUAL_NAMESPACE: &str = "t-a";
/// A digest, for `${digest}` in entries.
pub const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
/// Another one, for `${other-digest}`.
pub const OTHER_DIGEST: &str = "sha256:fedcba9876543210fedcba9876543210fedcba9876543210fedcba9876543210";

/// One thing that somebody tries.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Entry {
    /// Section and number, such as `B06`; with `+` the legitimate twin, with `.word` a variant of either.
    pub id: String,
    /// What it is about.
    pub title: String,
    /// Who does it; see [`caller`].
    #[serde(rename = "as", default = "editor")]
    pub caller: String,
    /// A name in `policies.yaml`; `none`, `missing` or `unreadable`.
    pub policy: Option<String>,
    /// What is done, where it is not the creation of the object.
    #[serde(default)]
    pub request: Request,
    /// The object.
    #[serde(flatten)]
    pub object: Object,
    /// The object as it was.
    pub old: Option<Object>,
    /// Laid over a container of every list in turn; as a template's the same is a warning.
    pub container: Option<Value>,
    /// In which lists: all, if it is not said.
    #[serde(default)]
    pub lists: Vec<String>,
    /// Whether the same is a warning in a template: not where the pod gets what it lacks.
    #[serde(default = "yes")]
    pub templates: bool,
    /// What else is known.
    #[serde(default)]
    pub facts: Facts,
    /// What comes of it. Not there if `elsewhere` is.
    pub expect: Option<Expect>,
    /// Exactly the rules that are enforced or warned of.
    #[serde(default)]
    pub rules: Vec<String>,
    /// What is in the object afterwards, among other things.
    pub mutated: Option<Value>,
    /// Who refuses it as well, when nobody can ask us: `psa`, `quota`, `rbac`, `apiserver`, `vap`.
    #[serde(default)]
    pub floor: Vec<String>,
    /// Which test shows it, where it cannot be put as one question to the evaluator.
    pub elsewhere: Option<String>,
    /// Why it is decided so, where one could expect something else.
    pub reason: Option<String>,
}

/// An object: a base with something laid over it, or all of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Object {
    /// A name in `bases.yaml`.
    pub base: Option<String>,
    /// Laid over the base, key by key. A list replaces a list; null is null.
    pub merge: Option<Value>,
    /// What is taken out, as JSON pointers.
    #[serde(default)]
    pub remove: Vec<String>,
    /// The whole object.
    pub object: Option<Value>,
}

/// What is done.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// `CREATE` if it is not said, or `UPDATE` where there is an old object.
    pub operation: Option<String>,
    /// API group; the object's if it is not said.
    pub group: Option<String>,
    /// Plural name; the object's if it is not said.
    pub resource: Option<String>,
    /// Subresource.
    #[serde(default)]
    pub sub_resource: String,
    /// The object's name if it is not said.
    pub name: Option<String>,
    /// The usual one if it is not said.
    pub namespace: Option<String>,
}

/// What else is known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    /// The pod that a connection is opened to.
    pub target: Option<Object>,
    /// Whether the caller may use the policies between which a namespace changes.
    #[serde(default)]
    pub may_use_policies: bool,
    /// Clusters in the namespace.
    #[serde(default)]
    pub clusters_in_namespace: usize,
    /// Host names that other namespaces have.
    #[serde(default)]
    pub taken_hosts: Vec<String>,
    /// What registries say, by image.
    #[serde(default)]
    pub digests: BTreeMap<String, String>,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// It is refused.
    Deny,
    /// Nothing is said against it.
    Allow,
    /// It is admitted with a warning.
    Warn,
    /// It is admitted, changed.
    Mutate,
}

/// All that is in the directory.
#[derive(Debug)]
pub struct Corpus {
    /// Every entry of every file.
    pub entries: Vec<Entry>,
    /// Specs of policies by name.
    pub policies: BTreeMap<String, Value>,
    bases: BTreeMap<String, Value>,
}

fn yes() -> bool {
    true
}

fn editor() -> String {
    "edit".to_owned()
}

/// The user and the groups of a caller: `edit` is anybody with the right to write, `kubelet` the virtual kubelet of
/// cluster `ca`, `kubelet-b` that of `cb`, `account:ns:name` a ServiceAccount, `…-controller` a controller of the host.
pub fn caller(name: &str) -> (String, Vec<String>) {
    let account = |namespace: &str, name: &str| format!("system:serviceaccount:{namespace}:{name}");
    let user = match name {
        "edit" => "jane".to_owned(),
        "admin" => return ("root".to_owned(), vec!["system:masters".to_owned()]),
        "controller" => account("k3k-system", "k3k-controller"),
        "kubelet" => account(USUAL_NAMESPACE, "k3k-ca-kubelet"),
        "kubelet-b" => account(USUAL_NAMESPACE, "k3k-cb-kubelet"),
        "node" => "system:node:n1".to_owned(),
        "scheduler" => "system:kube-scheduler".to_owned(),
        _ => match name.strip_prefix("account:").and_then(|account| account.split_once(':')) {
            Some((namespace, name)) => account(namespace, name),
            None => account("kube-system", name),
        },
    };
    (user, Vec::new())
}

impl Corpus {
    /// Reads the corpus.
    pub fn read() -> Result<Self> {
        let mut entries: Vec<Entry> = Vec::new();
        let directory = workspace::path("tests/tests/data/corpus");
        let mut files: Vec<_> = fs::read_dir(&directory)
            .with_context(|| format!("reading {}", directory.display()))?
            .collect::<Result<_, _>>()?;
        files.sort_by_key(fs::DirEntry::path);
        for file in files {
            let name = file.file_name();
            if name != "bases.yaml" && name != "policies.yaml" {
                entries.extend(parse::<Vec<Entry>>(&file.path())?);
            }
        }
        Ok(Self {
            entries,
            policies: parse(&directory.join("policies.yaml"))?,
            bases: parse(&directory.join("bases.yaml"))?,
        })
    }

    /// The object that is meant.
    pub fn object(&self, object: &Object) -> Result<Value> {
        let mut whole = match (&object.base, &object.object) {
            (Some(base), None) => self.bases.get(base).with_context(|| format!("no base {base}"))?.clone(),
            (None, Some(object)) => object.clone(),
            _ => bail!("either base or object"),
        };
        if let Some(over) = &object.merge {
            merge(&mut whole, over);
        }
        for pointer in &object.remove {
            let (parent, key) = pointer.rsplit_once('/').context("not a pointer")?;
            let parent =
                whole.pointer_mut(parent).and_then(Value::as_object_mut).context("nothing to remove")?;
            ensure!(parent.remove(&key.replace("~1", "/")).is_some(), "{pointer} is not there");
        }
        Ok(whole)
    }
}

impl Entry {
    /// The name of its policy.
    pub fn policy(&self) -> &str {
        self.policy.as_deref().unwrap_or(USUAL_POLICY)
    }

    /// The row that it belongs to, such as `B06`.
    pub fn row(&self) -> &str {
        self.id.get(..3).unwrap_or(&self.id)
    }

    /// Whether it shows what stays allowed.
    pub fn is_twin(&self) -> bool {
        self.id.get(3..).is_some_and(|rest| rest.starts_with('+'))
    }
}

/// Lays `over` over `base`, key by key.
pub fn merge(base: &mut Value, over: &Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                merge(base.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (base, over) => over.clone_into(base),
    }
}

/// Whether all that `part` says is in `whole`; lists are of the same length.
pub fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|whole| contains(whole, value)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| contains(whole, part))
        }
        (whole, part) => whole == part,
    }
}

fn parse<T: DeserializeOwned>(path: &std::path::Path) -> Result<T> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let text = filled_in(&text).with_context(|| path.display().to_string())?;
    // By way of JSON: YAML's own numbers and texts are told apart there.
    let value: Value = serde_saphyr::from_str(&text).with_context(|| format!("{}", path.display()))?;
    serde_json::from_value(value).with_context(|| format!("{}", path.display()))
}

/// `${ca:default/app}` is the name of the copy of `default/app` of cluster `ca`, `${digest}` a digest, `${x*80}` a text
/// of 80 letters.
fn filled_in(text: &str) -> Result<String> {
    let mut parts = text.split("${");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').context("a ${ without its }")?;
        let value = match name {
            "digest" => DIGEST.to_owned(),
            "other-digest" => OTHER_DIGEST.to_owned(),
            _ if name.contains('*') => {
                let (letter, count) = name.split_once('*').unwrap_or_default();
                letter.repeat(count.parse()?)
            }
            _ => {
                let (cluster, object) = name.split_once(':').context("a ${ that means nothing")?;
                let (namespace, object) = object.split_once('/').unwrap_or(("", object));
                names::translated(cluster, namespace, object)
            }
        };
        whole += &value;
        whole += rest;
    }
    Ok(whole)
}
