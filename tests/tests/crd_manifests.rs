//! The committed CRDs are those that the types generate. To rewrite them:
//! `K3K_BLESS=1 cargo test -p k3k-tests --test crd_manifests`

use anyhow::{Context, Result, ensure};
use k3k_tests::workspace;
use kube::ResourceExt;
use std::{env, fs};

#[test]
fn committed_crds_are_the_generated_ones() -> Result<()> {
    for crd in k3k_api::crds() {
        let path = workspace::path("manifests/crds").join(format!("{}.yaml", crd.name_any()));
        let generated = format!(
            "# Generated from the types in controller/api; see tests/tests/crd_manifests.rs.\n{}",
            serde_saphyr::to_string(&crd)?
        );
        if env::var_os("K3K_BLESS").is_some() {
            fs::write(&path, &generated).with_context(|| format!("writing {}", path.display()))?;
        }
        let committed = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        ensure!(
            committed == generated,
            "{} differs from what the types generate: run K3K_BLESS=1 cargo test -p k3k-tests --test crd_manifests",
            path.display()
        );
        let read: serde_json::Value = serde_saphyr::from_str(&committed)?;
        ensure!(read == serde_json::to_value(&crd)?, "{} reads back as something else", path.display());
    }
    Ok(())
}
