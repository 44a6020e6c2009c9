//! Logs of a nested cluster's pods with every option that kubectl has for them, on real containers.

use anyhow::{Context, Result, ensure};
use k3k_tests::lab::succeed;
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::json;
use std::io::Read;
use std::process::Stdio;

const IMAGE: &str = "docker.io/library/busybox:1.36";

#[test]
#[ignore = "needs the lab: make test"]
fn logs_are_what_a_node_would_give() -> Result<()> {
    let cluster = NestedCluster::create("e2e-logs")?;
    // A time is told in whole seconds, so the lines are further apart.
    let lines = "for n in 1 2 3; do echo line $n; sleep 2; done; touch /tmp/done; exec sleep 3600";
    // Each run of it ends when it is told to.
    let runs = "n=$(($(cat /state/n 2>/dev/null || echo 0) + 1)); echo $n > /state/n; echo run $n begins; \
                until [ -e /state/end-$n ]; do sleep 0.2; done; echo run $n ends; exit 1";
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "two", "labels": {"app": "speaker"}}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [
                {"name": "lines", "image": IMAGE, "command": ["sh", "-c", lines],
                 "readinessProbe": {"exec": {"command": ["test", "-e", "/tmp/done"]}, "periodSeconds": 1}},
                {"name": "other", "image": IMAGE, "command": ["sh", "-c", "echo other; exec sleep 3600"]},
            ],
        }},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one", "labels": {"app": "speaker"}}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "one", "image": IMAGE, "command": ["sh", "-c", "echo single; exec sleep 3600"]}],
        }},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "restarted"}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", runs],
                            "volumeMounts": [{"name": "state", "mountPath": "/state"}]}],
            "volumes": [{"name": "state", "emptyDir": {}}],
        }},
    ]}))?;
    for pod in ["two", "one", "restarted"] {
        cluster.until_ready(pod)?;
    }
    options_choose_lines(&cluster)?;
    options_choose_containers(&cluster)?;
    a_restart_ends_what_is_followed(&cluster)
}

fn options_choose_lines(cluster: &NestedCluster) -> Result<()> {
    let logs = |option: &str| cluster.run(&["logs", "two", "-c", "lines", option]);
    let all = "line 1\nline 2\nline 3\n";
    assert_eq!(logs("--tail=-1")?, all);
    assert_eq!(logs("--tail=2")?, "line 2\nline 3\n");
    assert_eq!(logs("--tail=0")?, "");
    assert_eq!(logs("--limit-bytes=9")?, "line 1\nli");
    assert_eq!(logs("--since=1h")?, all);
    let stamped = logs("--timestamps")?;
    let stamps: Vec<(&str, &str)> = stamped.lines().filter_map(|line| line.split_once(' ')).collect();
    assert_eq!(stamps.iter().map(|(_, text)| *text).collect::<Vec<_>>(), ["line 1", "line 2", "line 3"]);
    for (stamp, _) in &stamps {
        stamp.parse::<jiff::Timestamp>().with_context(|| format!("{stamp:?} is no time"))?;
    }
    let third = stamps.last().context("no line")?.0;
    let second = third.split_once('.').map_or(third.to_owned(), |(second, _)| format!("{second}Z"));
    assert_eq!(logs(&format!("--since-time={second}"))?, "line 3\n");
    // Without a container's name kubectl takes the first, and says so.
    assert_eq!(cluster.run(&["logs", "two"])?, all);
    let mut nonsense = cluster.kubectl();
    let nonsense = nonsense.args(["logs", "two", "-c", "no-such"]).output()?;
    ensure!(!nonsense.status.success(), "a container that does not exist has a log");
    Ok(())
}

fn options_choose_containers(cluster: &NestedCluster) -> Result<()> {
    let sorted = |arguments: &[&str]| -> Result<Vec<String>> {
        let mut lines: Vec<_> = cluster.run(arguments)?.lines().map(str::to_owned).collect();
        lines.sort();
        Ok(lines)
    };
    assert_eq!(sorted(&["logs", "two", "--all-containers"])?, ["line 1", "line 2", "line 3", "other"]);
    assert_eq!(
        sorted(&["logs", "two", "--all-containers", "--prefix", "--tail=1"])?,
        ["[pod/two/lines] line 3", "[pod/two/other] other"]
    );
    assert_eq!(
        sorted(&["logs", "--selector=app=speaker", "--all-containers", "--prefix", "--tail=1"])?,
        ["[pod/one/one] single", "[pod/two/lines] line 3", "[pod/two/other] other"]
    );
    Ok(())
}

/// As on a node: what is followed is a container's run. It ends with the run, complete and without an error; the next run is followed by
/// asking again, and the one before it is `--previous`.
fn a_restart_ends_what_is_followed(cluster: &NestedCluster) -> Result<()> {
    let follow = || cluster.kubectl().args(["logs", "--follow", "restarted"]).stdout(Stdio::piped()).spawn();
    let mut first = follow()?;
    let mut begun = [0; "run 1 begins\n".len()];
    let mut output = first.stdout.take().context("standard output")?;
    output.read_exact(&mut begun)?;
    succeed(cluster.kubectl().args(["exec", "restarted", "--", "touch", "/state/end-1"]))?;
    let mut rest = String::new();
    output.read_to_string(&mut rest)?;
    assert_eq!((String::from_utf8_lossy(&begun).as_ref(), rest.as_str()), ("run 1 begins\n", "run 1 ends\n"));
    ensure!(first.wait()?.success(), "following failed at the end of the run");

    eventually("the second run", || cluster.run(&["logs", "restarted"]), |text| text == "run 2 begins\n")?;
    assert_eq!(cluster.run(&["logs", "--previous", "restarted"])?, "run 1 begins\nrun 1 ends\n");
    let second = follow()?;
    succeed(cluster.kubectl().args(["exec", "restarted", "--", "touch", "/state/end-2"]))?;
    let second = second.wait_with_output()?;
    assert_eq!(String::from_utf8_lossy(&second.stdout), "run 2 begins\nrun 2 ends\n");
    Ok(())
}
