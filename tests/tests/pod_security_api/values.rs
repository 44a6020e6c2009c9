//! The fields that the Pod Security Standards read, each with values of interest.

use serde_json::{Value, json};

/// A field, by its path, and what it may say.
pub(crate) type Field = (&'static str, Vec<Value>);

/// What Restricted wants of every container.
pub(crate) fn hardened() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "capabilities": {"drop": ["ALL"]},
        "runAsNonRoot": true,
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// Fields of a container's security context: those that an ephemeral container may have, too.
pub(crate) fn confinement() -> Vec<Field> {
    let flags = || vec![json!(true), json!(false), Value::Null];
    let mut fields = of_both();
    fields.extend([
        ("securityContext", vec![Value::Null, json!({}), hardened()]),
        ("securityContext.privileged", flags()),
        ("securityContext.allowPrivilegeEscalation", flags()),
        ("securityContext.procMount", vec![json!("Default"), json!("Unmasked"), Value::Null]),
        (
            "securityContext.capabilities",
            vec![
                Value::Null,
                json!({}),
                json!({"drop": ["ALL"]}),
                json!({"drop": ["KILL", "ALL"]}),
                json!({"drop": ["all"]}),
                json!({"drop": ["NET_RAW"]}),
                json!({"drop": []}),
            ],
        ),
        (
            "securityContext.capabilities.add",
            vec![
                json!([]),
                json!(["NET_BIND_SERVICE"]),
                json!(["CHOWN"]),
                json!(["NET_BIND_SERVICE", "SYS_CHROOT"]),
                json!(["NET_RAW"]),
                json!(["SYS_ADMIN", "NET_BIND_SERVICE"]),
                json!(["CAP_SYS_ADMIN"]),
                json!(["CAP_CHOWN"]),
                json!(["chown"]),
                json!(["ALL"]),
                json!(["AUDIT_WRITE", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"]),
                json!(["SETFCAP", "SETGID", "SETPCAP", "SETUID"]),
            ],
        ),
    ]);
    fields
}

/// Fields that a security context has on the pod and on the container.
fn of_both() -> Vec<Field> {
    let profiles = || {
        vec![
            json!({"type": "RuntimeDefault"}),
            json!({"type": "Localhost", "localhostProfile": "mine"}),
            json!({"type": "Unconfined"}),
            Value::Null,
        ]
    };
    vec![
        ("securityContext.runAsNonRoot", vec![json!(true), json!(false), Value::Null]),
        ("securityContext.runAsUser", vec![json!(0), json!(1000), Value::Null]),
        ("securityContext.seccompProfile", profiles()),
        ("securityContext.appArmorProfile", profiles()),
        (
            "securityContext.seLinuxOptions",
            vec![
                json!({}),
                json!({"type": "container_t"}),
                json!({"type": "container_init_t"}),
                json!({"type": "container_kvm_t", "level": "s0:c1,c2"}),
                json!({"type": "container_engine_t"}),
                json!({"type": "spc_t"}),
                json!({"type": "", "user": "", "role": ""}),
                json!({"user": "system_u"}),
                json!({"role": "system_r"}),
            ],
        ),
        (
            "securityContext.windowsOptions",
            vec![json!({}), json!({"hostProcess": false}), json!({"runAsUserName": "user"})],
        ),
    ]
}

/// Fields of a container that runs for as long as its pod does.
pub(crate) fn container() -> Vec<Field> {
    let mut actions = vec![json!({"exec": {"command": ["true"]}})];
    for host in [Value::Null, json!(""), json!("10.0.0.1"), json!("127.0.0.1"), json!("example.com")] {
        actions.push(json!({"httpGet": {"port": 80, "host": host}}));
        actions.push(json!({"tcpSocket": {"port": 80, "host": host}}));
    }
    let mut fields = confinement();
    fields.extend([
        (
            "ports",
            vec![
                json!([{"containerPort": 80}]),
                json!([{"containerPort": 80, "hostPort": 0}]),
                json!([{"containerPort": 80, "hostPort": 80}]),
                json!([{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081}]),
            ],
        ),
        ("livenessProbe", actions.clone()),
        ("readinessProbe", actions.clone()),
        ("startupProbe", actions.clone()),
        ("lifecycle.postStart", actions.clone()),
        ("lifecycle.preStop", actions),
    ]);
    fields
}

/// Fields of a pod's spec.
pub(crate) fn pod() -> Vec<Field> {
    let flags = || vec![json!(true), json!(false), Value::Null];
    let mut fields = of_both();
    fields.extend([
        ("hostNetwork", flags()),
        ("hostPID", flags()),
        ("hostIPC", flags()),
        ("hostUsers", flags()),
        ("os", vec![json!({"name": "linux"}), json!({"name": "windows"}), Value::Null]),
        ("securityContext", vec![Value::Null, json!({}), json!({"fsGroup": 0, "supplementalGroups": [0]})]),
        ("securityContext.sysctls", sysctls()),
        ("volumes", sources().into_iter().map(|source| json!([named("v", source)])).collect()),
    ]);
    fields
}

/// Annotations, of which two are no longer read. The names end in that of a container.
pub(crate) fn annotations() -> Vec<(&'static str, Vec<Value>)> {
    let seccomp = || vec![json!("unconfined"), json!("runtime/default")];
    vec![
        (
            "container.apparmor.security.beta.kubernetes.io/c0",
            vec![json!("unconfined"), json!("runtime/default"), json!("localhost/mine"), json!("")],
        ),
        ("container.seccomp.security.alpha.kubernetes.io/c0", seccomp()),
        ("seccomp.security.alpha.kubernetes.io/pod", seccomp()),
    ]
}

fn sysctls() -> Vec<Value> {
    let one = |name: &str| json!([{"name": name, "value": "1"}]);
    let names = [
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
        "net.ipv4.tcp_slow_start_after_idle",
        "net.ipv4.tcp_notsent_lowat",
        "net.core.somaxconn",
        "kernel.msgmax",
        "net/ipv4/tcp_syncookies",
        "net/core/somaxconn",
    ];
    names.into_iter().map(one).chain([json!([])]).collect()
}

/// A volume of each kind.
pub(crate) fn sources() -> Vec<Value> {
    let claim =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    vec![
        json!({"configMap": {"name": "c"}}),
        json!({"csi": {"driver": "d.example.com"}}),
        json!({"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}}),
        json!({"emptyDir": {"medium": "Memory"}}),
        json!({"ephemeral": {"volumeClaimTemplate": claim}}),
        json!({"image": {"reference": "i"}}),
        json!({"persistentVolumeClaim": {"claimName": "p"}}),
        json!({"projected": {"sources": [{"configMap": {"name": "c"}}]}}),
        json!({"secret": {"secretName": "s"}}),
        json!({"hostPath": {"path": "/"}}),
        json!({"awsElasticBlockStore": {"volumeID": "v"}}),
        json!({"azureDisk": {"diskName": "d", "diskURI": "https://a.blob.core.windows.net/c/d.vhd"}}),
        json!({"azureFile": {"secretName": "s", "shareName": "s"}}),
        json!({"cephfs": {"monitors": ["m"]}}),
        json!({"cinder": {"volumeID": "v"}}),
        json!({"fc": {"targetWWNs": ["w"], "lun": 0}}),
        json!({"flexVolume": {"driver": "vendor/driver"}}),
        json!({"flocker": {"datasetName": "d"}}),
        json!({"gcePersistentDisk": {"pdName": "p"}}),
        json!({"gitRepo": {"repository": "https://example.com/r"}}),
        json!({"glusterfs": {"endpoints": "e", "path": "/"}}),
        json!({"iscsi": {"targetPortal": "10.0.0.1:3260", "iqn": "iqn.2001-04.com.example:s", "lun": 0}}),
        json!({"nfs": {"server": "s", "path": "/"}}),
        json!({"photonPersistentDisk": {"pdID": "p"}}),
        json!({"portworxVolume": {"volumeID": "v"}}),
        json!({"quobyte": {"registry": "r:7861", "volume": "v"}}),
        json!({"rbd": {"monitors": ["m"], "image": "i"}}),
        json!({"scaleIO": {"gateway": "https://g", "system": "s", "volumeName": "v", "secretRef": {"name": "s"}}}),
        json!({"storageos": {"volumeName": "v"}}),
        json!({"vsphereVolume": {"volumePath": "[d] v"}}),
    ]
}

pub(crate) fn named(name: &str, mut source: Value) -> Value {
    source["name"] = json!(name);
    source
}
