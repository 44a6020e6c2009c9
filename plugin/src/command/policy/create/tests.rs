use super::*;
use crate::cli::{Cli, Command, PolicyCommand};
use clap::Parser as _;

fn args(line: &[&str]) -> PolicyCreateArgs {
    let words = ["kubectl-k3k", "policy", "create"].into_iter().chain(line.iter().copied());
    match Cli::try_parse_from(words).expect("line").command {
        Some(Command::Policy(PolicyCommand::Create(args))) => *args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_flag_is_a_field() {
    let args = args(&[
        "gold",
        "--mode=virtual",
        "--level=restricted",
        "--digest=resolve",
        "--pull-policy=always",
        "--registry=a.example/team/**",
        "--registry=a.example/lib/*",
        "--registry=b.example",
        "--registry=b.example/x",
        "--service-type=ClusterIP,nodeport",
        "--node-selector=node-restriction.kubernetes.io/tenant=a",
        "--placement=dedicated",
        "--quota=requests.cpu=8,pods=100",
        "--labels=a=b",
        "--annotations=c=d,e",
        "--namespace=team-a",
        "-n",
        "team-b",
    ]);
    assert_eq!(args.namespaces, ["team-a", "team-b"]);
    let object = build(&args, None).expect("policy");
    check(&object).expect("compiles");
    insta::assert_snapshot!(object::yaml(&object).expect("yaml"));
}

#[test]
fn flags_win_over_the_file() {
    let file = json!({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "gold"}, "status": {"summary": "x"},
        "spec": {"allowedMode": "shared", "images": {"digest": "Off", "pullPolicy": "Always"}, "hostUsers": false}});
    let object =
        build(&args(&["-f", "x", "--mode=hcp", "--digest=require"]), Some(file.clone())).expect("policy");
    assert_eq!(
        object["spec"],
        json!({"allowedMode": "hcp", "images": {"digest": "Require", "pullPolicy": "Always"}, "hostUsers": false})
    );
    assert!(object.get("status").is_none());
    let error = build(&args(&["silver", "-f", "x"]), Some(file)).expect_err("another name");
    assert_eq!(error.to_string(), "the file describes \"gold\", not \"silver\"");
}

#[test]
fn errors_name_the_field() {
    let file = |spec: Value| json!({"metadata": {"name": "gold"}, "spec": spec});
    for (spec, line, want) in [
        (
            json!({"enforcement": {"rules": [{"name": "nope.x", "mode": "Warn"}]}}),
            &["gold"][..],
            "spec.enforcement.rules[0].name: ",
        ),
        (json!({"images": "all"}), &["gold", "--digest=require"], "spec.images: "),
        (json!({"quota": {"hard": 3}}), &["gold", "--quota=pods=1"], "spec.quota.hard: "),
        (json!({"podSecurityAdmissionLevel": "strict"}), &["gold"], "spec.podSecurityAdmissionLevel: "),
        (
            json!({"enforcement": {"exemptions": [{"name": "a", "rules": ["images"], "reason": "r", "expiresAt": "soon"}]}}),
            &["gold"],
            "spec.enforcement.exemptions[0].expiresAt: ",
        ),
        (json!(null), &["gold", "--digest=resolve"], "spec.images.digest: Resolve needs registries"),
        (
            json!(null),
            &["gold", "--placement=exclusive", "--node-selector=a=b"],
            "spec.nodes.placement: Exclusive needs",
        ),
        (json!(null), &["gold", "--registry=.."], "spec.images.allowedRegistries[0].host: "),
        (json!("x"), &["gold"], "spec"),
        (json!(null), &["Gold"], "\"Gold\" is not the name of a policy"),
    ] {
        let error = build(&args(line), Some(file(spec.clone())))
            .and_then(|object| check(&object))
            .expect_err("refused");
        assert!(error.to_string().starts_with(want), "{spec} {line:?}: {error}");
        assert_eq!(error.exit().code(), 2);
    }
    let odd = json!({"metadata": {"name": "gold", "labels": "x"}});
    assert!(build(&args(&["gold", "--labels=a=b"]), Some(odd)).is_err());
}
