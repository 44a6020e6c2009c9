//! What a tenant types, and what arrives.

use crate::{Bridge, bridged};
use anyhow::{Context, Result, ensure};
use k3k_tests::wait;
use std::process::Output;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};

/// A SPDY/3 control frame that opens a stream.
const SYN_STREAM: [u8; 4] = [0x80, 3, 0, 1];

fn text(output: &Output) -> (Option<i32>, String, String) {
    let decode = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), decode(&output.stdout), decode(&output.stderr))
}

/// Nothing that a tenant sees tells of the host.
fn ensure_no_leak(bridge: &Bridge, seen: &str) -> Result<()> {
    for secret in ["c0ffee", "metal", &format!("{}-host", bridge.nested)] {
        ensure!(!seen.contains(secret), "{secret:?} leaks: {seen}");
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn logs() -> Result<()> {
    bridged(true, async |bridge| {
        let output = bridge.kubectl(true, "", &["logs", "web", "--tail=2", "--timestamps"]).await?;
        assert_eq!(text(&output), (Some(0), "first\nsecond\n".into(), String::new()));
        let (method, uri, _) = bridge.host.last();
        assert_eq!(method, "GET");
        ensure!(uri.contains("tailLines=2") && uri.contains("timestamps=true"), "{uri}");
        let output = bridge.kubectl(true, "", &["logs", "web", "--follow"]).await?;
        assert_eq!(text(&output).1, "first\nsecond\n");
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn exec_by_websocket_carries_input_output_and_exit_code() -> Result<()> {
    bridged(true, async |bridge| {
        let output = bridge.kubectl(true, "ping\n", &["exec", "-i", "web", "--", "cat"]).await?;
        assert_eq!(text(&output), (Some(0), "hello\nping\n".into(), "careful\n".into()));
        let (method, uri, protocol) = bridge.host.last();
        assert_eq!((method.as_str(), protocol.as_str()), ("GET", "websocket"));
        ensure!(uri.contains("command=cat") && uri.contains("input=1"), "{uri}");
        let output = bridge.kubectl(true, "", &["exec", "web", "--", "fail"]).await?;
        let (code, stdout, stderr) = text(&output);
        assert_eq!((code, stdout.as_str()), (Some(7), "hello\n"));
        ensure_no_leak(bridge, &stderr)
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn a_mebibyte_comes_back_unchanged() -> Result<()> {
    bridged(true, async |bridge| {
        let sent: String = (0..65_536).fold(String::new(), |text, line| text + &format!("line {line:010}\n"));
        let output = bridge.kubectl(true, &sent, &["exec", "-i", "web", "--", "cat"]).await?;
        let (code, stdout, _) = text(&output);
        assert_eq!(code, Some(0));
        ensure!(stdout.strip_prefix("hello\n") == Some(sent.as_str()), "{} bytes came back", stdout.len());
        Ok(())
    })
    .await
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn spdy_reaches_the_host_from_every_kind_of_client() -> Result<()> {
    // An API server translates WebSockets for a node that does not take them, so the host sees SPDY in any case.
    for (node, client) in [(true, false), (false, true), (false, false)] {
        bridged(node, async |bridge| {
            // Not awaited: it would wait half a minute for the answer to its first frame.
            let _kubectl = bridge.start_kubectl(client, &["exec", "web", "--", "cat"])?;
            let (offered, first) = seen(bridge).await?;
            let (method, _, protocol) = bridge.host.last();
            assert_eq!((method.as_str(), protocol.as_str()), ("POST", "SPDY/3.1"));
            ensure!(offered.iter().any(|version| version == "v4.channel.k8s.io"), "{offered:?}");
            assert_eq!(first, SYN_STREAM);
            Ok(())
        })
        .await
        .with_context(|| {
            format!("a node that takes WebSockets: {node}, a client that sends them: {client}")
        })?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn port_forward_reaches_the_host() -> Result<()> {
    for client in [true, false] {
        bridged(false, async |bridge| {
            let mut child =
                bridge.start_kubectl(client, &["port-forward", "--address=127.0.0.1", "web", ":80"])?;
            let mut lines = BufReader::new(child.stdout.take().context("standard output")?).lines();
            let line = tokio::time::timeout(wait::LIMIT, lines.next_line()).await??.context("a line")?;
            // Forwarding from 127.0.0.1:40123 -> 80
            let address = line.split(' ').nth(2).context(line.clone())?;
            let mut client = tokio::net::TcpStream::connect(address).await?;
            client.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
            let (_, first) = seen(bridge).await?;
            assert_eq!(first, SYN_STREAM);
            let (method, uri, protocol) = bridge.host.last();
            assert_eq!((method.as_str(), protocol.as_str()), ("POST", "SPDY/3.1"));
            ensure!(uri.contains("/portForward/"), "{uri}");
            Ok(())
        })
        .await
        .with_context(|| format!("a client that sends WebSockets: {client}"))?;
    }
    Ok(())
}

#[tokio::test]
#[ignore = "needs target/lab/bin/k3s: make test"]
async fn refusals_reach_the_tenant_in_the_tenants_words() -> Result<()> {
    for (node, client) in [(true, true), (true, false), (false, true), (false, false)] {
        bridged(node, async |bridge| {
            for (arguments, want) in [
                (&["exec", "web", "--", "gone"][..], "container not found (\"app\")"),
                (&["exec", "ghost", "--", "true"][..], "does not run; kubectl describe"),
                (&["logs", "ghost"][..], "does not run; kubectl describe"),
            ] {
                let output = bridge.kubectl(client, "", arguments).await?;
                let (code, _, stderr) = text(&output);
                assert_eq!(code, Some(1), "{stderr}");
                ensure!(stderr.contains(want), "{arguments:?}: {stderr}");
                ensure_no_leak(bridge, &stderr)?;
            }
            Ok(())
        })
        .await
        .with_context(|| {
            format!("a node that takes WebSockets: {node}, a client that sends them: {client}")
        })?;
    }
    Ok(())
}

/// How the SPDY stream began that the host has got.
async fn seen(bridge: &Bridge) -> Result<(Vec<String>, [u8; 4])> {
    wait::until("a SPDY stream reaches the host", async || Ok(bridge.host.spdy.lock().unwrap().take())).await
}
