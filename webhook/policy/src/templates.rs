//! The kinds that make pods.

/// API group and plural of each, and where its template is.
const TEMPLATES: &[(&str, &str, &str)] = &[
    ("apps", "deployments", "/spec/template"),
    ("apps", "statefulsets", "/spec/template"),
    ("apps", "daemonsets", "/spec/template"),
    ("apps", "replicasets", "/spec/template"),
    ("", "replicationcontrollers", "/spec/template"),
    ("", "podtemplates", "/template"),
    ("batch", "jobs", "/spec/template"),
    ("batch", "cronjobs", "/spec/jobTemplate/spec/template"),
];

/// Where objects of `resource` of `group` have the template of the pods that they make, as a JSON Pointer.
pub fn of(group: &str, resource: &str) -> Option<&'static str> {
    let known = TEMPLATES.iter().find(|known| (known.0, known.1) == (group, resource));
    known.map(|(_, _, pointer)| *pointer)
}

/// The same as a path in a sentence, such as `spec.template`.
pub fn path(pointer: &str) -> String {
    pointer.trim_start_matches('/').replace('/', ".")
}
