//! What a container may be to the kernel it runs on: never one with the host's own powers. The values follow the
//! Baseline level of the Pod Security Standards.

use super::{Subject, Violation};
use crate::snapshot::Snapshot;
use k8s_openapi::api::core::v1::WindowsSecurityContextOptions;

/// No privileged containers.
pub(super) const PRIVILEGED: &str = "privileged";
/// No container may see all of `/proc`.
pub(super) const PROC_MOUNT: &str = "proc-mount";
/// No Windows host processes.
pub(super) const HOST_PROCESS: &str = "host-process";

pub(super) fn privileged(subject: &Subject<'_>, snapshot: &Snapshot) -> Vec<Violation> {
    subject
        .containers()
        .filter(|container| container.security_context.and_then(|context| context.privileged) == Some(true))
        .map(|container| {
            let field = format!("{}.securityContext.privileged", container.path);
            Violation::new(PRIVILEGED, field, container.name, "true", "only false or no value", snapshot)
        })
        .collect()
}

pub(super) fn proc_mount(subject: &Subject<'_>, snapshot: &Snapshot) -> Vec<Violation> {
    subject
        .containers()
        .filter_map(|container| {
            let mount = container.security_context?.proc_mount.as_deref()?;
            let field = format!("{}.securityContext.procMount", container.path);
            (mount != "Default").then(|| {
                let found = format!("{mount:?}");
                Violation::new(
                    PROC_MOUNT,
                    field,
                    container.name,
                    &found,
                    "only \"Default\" or no value",
                    snapshot,
                )
            })
        })
        .collect()
}

pub(super) fn host_process(subject: &Subject<'_>, snapshot: &Snapshot) -> Vec<Violation> {
    let asks = |options: Option<&WindowsSecurityContextOptions>| {
        options.and_then(|options| options.host_process) == Some(true)
    };
    let found = |path: &str, owner: &str| {
        let field = format!("{path}.securityContext.windowsOptions.hostProcess");
        Violation::new(HOST_PROCESS, field, owner, "true", "only false or no value", snapshot)
    };
    let pod = subject.spec.security_context.as_ref().and_then(|context| context.windows_options.as_ref());
    let containers = subject
        .containers()
        .filter(|container| {
            asks(container.security_context.and_then(|context| context.windows_options.as_ref()))
        })
        .map(|container| found(&container.path, container.name));
    asks(pod).then(|| found("spec", "")).into_iter().chain(containers).collect()
}
