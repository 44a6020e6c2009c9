//! Streams into a nested cluster's pods, as `kubectl` opens them, on real containers.

use anyhow::{Context, Result, ensure};
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::{NestedCluster, eventually};
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};

const IMAGE: &str = "docker.io/library/busybox:1.36";
/// More than every buffer on the way, and no multiple of any.
const LARGE: usize = (20 << 20) + 12_345;
/// How many connections go through one port-forward at the same time.
const CONNECTIONS: usize = 50;

/// A child that is ended when the test is done with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// kubectl's two ways to open a stream. Both must work as long as there are clients of either kind.
fn kubectl(cluster: &NestedCluster, websockets: bool) -> Command {
    let mut command = cluster.kubectl();
    let setting = if websockets { "true" } else { "false" };
    command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", setting).env("KUBECTL_PORT_FORWARD_WEBSOCKETS", setting);
    command
}

#[test]
#[ignore = "needs the lab: make test"]
fn streams_carry_what_is_sent() -> Result<()> {
    let cluster = NestedCluster::create("e2e-streams")?;
    let serve = "mkdir /www; echo hello > /www/index.html; httpd -p 8080 -h /www; i=0; \
                 while true; do i=$((i+1)); echo tick $i; sleep 1; done";
    cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web"}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": IMAGE, "command": ["sh", "-c", serve]}],
        }},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "echo"}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": IMAGE, "stdin": true, "command": ["cat"]}],
        }},
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shell"}, "spec": {
            "terminationGracePeriodSeconds": 1,
            "containers": [{"name": "c", "image": IMAGE, "stdin": true, "tty": true, "command": ["sh"]}],
        }},
    ]}))?;
    for pod in ["web", "echo", "shell"] {
        cluster.until_ready(pod)?;
    }
    for websockets in [true, false] {
        let way = || format!("websockets: {websockets}");
        input_output_errors_and_exit_code(&cluster, websockets).with_context(way)?;
        a_file_goes_there_and_comes_back(&cluster, websockets).with_context(way)?;
        many_connections_share_a_port_forward(&cluster, websockets).with_context(way)?;
        attach_speaks_to_the_main_process(&cluster, websockets).with_context(way)?;
        a_terminal_has_a_size_and_an_exit_code(&cluster, websockets).with_context(way)?;
        a_terminal_is_attached_to_the_main_process(&cluster, websockets).with_context(way)?;
    }
    a_log_is_followed(&cluster)?;
    refusals_do_not_tell_of_the_host(&cluster)
}

fn input_output_errors_and_exit_code(cluster: &NestedCluster, websockets: bool) -> Result<()> {
    let mut child = kubectl(cluster, websockets)
        .args(["exec", "-i", "web", "--", "sh", "-c", "read word; echo out $word; echo err >&2; exit 3"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child.stdin.take().context("standard input")?.write_all(b"word\n")?;
    let output = child.wait_with_output()?;
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "out word\n");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(stderr.starts_with("err\n"), "{stderr}");
    Ok(())
}

fn a_file_goes_there_and_comes_back(cluster: &NestedCluster, websockets: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (sent, back) = (folder.path().join("sent"), folder.path().join("back"));
    // Neither constant nor periodic in any buffer's size.
    let bytes: Vec<u8> = (0..LARGE).map(|at| u8::try_from((at * at / 7) % 251).unwrap_or_default()).collect();
    std::fs::write(&sent, &bytes)?;
    let copy = |from: &str, to: &str| succeed(kubectl(cluster, websockets).args(["cp", from, to]));
    copy(&sent.to_string_lossy(), "default/web:/tmp/large")?;
    copy("default/web:/tmp/large", &back.to_string_lossy())?;
    ensure!(std::fs::read(&back)? == bytes, "what came back differs");
    Ok(())
}

fn many_connections_share_a_port_forward(cluster: &NestedCluster, websockets: bool) -> Result<()> {
    let mut forward = Running(
        kubectl(cluster, websockets)
            .args(["port-forward", "--address=127.0.0.1", "web", ":8080"])
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let mut output = BufReader::new(forward.0.stdout.take().context("standard output")?);
    let mut line = String::new();
    output.read_line(&mut line)?;
    // Forwarding from 127.0.0.1:40123 -> 8080
    let port = line.split([':', ' ']).nth(3).with_context(|| line.clone())?.to_owned();
    // It reports every connection; unread, that would stop it.
    let drain = std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    // The port is open in the host's network, where we are not.
    let fetch = format!(
        "for i in $(seq {CONNECTIONS}); do (exec 3<>/dev/tcp/127.0.0.1/{port}; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; \
         cat <&3) & done; wait"
    );
    let pages = succeed(in_host("bash").args(["-c", &fetch]))?;
    assert_eq!(pages.matches("hello").count(), CONNECTIONS, "{pages}");
    drop(forward);
    ensure!(drain.join().is_ok(), "reading the output of port-forward");
    Ok(())
}

fn attach_speaks_to_the_main_process(cluster: &NestedCluster, websockets: bool) -> Result<()> {
    let mut child = Running(
        kubectl(cluster, websockets)
            .args(["attach", "--quiet", "-i", "echo"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?,
    );
    let mut stdin = child.0.stdin.take().context("standard input")?;
    let mut lines = BufReader::new(child.0.stdout.take().context("standard output")?).lines();
    for word in ["one", "two"] {
        writeln!(stdin, "{word}")?;
        assert_eq!(lines.next().context("an echo")??, word);
    }
    Ok(())
}

/// `command` in a terminal of 33 lines and 77 columns, typing `typed` into it. Says what was on the screen, and how it ended.
fn in_terminal(command: &Command, typed: &str) -> Result<(String, Option<i32>)> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--echo", "never", "--command"]);
    script.arg(format!("stty rows 33 cols 77; {}", words.join(" "))).arg("/dev/null");
    script.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let mut child =
        Running(script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn()?);
    let mut stdin = child.0.stdin.take().context("standard input")?;
    stdin.write_all(typed.as_bytes())?;
    let mut screen = String::new();
    child.0.stdout.take().context("standard output")?.read_to_string(&mut screen)?;
    // Its end would be typed as the end of input.
    drop(stdin);
    Ok((screen, child.0.wait()?.code()))
}

fn a_terminal_has_a_size_and_an_exit_code(cluster: &NestedCluster, websockets: bool) -> Result<()> {
    let mut command = kubectl(cluster, websockets);
    command.args(["exec", "-it", "web", "--", "sh"]);
    // The size arrives on its own, after the shell has started.
    let (screen, code) = in_terminal(
        &command,
        "until [ \"$(stty size)\" = '33 77' ]; do sleep 0.1; done; tty; stty size; exit 7\n",
    )?;
    ensure!(screen.contains("/dev/pts/") && screen.contains("33 77\r\n"), "{screen:?}");
    assert_eq!(code, Some(7), "{screen:?}");
    Ok(())
}

fn a_terminal_is_attached_to_the_main_process(cluster: &NestedCluster, websockets: bool) -> Result<()> {
    let mut command = kubectl(cluster, websockets);
    command.args(["attach", "-it", "shell"]);
    // The main process is process 1; its end is the container's, which is started anew for the next round.
    let before = restarts(cluster, "shell")?;
    let (screen, _) = in_terminal(&command, "echo I am $$, at $(tty | cut -c 1-9)\nexit\n")?;
    ensure!(screen.contains("I am 1, at /dev/pts/"), "{screen:?}");
    eventually("the shell has been started anew", || restarts(cluster, "shell"), |now| *now > before)?;
    cluster.until_ready("shell")
}

fn restarts(cluster: &NestedCluster, pod: &str) -> Result<u32> {
    let path = "jsonpath={.status.containerStatuses[0].restartCount}";
    Ok(cluster.run(&["get", "pod", pod, "-o", path])?.parse()?)
}

fn a_log_is_followed(cluster: &NestedCluster) -> Result<()> {
    let mut child = Running(
        cluster.kubectl().args(["logs", "--follow", "--tail=1", "web"]).stdout(Stdio::piped()).spawn()?,
    );
    let lines = BufReader::new(child.0.stdout.take().context("standard output")?).lines();
    // The pod's web server has its own lines in the same log.
    let ticks: Vec<u64> = lines
        .filter_map(|line| line.map(|line| line.strip_prefix("tick ").map(str::to_owned)).transpose())
        .take(3)
        .map(|tick| Ok(tick?.parse()?))
        .collect::<Result<_>>()?;
    ensure!(ticks.len() == 3, "the log ended after {ticks:?}");
    ensure!(ticks.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ticks:?}");
    Ok(())
}

fn refusals_do_not_tell_of_the_host(cluster: &NestedCluster) -> Result<()> {
    for arguments in [&["logs", "web", "--previous"][..], &["exec", "web", "--", "/no/such"]] {
        let output = cluster.kubectl().args(arguments).output()?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(!output.status.success(), "{arguments:?} succeeded");
        for secret in [&cluster.namespace(), "web-default", "host-0"] {
            ensure!(!said.contains(secret), "{secret:?} leaks: {said}");
        }
    }
    Ok(())
}
