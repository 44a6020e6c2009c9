//! The `AdmissionReview` envelope: the only place that knows its JSON. The objects inside stay raw text here, so
//! that they are read once, strictly, and as they came (kube's own envelope decodes them, and believes the last of
//! two equal keys).

use crate::decision::Decision;
use kube::core::admission::{AdmissionResponse, META_API_VERSION_V1, META_KIND, Operation};
use kube::core::gvk::{GroupVersionKind, GroupVersionResource};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A question of the API server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request<'a> {
    /// Identifies the question; the answer must repeat it.
    pub uid: String,
    /// Kind of the object.
    pub kind: GroupVersionKind,
    /// Resource that was written to.
    pub resource: GroupVersionResource,
    /// Subresource that was written to; empty for the object itself.
    #[serde(default)]
    pub sub_resource: String,
    /// The object's name. Empty at creation when the API server is to make up a name.
    #[serde(default)]
    pub name: String,
    /// The object's namespace; empty for objects without one.
    #[serde(default)]
    pub namespace: String,
    /// What is done to the object.
    pub operation: Operation,
    /// Who asks the API server.
    #[serde(default)]
    pub user_info: UserInfo,
    /// The object as it will be; absent on deletion.
    #[serde(borrow, default)]
    pub object: Option<&'a RawValue>,
    /// The object as it is; absent on creation.
    #[serde(borrow, default)]
    pub old_object: Option<&'a RawValue>,
}

/// Who asks the API server, as it has authenticated them.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct UserInfo {
    /// The user.
    #[serde(default)]
    pub username: String,
    /// The user's groups.
    #[serde(default)]
    pub groups: Vec<String>,
    /// What else is known of the user.
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

/// A body that is not a question. It is answered with HTTP 400: there is no `uid` to answer to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not JSON, or not of the envelope's form.
    #[error("the body is not an AdmissionReview: {0}")]
    Envelope(#[from] serde_json::Error),
    /// Another kind, or a version of it that we do not speak.
    #[error(
        "the body is {kind:?} of {api_version:?}; only {META_KIND:?} of {META_API_VERSION_V1:?} is understood"
    )]
    Version {
        /// `kind` of the body.
        kind: String,
        /// `apiVersion` of the body.
        api_version: String,
    },
    /// The patch cannot be written.
    #[error("writing the patch: {0}")]
    Patch(#[from] kube::core::admission::SerializePatchError),
    /// There is no question in the envelope.
    #[error("the AdmissionReview has no request with a uid")]
    NoRequest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kind {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    kind: String,
    #[serde(borrow, default)]
    request: Option<Request<'a>>,
}

impl Kind {
    fn check(self) -> Result<(), Error> {
        let Self { api_version, kind } = self;
        if kind == META_KIND && api_version == META_API_VERSION_V1 {
            return Ok(());
        }
        Err(Error::Version { kind, api_version })
    }
}

/// Reads a question.
pub fn parse(body: &[u8]) -> Result<Request<'_>, Error> {
    let Review { api_version, kind, request } = match serde_json::from_slice(body) {
        Ok(review) => review,
        Err(error) => {
            // A version whose request looks different is called by its name.
            serde_json::from_slice::<Kind>(body)?.check()?;
            return Err(error.into());
        }
    };
    Kind { api_version, kind }.check()?;
    request.filter(|request| !request.uid.is_empty()).ok_or(Error::NoRequest)
}

/// Writes the answer. It always goes out with HTTP 200: any other code means to the API server that the webhook
/// could not be asked.
pub fn answer(request: &Request<'_>, decision: &Decision) -> Result<Vec<u8>, Error> {
    let mut response = AdmissionResponse::invalid("");
    response.uid.clone_from(&request.uid);
    response.allowed = decision.is_allowed();
    response.result = decision.status(request).unwrap_or_default();
    response.warnings = Some(decision.warnings()).filter(|warnings| !warnings.is_empty());
    response.audit_annotations = decision.audit().into_iter().collect();
    if let Some(patch) = decision.patch() {
        response = response.with_patch(patch.clone())?;
    }
    Ok(serde_json::to_vec(&response.into_review())?)
}
