use super::*;
use serde_json::json;
use std::fs;
use tempfile::TempDir;

const SOURCE: &str = r#"
apiVersion: v1
kind: Config
current-context: k3k-dev
clusters: [{name: k3k-dev, cluster: {server: "https://10.43.0.7", certificate-authority-data: QQ==}}]
users: [{name: k3k-dev, user: {client-certificate-data: Qg==, client-key-data: Qw==}}]
contexts: [{name: k3k-dev, context: {cluster: k3k-dev, user: k3k-dev}}]
"#;

const PROD: &str = r#"apiVersion: v1
kind: Config
current-context: prod-eu
preferences: {colors: true}
unknown-at-top: {keep: [1, "012", "yes"]}
clusters:
- name: prod
  cluster: {server: "https://prod", unknown-in-cluster: 7}
users:
- name: admin
  user: {token: "0123", exec: {command: aws, args: ["--x"], env: null, interactiveMode: IfAvailable}}
contexts:
- name: prod-eu
  context: {cluster: prod, user: admin, namespace: "1234"}
"#;

fn origin(uid: &str) -> Origin {
    Origin {
        uid: uid.to_owned(),
        cluster: "k3k-dev/dev".to_owned(),
        host: "https://host:6443".to_owned(),
        host_context: "prod-eu".to_owned(),
        previous_context: None,
    }
}

fn entry(uid: &str) -> Entry {
    Entry::from_source(&parse(SOURCE).expect("source"), "k3k-dev", None, origin(uid)).expect("entry")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("folder")
}

fn read(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).expect("file")).expect("yaml")
}

fn files(paths: &[&Path]) -> Files {
    Files::List(paths.iter().map(|path| (*path).to_owned()).collect())
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("file").permissions().mode() & 0o777
}

#[test]
fn a_new_file_is_its_owners_alone() {
    let folder = folder();
    let path = folder.path().join("sub/config");
    let merged = add(&files(&[&path]), &entry("1"), Options::default()).expect("merge");
    assert_eq!(merged, Merged { path: path.clone(), changed: true, previous: None });
    let document = read(&path);
    assert_eq!(document["contexts"][0]["context"]["cluster"], "k3k-dev");
    assert_eq!(document["clusters"][0]["cluster"]["server"], "https://10.43.0.7");
    assert_eq!(document.get("current-context"), None, "a context is never chosen for the user");
    #[cfg(unix)]
    assert_eq!(mode(&path), 0o600);
    assert_eq!(
        fs::read_dir(path.parent().expect("folder")).expect("folder").count(),
        1,
        "no lock, no leftovers"
    );
}

#[test]
fn everything_unknown_survives_and_the_removal_restores_it() {
    let folder = folder();
    let path = folder.path().join("config");
    fs::write(&path, PROD).expect("write");
    let before = read(&path);
    add(&files(&[&path]), &entry("1"), Options { switch: true, overwrite: false }).expect("merge");
    let merged = read(&path);
    assert_eq!(merged["current-context"], "k3k-dev");
    for (key, value) in before.as_object().expect("map") {
        match value.as_array() {
            Some(items) => {
                assert_eq!(merged[key].as_array().expect("list")[..items.len()], items[..], "{key}");
            }
            None if key == "current-context" => {}
            None => assert_eq!(&merged[key], value, "{key}"),
        }
    }
    let removed = remove(&files(&[&path]), |origin| origin.uid == "1").expect("remove");
    assert_eq!(removed[0].contexts, ["k3k-dev"]);
    assert_eq!(removed[0].current, Current::Back("prod-eu".to_owned()));
    assert_eq!(read(&path), before);
}

#[test]
fn merging_twice_changes_nothing_the_second_time() {
    let folder = folder();
    let path = folder.path().join("config");
    fs::write(&path, PROD).expect("write");
    let files = files(&[&path]);
    add(&files, &entry("1"), Options { switch: true, overwrite: false }).expect("merge");
    let first = fs::read(&path).expect("file");
    let again = add(&files, &entry("1"), Options { switch: true, overwrite: false }).expect("merge");
    assert!(!again.changed && again.previous.is_none());
    assert_eq!(fs::read(&path).expect("file"), first);
}

#[test]
fn what_is_not_ours_is_not_touched() {
    let folder = folder();
    let path = folder.path().join("config");
    let foreign = PROD.replace("name: prod\n", "name: k3k-dev\n");
    fs::write(&path, &foreign).expect("write");
    let error = add(&files(&[&path]), &entry("1"), Options::default()).expect_err("taken");
    assert!(matches!(&error, Error::Taken { kind: "cluster", .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("file"), foreign);
    add(&files(&[&path]), &entry("1"), Options { switch: false, overwrite: true }).expect("overwrite");
    assert_eq!(read(&path)["clusters"][0]["cluster"]["server"], "https://10.43.0.7");
}

#[test]
fn a_cluster_made_anew_takes_its_old_place_and_another_of_that_name_does_not() {
    let folder = folder();
    let path = folder.path().join("config");
    let files = files(&[&path]);
    add(&files, &entry("1"), Options::default()).expect("first");
    add(&files, &entry("2"), Options::default()).expect("made anew");
    let mut elsewhere = entry("3");
    elsewhere.origin.host = "https://other:6443".to_owned();
    assert!(matches!(add(&files, &elsewhere, Options::default()), Err(Error::Taken { .. })));
    assert!(remove(&files, |origin| origin.uid == "1").expect("remove").is_empty());
    assert_eq!(remove(&files, |origin| origin.uid == "2").expect("remove").len(), 1);
}

#[test]
fn users_that_others_use_stay() {
    let folder = folder();
    let path = folder.path().join("config");
    let files = files(&[&path]);
    add(&files, &entry("1"), Options::default()).expect("merge");
    let mut document = read(&path);
    document["contexts"].as_array_mut().expect("list").push(
        json!({"name": "mine", "context": {"cluster": "k3k-dev", "user": "k3k-dev", "namespace": "x"}}),
    );
    fs::write(&path, document.to_string()).expect("write");
    remove(&files, |origin| origin.uid == "1").expect("remove");
    let left = read(&path);
    assert_eq!(left["contexts"].as_array().map(Vec::len), Some(1));
    assert_eq!(
        (left["users"].as_array().map(Vec::len), left["clusters"].as_array().map(Vec::len)),
        (Some(1), Some(1))
    );
}

#[test]
fn with_several_files_the_one_with_the_current_context_is_written() {
    let folder = folder();
    let (first, second) = (folder.path().join("a"), folder.path().join("b"));
    fs::write(&first, "apiVersion: v1\nkind: Config\ncurrent-context: prod-eu\n").expect("write");
    fs::write(&second, PROD).expect("write");
    let missing = folder.path().join("missing");
    let files = files(&[&missing, &first, &second]);
    let merged = add(&files, &entry("1"), Options { switch: true, overwrite: false }).expect("merge");
    assert_eq!((merged.path.as_path(), merged.previous.as_deref()), (second.as_path(), Some("prod-eu")));
    assert_eq!(read(&first)["current-context"], "k3k-dev", "the first file that sets it decides");
    assert!(!missing.exists());
    let removed = remove(&files, |origin| origin.uid == "1").expect("remove");
    assert_eq!(removed[0].current, Current::Back("prod-eu".to_owned()));
    assert_eq!(read(&first)["current-context"], "prod-eu");
}

#[test]
fn a_previous_context_that_is_gone_is_not_gone_back_to() {
    let folder = folder();
    let path = folder.path().join("config");
    fs::write(&path, PROD).expect("write");
    let files = files(&[&path]);
    add(&files, &entry("1"), Options { switch: true, overwrite: false }).expect("merge");
    let mut document = read(&path);
    document["contexts"].as_array_mut().expect("list").remove(0);
    fs::write(&path, document.to_string()).expect("write");
    let removed = remove(&files, |origin| origin.uid == "1").expect("remove");
    assert_eq!(removed[0].current, Current::None);
    assert_eq!(read(&path)["current-context"], "");
}

#[cfg(unix)]
#[test]
fn symlinks_and_modes_are_kept() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    let folder = folder();
    fs::create_dir(folder.path().join("real")).expect("folder");
    let real = folder.path().join("real/config");
    fs::write(&real, PROD).expect("write");
    fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("mode");
    let link = folder.path().join("link");
    symlink("real/config", &link).expect("link");
    add(&files(&[&link]), &entry("1"), Options::default()).expect("merge");
    assert!(fs::symlink_metadata(&link).expect("link").is_symlink());
    assert_eq!((mode(&real), read(&real)["contexts"].as_array().map(Vec::len)), (0o640, Some(2)));
}

#[cfg(unix)]
#[test]
fn a_read_only_file_is_left_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder();
    let path = folder.path().join("config");
    fs::write(&path, PROD).expect("write");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).expect("mode");
    let error = add(&files(&[&path]), &entry("1"), Options::default()).expect_err("read-only");
    assert!(error.to_string().contains("read-only"), "{error}");
    assert_eq!(fs::read_to_string(&path).expect("file"), PROD);
}

#[test]
fn files_that_are_no_kubeconfigs_are_left_alone() {
    let folder = folder();
    for (name, text) in [("list", "[1]"), ("two", "a: 1\n---\nb: 2\n"), ("broken", "a: [")] {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("write");
        assert!(add(&files(&[&path]), &entry("1"), Options::default()).is_err(), "{name}");
        assert_eq!(fs::read_to_string(&path).expect("file"), text);
    }
}

#[test]
fn concurrent_merges_lose_nothing() {
    let folder = folder();
    let path = folder.path().join("config");
    fs::write(&path, PROD).expect("write");
    let threads: Vec<_> = (0..12)
        .map(|number| {
            let path = path.clone();
            std::thread::spawn(move || {
                let mut entry = entry(&number.to_string());
                entry.name = format!("k3k-{number}");
                entry.origin.cluster = format!("ns/{number}");
                add(&files(&[&path]), &entry, Options::default()).map(|_| ())
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("thread").expect("merge");
    }
    assert_eq!(read(&path)["contexts"].as_array().map(Vec::len), Some(13));
}

#[test]
fn kubectl_reads_what_we_write() {
    let folder = folder();
    let path = folder.path().join("config");
    fs::write(&path, PROD).expect("write");
    add(&files(&[&path]), &entry("1"), Options { switch: true, overwrite: false }).expect("merge");
    let typed = kube::config::Kubeconfig::read_from(&path).expect("kubeconfig");
    assert_eq!(typed.current_context.as_deref(), Some("k3k-dev"));
    assert_eq!(
        typed.contexts[0].context.as_ref().and_then(|context| context.namespace.as_deref()),
        Some("1234")
    );
}

#[test]
fn a_source_without_a_current_context_is_refused() {
    let source = parse(&SOURCE.replace("current-context: k3k-dev", "current-context: other")).expect("yaml");
    assert!(matches!(Entry::from_source(&source, "x", None, origin("1")), Err(Error::Source(_))));
}

#[test]
fn one_goes_back_to_where_one_was_and_no_farther() {
    let folder = folder();
    let path = folder.path().join("config");
    fs::write(&path, PROD).expect("file");
    let files = files(&[&path]);
    assert!(matches!(back(&files), Err(Error::Nothing { current: Some(current) }) if current == "prod-eu"));
    add(&files, &entry("u"), Options { switch: true, overwrite: false }).expect("added");
    assert_eq!(read(&path)["current-context"], "k3k-dev");
    assert_eq!(back(&files).expect("back"), ("k3k-dev".to_owned(), "prod-eu".to_owned()));
    assert_eq!(read(&path)["current-context"], "prod-eu");
    assert!(back(&files).is_err());
}
