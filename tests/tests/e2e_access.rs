//! Who may not come in at a virtual kubelet's port: nobody but whom its own nested cluster knows and allows.

use anyhow::{Context, Result, ensure};
use k3k_tests::lab::{in_host, succeed};
use k3k_tests::nested::NestedCluster;
use serde_json::{Value, json};
use std::io::Write;
use tempfile::TempPath;

const PATHS: [&str; 6] = [
    "/pods",
    "/containerLogs/default/secretive/c",
    "/exec/default/secretive/c?command=cat&command=/etc/hostname&output=1",
    "/attach/default/secretive/c?output=1",
    "/portForward/default/secretive",
    "/metrics/resource",
];

/// A client that does no more than it is told. Prints the status and the body, or how TLS ended.
const ASK: &str = "
import http.client, ssl, sys
host, authority, certificate, key, token, path = sys.argv[1:]
tls = ssl.create_default_context(cafile=authority)
if certificate:
    tls.load_cert_chain(certificate, key)
connection = http.client.HTTPSConnection(host, 10250, context=tls, timeout=60)
try:
    connection.request('GET', path, headers={'Authorization': 'Bearer ' + token} if token else {})
    answer = connection.getresponse()
    print(answer.status, answer.read().decode())
except ssl.SSLError as error:
    print('TLS', error.reason)
";

/// What a caller shows.
#[derive(Default)]
struct Caller {
    token: String,
    certificate: Option<(TempPath, TempPath)>,
}

impl Caller {
    fn token(token: &str) -> Self {
        Self { token: token.trim().to_owned(), ..Self::default() }
    }

    /// The client certificate of a kubeconfig.
    fn certificate(kubeconfig: &Value) -> Result<Self> {
        let user = &kubeconfig["users"][0]["user"];
        let pair = (decoded(&user["client-certificate-data"])?, decoded(&user["client-key-data"])?);
        Ok(Self { certificate: Some(pair), ..Self::default() })
    }
}

/// A file with what `base64` holds.
fn decoded(base64: &Value) -> Result<TempPath> {
    let k8s_openapi::ByteString(bytes) = serde_json::from_value(base64.clone())?;
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&bytes)?;
    Ok(file.into_temp_path())
}

/// The port of a virtual kubelet, as seen in the host's network.
struct Port {
    ip: String,
    authority: TempPath,
}

impl Port {
    fn of(cluster: &NestedCluster, kubeconfig: &Value) -> Result<Self> {
        let service = format!("k3k-{}-kubelet", cluster.name);
        let ip = cluster.on_host(&["get", "service", &service, "-o", "jsonpath={.spec.clusterIP}"])?;
        let authority = decoded(&kubeconfig["clusters"][0]["cluster"]["certificate-authority-data"])?;
        Ok(Self { ip, authority })
    }

    /// How `path` is answered.
    fn ask(&self, caller: &Caller, path: &str) -> Result<String> {
        let mut python = in_host("python3");
        python.args(["-c", ASK, &self.ip]).arg(&*self.authority);
        match &caller.certificate {
            Some((certificate, key)) => python.arg(certificate).arg(key),
            None => python.args(["", ""]),
        };
        Ok(succeed(python.args([&caller.token, path]))?.trim_end().to_owned())
    }
}

fn kubeconfig(name: &str) -> Result<Value> {
    let text = succeed(in_host("kubectl").args(["k3k", "kubeconfig", "get", name]))?;
    serde_saphyr::from_str(&text).with_context(|| format!("the kubeconfig of {name}"))
}

#[test]
#[ignore = "needs the lab: make test"]
fn strangers_are_refused() -> Result<()> {
    let cluster = NestedCluster::create("e2e-access")?;
    let other = NestedCluster::create("e2e-access-b")?;
    cluster.apply(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "secretive"}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "c", "image": "docker.io/library/busybox:1.36",
                        "command": ["sh", "-c", "echo confidential; exec sleep 3600"]}],
    }}))?;
    cluster.until_ready("secretive")?;
    let own = kubeconfig(&cluster.name)?;
    let port = Port::of(&cluster, &own)?;

    // It is there, and answers whom it should.
    let said = port.ask(&Caller::certificate(&own)?, "/containerLogs/default/secretive/c")?;
    assert_eq!(said, "200 confidential");

    let host = succeed(in_host("kubectl").args(["config", "view", "--raw", "--output=json"]))?;
    let token = |cluster: &NestedCluster| cluster.run(&["create", "token", "default"]);
    let host_token = succeed(in_host("kubectl").args(["create", "token", "default"]))?;
    // A certificate that nobody vouches for does not even get an answer.
    let (unauthorized, forbidden, untrusted) = ("401 ", "403 ", "TLS TLSV1_ALERT_UNKNOWN_CA");
    for (who, caller, answer) in [
        ("nobody", Caller::default(), unauthorized),
        ("a made-up token", Caller::token("made-up"), unauthorized),
        ("another cluster's administrator", Caller::certificate(&kubeconfig(&other.name)?)?, untrusted),
        ("another cluster's ServiceAccount", Caller::token(&token(&other)?), unauthorized),
        ("the host's administrator", Caller::certificate(&serde_json::from_str(&host)?)?, untrusted),
        ("a ServiceAccount of the host", Caller::token(&host_token), unauthorized),
        ("a ServiceAccount without rights", Caller::token(&token(&cluster)?), forbidden),
    ] {
        for path in PATHS {
            let said = port.ask(&caller, path)?;
            ensure!(said.starts_with(answer) && !said.contains("confidential"), "{who}, {path}: {said}");
        }
    }
    Ok(())
}
