//! What the host does not take, in the tenant's terms.

use crate::watch::Name;
use k3k_translate::Owner;
use k3k_translate::status::for_tenant;

/// The host's admission, quota or validation said no.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Denied {
    /// One CamelCase word.
    pub reason: &'static str,
    /// In the host's words, with the tenant's names.
    pub message: String,
}

impl Denied {
    /// Whether a quota was in the way: there may be room soon.
    pub fn is_for_want_of_room(&self) -> bool {
        self.reason == "HostAdmissionDenied" && self.message.contains("exceeded quota")
    }
}

/// Why the host did not take the copy of `name`. Err if that was no refusal: trying again may help.
pub fn denied(owner: &Owner, name: &Name, error: kube::Error) -> Result<Denied, kube::Error> {
    match error {
        kube::Error::Api(status) if matches!(status.code, 400 | 403 | 422) => {
            let host_name = owner.host_name(&name.namespace, &name.name);
            let message =
                for_tenant(&status.message, &host_name, &owner.namespace, &name.name, &name.namespace);
            let reason = if status.code == 403 { "HostAdmissionDenied" } else { "HostRejected" };
            Ok(Denied { reason, message })
        }
        other => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::Status;
    use rstest::rstest;

    #[rstest]
    #[case(403, Some("HostAdmissionDenied"))]
    #[case(422, Some("HostRejected"))]
    #[case(400, Some("HostRejected"))]
    #[case(409, None)]
    #[case(500, None)]
    fn refusals_are_told_apart_from_failures(#[case] code: u16, #[case] reason: Option<&str>) {
        let owner = crate::fixture::owner();
        let name = Name { namespace: "shop".into(), name: "web".into() };
        let said = format!("pods \"{}\" is forbidden", owner.host_name("shop", "web"));
        let error = kube::Error::Api(Box::new(Status::failure(&said, "No").with_code(code)));
        let denied = denied(&owner, &name, error).ok();
        assert_eq!(denied.as_ref().map(|denied| denied.reason), reason);
        if let Some(denied) = denied {
            assert_eq!(denied.to_string(), "pods \"web\" is forbidden");
        }
    }
}
