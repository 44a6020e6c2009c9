//! The plugin through the real krew: the manifest is valid, the archives install offline, and kubectl finds the plugin.

use anyhow::{Context, Result, ensure};
use k3k_tests::plugin::{self, Ran};
use k3k_tests::workspace;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A krew of its own, with kubectl, and the manifest and archive of the newest build.
struct Krew {
    folder: TempDir,
}

impl Krew {
    fn set_up() -> Result<Self> {
        let krew = Self { folder: tempfile::tempdir()? };
        fs::create_dir(krew.path("bin"))?;
        symlink(workspace::made_by("test", "target/lab/bin/k3s")?, krew.path("bin/kubectl"))?;
        for program in ["kubectl-krew", "validate-krew-manifest"] {
            symlink(
                workspace::made_by("test", &format!("target/krew/bin/{program}"))?,
                krew.path("bin").join(program),
            )?;
        }
        Self::render(&krew.path("out"))?;
        Ok(krew)
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.folder.path().join(relative)
    }

    fn render(out: &Path) -> Result<()> {
        let platform = format!("linux/amd64={}", plugin::binary()?.display());
        let ran = plugin::run(Command::new(workspace::path("krew/render")).arg(out).arg(platform))?;
        ensure!(ran.code == Some(0), "krew/render: {}", ran.stderr);
        Ok(())
    }

    fn archive(&self) -> Result<PathBuf> {
        let mut entries = fs::read_dir(self.path("out"))?.flatten().map(|entry| entry.path());
        entries.find(|path| path.extension().is_some_and(|extension| extension == "gz")).context("no archive")
    }

    /// A program with this krew's root and PATH, and no network to fall back to.
    fn run(&self, program: &str, args: &[&str]) -> Result<Ran> {
        let path =
            format!("{}:{}:/usr/bin:/bin", self.path("root/bin").display(), self.path("bin").display());
        let mut command = Command::new(self.path("bin").join(program));
        command.args(args).env_clear().env("PATH", path).env("KREW_ROOT", self.path("root"));
        command
            .env("HOME", self.folder.path())
            .env("KREW_NO_UPGRADE_CHECK", "1")
            .env("HTTPS_PROXY", "http://127.0.0.1:1");
        command.env("KREW_OS", "linux").env("KREW_ARCH", "amd64");
        plugin::run(&mut command)
    }

    fn add_empty_index(&self) -> Result<()> {
        let index = self.path("empty-index");
        fs::create_dir_all(index.join("plugins"))?;
        fs::write(index.join("plugins/README"), "nothing yet")?;
        let identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        for args in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "An empty index"]] {
            let mut git = Command::new("git");
            let ran = plugin::run(
                git.current_dir(&index).env("HOME", self.folder.path()).args(identity).args(args),
            )?;
            ensure!(ran.code == Some(0), "git {args:?}: {ran:?}");
        }
        let url = format!("file://{}", index.display());
        let added = self.run("kubectl", &["krew", "index", "add", "test", &url])?;
        ensure!(added.code == Some(0), "{added:?}");
        Ok(())
    }

    fn install(&self, manifest: &Path, archive: &Path) -> Result<Ran> {
        let (manifest, archive) =
            (format!("--manifest={}", manifest.display()), format!("--archive={}", archive.display()));
        self.run("kubectl", &["krew", "install", &manifest, &archive])
    }
}

#[test]
#[ignore = "needs target/krew/bin, target/lab/bin/k3s and kubectl-k3k: make test"]
fn krew_installs_the_archive_and_kubectl_finds_the_plugin() -> Result<()> {
    let krew = Krew::set_up()?;
    let ran = krew.install(&krew.path("out/k3k.yaml"), &krew.archive()?)?;
    ensure!(ran.code == Some(0), "{ran:?}");
    ensure!(ran.stderr.contains("kubectl k3k install"), "the caveat is not shown: {ran:?}");
    let version = krew.run("kubectl", &["k3k", "version", "--client"])?;
    ensure!(version.code == Some(0) && version.stdout.contains("Client"), "{version:?}");
    let help = krew.run("kubectl", &["k3k", "create", "--help"])?;
    ensure!(help.stdout.contains("Usage: kubectl k3k create"), "{}", help.stdout);
    let wrong = krew.run("kubectl", &["k3k", "frobnicate"])?;
    ensure!(wrong.code == Some(2), "kubectl passes our exit code on: {wrong:?}");
    // krew lists and removes only when it knows an index: an empty one of our own will do.
    krew.add_empty_index()?;
    let list = krew.run("kubectl", &["krew", "list"])?;
    ensure!(list.stdout.contains("k3k"), "{list:?}");
    let gone = krew.run("kubectl", &["krew", "uninstall", "k3k"])?;
    ensure!(gone.code == Some(0), "{gone:?}");
    ensure!(!krew.path("root/bin/kubectl-k3k").exists());
    Ok(())
}

#[test]
#[ignore = "needs target/krew/bin, target/lab/bin/k3s and kubectl-k3k: make test"]
fn krew_refuses_an_archive_with_another_checksum() -> Result<()> {
    let krew = Krew::set_up()?;
    let manifest = krew.path("k3k.yaml");
    let text = fs::read_to_string(krew.path("out/k3k.yaml"))?;
    let (before, after) = text.split_once("sha256: \"").context("no checksum")?;
    let wrong: String = after.chars().take(64).map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    fs::write(&manifest, format!("{before}sha256: \"{wrong}{}", &after[64..]))?;
    let ran = krew.install(&manifest, &krew.archive()?)?;
    ensure!(ran.code != Some(0) && ran.stderr.contains("checksum"), "{ran:?}");
    ensure!(!krew.path("root/bin/kubectl-k3k").exists());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs target/krew/bin, target/lab/bin/k3s and kubectl-k3k: make test"]
async fn the_manifest_is_fit_for_the_index() -> Result<()> {
    let krew = Krew::set_up()?;
    // The check downloads the archives from where the manifest says; here that is this test.
    let archive = fs::read(krew.archive()?)?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let router = axum::Router::new().fallback(move || {
        let archive = archive.clone();
        async move { archive }
    });
    let server = tokio::spawn(async move { axum::serve(listener, router).await });
    let text = fs::read_to_string(krew.path("out/k3k.yaml"))?;
    let release = "https://github.com/k3k-io/k3k/releases/download/";
    ensure!(text.contains(release), "{text}");
    let folder = krew.path("index");
    fs::create_dir(&folder)?;
    let manifest = folder.join("k3k.yaml");
    fs::write(&manifest, text.replace(release, &format!("http://{address}/")))?;
    let ran = krew.run("validate-krew-manifest", &["-manifest", &manifest.to_string_lossy()])?;
    ensure!(ran.code == Some(0), "{ran:?}");

    fs::rename(&manifest, folder.join("other.yaml"))?;
    let ran =
        krew.run("validate-krew-manifest", &["-manifest", &folder.join("other.yaml").to_string_lossy()])?;
    ensure!(ran.code != Some(0), "a manifest of another name is accepted");
    server.abort();
    Ok(())
}

#[test]
#[ignore = "needs kubectl-k3k: make test"]
fn the_same_binary_gives_the_same_archive() -> Result<()> {
    let krew = Krew::set_up()?;
    Krew::render(&krew.path("again"))?;
    let archive = krew.archive()?;
    let again = krew.path("again").join(archive.file_name().context("no name")?);
    ensure!(fs::read(&archive)? == fs::read(again)?, "the archives differ");
    ensure!(fs::read(krew.path("out/k3k.yaml"))? == fs::read(krew.path("again/k3k.yaml"))?);
    Ok(())
}
