//! The URL of a stream: from what an API server asks of a kubelet to what the host API calls the same thing.
//!
//! The left side is written by `streamParams` and `LogLocation` of kube-apiserver's `pkg/registry/core/pod`, the
//! right side are the options of the pod's subresources.

use form_urlencoded::{Serializer, parse};

/// What can be opened on a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Run a command in a container.
    Exec,
    /// Join a container's main process.
    Attach,
    /// Connect to ports of a pod.
    PortForward,
    /// Read what a container wrote.
    Log,
}

impl Kind {
    /// The pod's subresource in a Kubernetes API.
    pub fn subresource(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Attach => "attach",
            Self::PortForward => "portforward",
            Self::Log => "log",
        }
    }
}

/// Why a request cannot be passed on. It changes nothing, and is the caller's to mend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A parameter that could change the meaning, were it dropped.
    #[error("parameter {name:?} of {subresource} is not supported by the virtual kubelet")]
    Unknown {
        /// The parameter.
        name: String,
        /// What it came with.
        subresource: &'static str,
    },
    /// A value out of its range.
    #[error("parameter {name:?} of {subresource} cannot be {value:?}: {expected} is expected")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What it came with.
        subresource: &'static str,
        /// What was given.
        value: String,
        /// What may be given.
        expected: &'static str,
    },
}

/// Path and query of the host API for `kind` on the host pod `namespace/pod`. `query` is the kubelet request's query
/// as it came; `container` is in the kubelet request's path, and absent for port-forward.
pub fn target(
    kind: Kind,
    namespace: &str,
    pod: &str,
    container: Option<&str>,
    query: &str,
) -> Result<String, Error> {
    let mut out = Serializer::new(String::new());
    if let Some(container) = container {
        out.append_pair("container", container);
    }
    for (name, value) in parse(query.as_bytes()) {
        match kind {
            Kind::Exec if name == "command" => {
                out.append_pair("command", &value);
            }
            Kind::Exec | Kind::Attach => {
                let (from, to) = flag(kind, &name)?;
                if is_set(kind, from, &value)? {
                    out.append_pair(to, "true");
                }
            }
            Kind::PortForward => ports(&mut out, kind, &name, &value)?,
            Kind::Log => log_option(&mut out, kind, &name, &value)?,
        }
    }
    let query = out.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    Ok(format!("/api/v1/namespaces/{namespace}/pods/{pod}/{}{mark}{query}", kind.subresource()))
}

/// The kubelet's and the API's name of a switch of exec and attach.
fn flag(kind: Kind, name: &str) -> Result<(&'static str, &'static str), Error> {
    match name {
        "input" => Ok(("input", "stdin")),
        "output" => Ok(("output", "stdout")),
        "error" => Ok(("error", "stderr")),
        "tty" => Ok(("tty", "tty")),
        _ => Err(unknown(kind, name)),
    }
}

fn is_set(kind: Kind, name: &'static str, value: &str) -> Result<bool, Error> {
    match value {
        "1" | "true" => Ok(true),
        "" | "0" | "false" => Ok(false),
        _ => Err(Error::Value {
            name,
            subresource: kind.subresource(),
            value: value.to_owned(),
            expected: "1 or 0",
        }),
    }
}

/// The kubelet takes `port=80,443`, the API `ports=80&ports=443`.
fn ports(out: &mut Serializer<'_, String>, kind: Kind, name: &str, value: &str) -> Result<(), Error> {
    if name != "port" {
        return Err(unknown(kind, name));
    }
    for port in value.split(',') {
        match port.parse::<u16>() {
            Ok(number) if number > 0 => out.append_pair("ports", &number.to_string()),
            _ => {
                return Err(Error::Value {
                    name: "port",
                    subresource: kind.subresource(),
                    value: value.to_owned(),
                    expected: "a list of port numbers",
                });
            }
        };
    }
    Ok(())
}

/// Options of logs have the same names on both sides.
fn log_option(out: &mut Serializer<'_, String>, kind: Kind, name: &str, value: &str) -> Result<(), Error> {
    match name {
        "follow" | "previous" | "timestamps" => {
            let name = match name {
                "follow" => "follow",
                "previous" => "previous",
                _ => "timestamps",
            };
            if is_set(kind, name, value)? {
                out.append_pair(name, "true");
            }
        }
        // The default. A host without the feature refuses to be told.
        "stream" if value == "All" => {}
        "sinceSeconds" | "sinceTime" | "tailLines" | "limitBytes" | "stream" => {
            out.append_pair(name, value);
        }
        _ => return Err(unknown(kind, name)),
    }
    Ok(())
}

fn unknown(kind: Kind, name: &str) -> Error {
    Error::Unknown { name: name.to_owned(), subresource: kind.subresource() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    const POD: &str = "/api/v1/namespaces/k3k-dev/pods/web-default-dev";

    #[rstest]
    #[case::exec(
        Kind::Exec,
        Some("app"),
        "command=sh&command=-c&command=echo+a%26b+%3E%2Fdev%2Fnull&error=1&input=1&output=1&tty=1",
        "exec?container=app&command=sh&command=-c&command=echo+a%26b+%3E%2Fdev%2Fnull&stderr=true&stdin=true&stdout=true&tty=true"
    )]
    #[case::exec_without_input(
        Kind::Exec,
        Some("app"),
        "command=ls&output=1&input=0&tty=false",
        "exec?container=app&command=ls&stdout=true"
    )]
    #[case::attach(
        Kind::Attach,
        Some("app"),
        "input=1&output=1",
        "attach?container=app&stdin=true&stdout=true"
    )]
    #[case::an_empty_argument(
        Kind::Exec,
        Some("app"),
        "command=printf&command=&output=1",
        "exec?container=app&command=printf&command=&stdout=true"
    )]
    #[case::port_forward(Kind::PortForward, None, "", "portforward")]
    #[case::ports(
        Kind::PortForward,
        None,
        "port=80%2C8443&port=9",
        "portforward?ports=80&ports=8443&ports=9"
    )]
    #[case::log(Kind::Log, Some("app"), "", "log?container=app")]
    #[case::log_options(
        Kind::Log,
        Some("app"),
        "follow=true&limitBytes=9&previous=true&sinceSeconds=5&sinceTime=2026-01-01T00%3A00%3A00Z&stream=All&tailLines=10&timestamps=true",
        "log?container=app&follow=true&limitBytes=9&previous=true&sinceSeconds=5&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=10&timestamps=true"
    )]
    #[case::one_stream(Kind::Log, Some("app"), "stream=Stderr", "log?container=app&stream=Stderr")]
    #[case::a_container_cannot_break_out(
        Kind::Log,
        Some("a&follow=true#/../"),
        "",
        "log?container=a%26follow%3Dtrue%23%2F..%2F"
    )]
    fn targets(#[case] kind: Kind, #[case] container: Option<&str>, #[case] query: &str, #[case] want: &str) {
        let got = target(kind, "k3k-dev", "web-default-dev", container, query).unwrap();
        assert_eq!(got, format!("{POD}/{want}"));
    }

    #[rstest]
    #[case::another_container(Kind::Exec, "container=other&output=1", "container")]
    #[case::another_container_of_logs(Kind::Log, "container=other", "container")]
    #[case::unverified_hosts(Kind::Log, "insecureSkipTLSVerifyBackend=true", "insecureSkipTLSVerifyBackend")]
    #[case::attach_runs_nothing(Kind::Attach, "command=sh", "command")]
    #[case::the_apis_own_names(Kind::Exec, "stdin=true", "stdin")]
    #[case::port_forward(Kind::PortForward, "ports=80", "ports")]
    fn unknown_parameters_are_refused_by_name(#[case] kind: Kind, #[case] query: &str, #[case] name: &str) {
        let error = target(kind, "n", "p", None, query).unwrap_err();
        assert_eq!(error, unknown(kind, name));
    }

    #[rstest]
    #[case(Kind::Exec, "tty=yes", "tty")]
    #[case(Kind::Log, "follow=2", "follow")]
    #[case(Kind::PortForward, "port=0", "port")]
    #[case(Kind::PortForward, "port=80,", "port")]
    #[case(Kind::PortForward, "port=65536", "port")]
    #[case(Kind::PortForward, "port=-1", "port")]
    fn bad_values_are_refused_by_name(#[case] kind: Kind, #[case] query: &str, #[case] name: &str) {
        let error = target(kind, "n", "p", None, query).unwrap_err();
        assert!(matches!(&error, Error::Value { name: got, .. } if *got == name), "{error}");
    }
}
