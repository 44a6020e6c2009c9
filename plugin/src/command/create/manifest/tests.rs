use super::*;
use crate::cli::{Cli, Command};
use clap::Parser as _;
use rstest::rstest;

fn args(flags: &[&str]) -> CreateArgs {
    let mut line = vec!["kubectl-k3k", "create"];
    line.extend_from_slice(flags);
    match Cli::try_parse_from(line).expect("flags").command {
        Some(Command::Create(args)) => *args,
        other => panic!("{other:?}"),
    }
}

fn spec(flags: &[&str]) -> Value {
    let mut all = vec!["dev"];
    all.extend_from_slice(flags);
    build(&args(&all), "dev", "k3k-dev", None).expect("cluster")["spec"].clone()
}

#[test]
fn only_what_was_said_is_applied() {
    let cluster = build(&args(&["dev"]), "dev", "k3k-dev", None).expect("cluster");
    assert_eq!(
        cluster,
        json!({
            "apiVersion": "k3k.io/v1beta1", "kind": "Cluster",
            "metadata": {"name": "dev", "namespace": "k3k-dev"}, "spec": {},
        })
    );
}

#[test]
fn every_flag_reaches_its_field() {
    let spec = spec(&[
        "--mode=virtual",
        "--servers=3",
        "--agents=2",
        "--version=v1.33.1+k3s1",
        "--storage=10Gi,class=fast",
        "--server-arg=--disable=traefik",
        "--server-arg",
        "-v=3",
        "--agent-arg=x",
        "--server-env=A=b=c",
        "--agent-env=D=e",
        "--tls-san=a.example.com",
        "--kubeconfig-server=https://api.example.com:8443",
        "--node-selector=pool=x,zone=y",
        "--cluster-cidr=10.1.0.0/16",
        "--service-cidr=10.2.0.0/16",
        "--cluster-dns=10.2.0.10",
        "--expose=nodeport",
    ]);
    assert_eq!(
        spec,
        json!({
            "mode": "virtual", "servers": 3, "agents": 2, "version": "v1.33.1-k3s1",
            "persistence": {"type": "dynamic", "storageRequestSize": "10Gi", "storageClassName": "fast"},
            "serverArgs": ["--disable=traefik", "-v=3"], "agentArgs": ["x"],
            "serverEnvs": [{"name": "A", "value": "b=c"}], "agentEnvs": [{"name": "D", "value": "e"}],
            "tlsSANs": ["api.example.com", "a.example.com"], "nodeSelector": {"pool": "x", "zone": "y"},
            "clusterCIDR": "10.1.0.0/16", "serviceCIDR": "10.2.0.0/16", "clusterDNS": "10.2.0.10",
            "expose": {"nodePort": {}},
        })
    );
}

#[test]
fn the_other_tools_spellings_mean_the_same() {
    assert_eq!(
        spec(&[
            "--server-args=--a,--b",
            "--server-envs=A=1,B=2",
            "--tls-sans=a,b",
            "--persistence-type=dynamic",
            "--storage-request-size=3Gi",
            "--storage-class-name=fast",
            "--mirror-host-nodes",
        ]),
        json!({
            "serverArgs": ["--a", "--b"],
            "serverEnvs": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "tlsSANs": ["a", "b"],
            "persistence": {"type": "dynamic", "storageRequestSize": "3Gi", "storageClassName": "fast"},
            "mirrorHostNodes": true,
        })
    );
    assert_eq!(spec(&["--storage=ephemeral"]), json!({"persistence": {"type": "ephemeral"}}));
    assert_eq!(spec(&["--persistence-type=ephemeral"]), json!({"persistence": {"type": "ephemeral"}}));
}

#[test]
fn flags_win_over_the_file_and_unknown_fields_survive() {
    let base = json!({
        "apiVersion": "k3k.io/v1beta1", "kind": "Cluster",
        "metadata": {"name": "dev", "labels": {"a": "b"}}, "spec": {"servers": 1, "new": {"x": 1}},
        "status": {"phase": "Ready"},
    });
    let cluster = build(&args(&["dev", "--servers=3"]), "dev", "team", Some(base)).expect("cluster");
    assert_eq!(
        cluster,
        json!({
            "apiVersion": "k3k.io/v1beta1", "kind": "Cluster",
            "metadata": {"name": "dev", "namespace": "team", "labels": {"a": "b"}},
            "spec": {"servers": 3, "new": {"x": 1}},
        })
    );
}

#[test]
fn agents_need_virtual_mode() {
    let error = build(&args(&["dev", "--agents=1"]), "dev", "k3k-dev", None).expect_err("refused");
    assert_eq!(
        (error.exit().code(), error.to_string()),
        (2, "--agents 1 has no meaning in mode shared".into())
    );
}

#[rstest]
#[case(&["dev"], None, None, Some(("dev", None)))]
#[case(&["dev"], None, Some(json!({"metadata": {"name": "dev", "namespace": "team"}})), Some(("dev", Some("team"))))]
#[case(&["-f", "x"], None, Some(json!({"metadata": {"name": "dev"}})), Some(("dev", None)))]
#[case(&["-f", "x"], None, Some(json!({"metadata": {}})), None)]
#[case(&["dev"], None, Some(json!({"metadata": {"name": "other"}})), None)]
#[case(&["dev"], Some("a"), Some(json!({"metadata": {"name": "dev", "namespace": "b"}})), None)]
#[case(&["dev"], None, Some(json!({"metadata": {"name": "dev", "namespace": "B!"}})), None)]
fn file_and_arguments_must_agree(
    #[case] flags: &[&str],
    #[case] namespace: Option<&str>,
    #[case] base: Option<Value>,
    #[case] want: Option<(&str, Option<&str>)>,
) {
    let got = target(&args(flags), namespace, base.as_ref());
    assert_eq!(got.as_ref().ok().map(|got| (got.name.as_str(), got.namespace.as_deref())), want);
}

#[rstest]
#[case("api.example.com", "api.example.com")]
#[case("api:6443", "api")]
#[case("https://api:6443/x", "api")]
#[case("https://[fd00::1]:6443", "fd00::1")]
#[case("fd00::1", "fd00::1")]
fn hosts_are_cut_out(#[case] text: &str, #[case] want: &str) {
    assert_eq!(host_of(text), want);
}
