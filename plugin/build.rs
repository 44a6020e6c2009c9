//! Embeds the Helm chart's templates, its values and the custom resource definitions, so that `install` applies
//! what the chart would, without Helm and without a network.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    // Read when it runs, not when it is compiled: a build directory may be shared by several checkouts.
    let here = env::var_os("CARGO_MANIFEST_DIR")
        .ok_or_else(|| io::Error::other("cargo did not set CARGO_MANIFEST_DIR"))?;
    let manifests = Path::new(&here).join("../manifests");
    let mut code = String::new();
    for (constant, folder) in [("TEMPLATES", "chart/templates"), ("CRDS", "crds")] {
        let folder = manifests.join(folder);
        println!("cargo::rerun-if-changed={}", folder.display());
        let mut files = Vec::new();
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path().canonicalize()?;
            // A leading `_` marks Helm's partials, which this chart does without.
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|extension| extension == "yaml") && !name.starts_with('_') {
                println!("cargo::rerun-if-changed={}", path.display());
                files.push((name, path));
            }
        }
        if files.is_empty() {
            // An installer of nothing would remove what is installed.
            return Err(io::Error::other(format!("{} holds no manifests", folder.display())));
        }
        files.sort();
        let _ = writeln!(
            code,
            "/// Name and text of each file.\npub(crate) const {constant}: &[(&str, &str)] = &["
        );
        for (name, path) in files {
            let _ = writeln!(code, "    ({name:?}, include_str!({:?})),", path.display().to_string());
        }
        code.push_str("];\n");
    }
    for (constant, file) in [("VALUES", "chart/values.yaml"), ("CHART", "chart/Chart.yaml")] {
        let file = manifests.join(file);
        println!("cargo::rerun-if-changed={}", file.display());
        let text = format!("include_str!({:?})", file.canonicalize()?.display().to_string());
        let _ = writeln!(code, "/// Text of the file.\npub(crate) const {constant}: &str = {text};");
    }
    let out = env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("cargo did not set OUT_DIR"))?;
    fs::write(Path::new(&out).join("embedded.rs"), code)
}
