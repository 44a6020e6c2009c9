//! The architecture, held against the code: who may depend on whom, and where nothing may wait.

use anyhow::{Context, Result};
use k3k_tests::workspace;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Each crate with those of ours that it may depend on.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("k3k-api", &[]),
    ("k3k-runtime", &[]),
    ("k3k-policy", &["k3k-api"]),
    ("k3k-translate", &["k3k-api"]),
    ("k3k-kubelet", &["k3k-api", "k3k-policy", "k3k-runtime", "k3k-translate"]),
    ("k3k-controller", &["k3k-api", "k3k-policy", "k3k-runtime"]),
    ("k3k-webhook", &["k3k-api", "k3k-policy", "k3k-runtime"]),
    ("kubectl-k3k", &["k3k-api", "k3k-policy"]),
    (
        "k3k-tests",
        &[
            "k3k-api",
            "k3k-policy",
            "k3k-runtime",
            "k3k-translate",
            "k3k-kubelet",
            "k3k-controller",
            "k3k-webhook",
            "kubectl-k3k",
        ],
    ),
];

/// Folders and files of pure decisions.
const PURE: [&str; 23] = [
    "controller/api/src",
    "controller/translate/src",
    "controller/kubelet/src/admission/decide.rs",
    "controller/kubelet/src/pods/decide.rs",
    "controller/kubelet/src/usage/ledger.rs",
    "controller/kubelet/src/uses.rs",
    "controller/src/cluster/build",
    "controller/src/cluster/plan.rs",
    "controller/src/policy/budget.rs",
    "controller/src/policy/build",
    "controller/src/policy/cidr.rs",
    "controller/src/policy/mode.rs",
    "controller/src/policy/plan.rs",
    "controller/src/policy/settled.rs",
    "webhook/src/decision.rs",
    "webhook/src/index.rs",
    "webhook/src/registry/address.rs",
    "webhook/src/registry/challenge.rs",
    "webhook/src/registry/credentials.rs",
    "webhook/src/registry/realm.rs",
    "webhook/src/registry/target.rs",
    "webhook/src/review.rs",
    "webhook/policy/src",
];

#[test]
fn dependencies_point_inwards() -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo)
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(workspace::path("."))
        .output()?;
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let packages = metadata["packages"].as_array().context("packages")?;
    assert_eq!(packages.len(), ALLOWED.len(), "a crate was added or removed: say here what it may depend on");
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default();
        let (_, allowed) = ALLOWED
            .iter()
            .find(|(known, _)| *known == name)
            .with_context(|| format!("{name} is not known here"))?;
        for dependency in package["dependencies"].as_array().into_iter().flatten() {
            let on = dependency["name"].as_str().unwrap_or_default();
            let ours = ALLOWED.iter().any(|(known, _)| *known == on);
            assert!(!ours || allowed.contains(&on), "{name} must not depend on {on}");
        }
    }
    Ok(())
}

#[test]
fn decisions_do_not_wait() -> Result<()> {
    for place in PURE {
        visit(&workspace::path(place), &mut |path, text| {
            assert!(!text.contains(".await"), "{} waits; effects belong elsewhere", path.display());
        })?;
    }
    Ok(())
}

fn visit(path: &Path, check: &mut impl FnMut(&Path, &str)) -> Result<()> {
    if path.is_dir() {
        for entry in std::fs::read_dir(path)? {
            visit(&entry?.path(), check)?;
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        check(path, &std::fs::read_to_string(path).with_context(|| path.display().to_string())?);
    } else {
        assert!(path.exists(), "{} is gone: mend the list", path.display());
    }
    Ok(())
}
