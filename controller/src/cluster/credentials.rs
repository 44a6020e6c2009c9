//! What a cluster gets once and keeps: its authorities and its token. Replacing either would break it.

use super::apply::{self, ensure_ours};
use super::build::certificates::{self, Authorities};
use super::build::{Kind, Manifest, Site, secret_data, token};
use super::error::Error;
use super::observe::Observed;
use super::validate::Accepted;
use kube::api::DynamicObject;
use kube::{Client, ResourceExt};

/// A cluster's own secrets.
#[derive(Debug)]
pub struct Credentials {
    /// Its authorities.
    pub authorities: Authorities,
    /// Its token.
    pub token: String,
}

/// Reads them, or makes what is missing.
pub async fn ensure(
    client: &Client,
    site: &Site,
    observed: &Observed,
    accepted: &Accepted,
) -> Result<Credentials, Error> {
    let (authorities, token) = tokio::try_join!(
        authorities(client, site, observed, accepted),
        token(client, site, observed, accepted)
    )?;
    Ok(Credentials { authorities, token })
}

async fn authorities(
    client: &Client,
    site: &Site,
    observed: &Observed,
    accepted: &Accepted,
) -> Result<Authorities, Error> {
    let name = site.names().certificates();
    let secret = present_or_new(client, site, observed.live.get(Kind::Secret, &name), || {
        let mut data = certificates::generate(&site.name).map_err(|error| error.to_string())?;
        data.extend(accepted.authorities.clone());
        Ok(certificates::secret(site, &data))
    });
    let secret = secret.await.map_err(|error| error.named(&name))?;
    ensure_ours(site, Kind::Secret, &secret)?;
    Authorities::read(&secret_data(&secret)).map_err(|message| Error::Damaged { name, message })
}

async fn token(
    client: &Client,
    site: &Site,
    observed: &Observed,
    accepted: &Accepted,
) -> Result<String, Error> {
    if let Some(token) = &accepted.token {
        return Ok(token.clone());
    }
    let name = site.names().token();
    let secret = present_or_new(client, site, observed.live.get(Kind::Secret, &name), || {
        Ok(token::secret(site, &token::generate().map_err(|error| error.to_string())?))
    });
    let secret = secret.await.map_err(|error| error.named(&name))?;
    // A token that a user put there before is used; one that goes away with its owner is not.
    if secret.owner_references().iter().any(|owner| owner.controller == Some(true)) {
        ensure_ours(site, Kind::Secret, &secret)?;
    }
    match secret_data(&secret).remove(token::KEY).map(|token| token.trim().to_owned()) {
        Some(token) if !token.is_empty() => Ok(token),
        _ => Err(Error::Damaged { name, message: format!("it has no key {:?}", token::KEY) }),
    }
}

/// Why a Secret is neither there nor made.
enum Missing {
    Generate(String),
    Create(Error),
}

impl Missing {
    fn named(self, name: &str) -> Error {
        match self {
            Self::Generate(message) => Error::Build { what: format!("Secret {name:?}"), message },
            Self::Create(error) => error,
        }
    }
}

async fn present_or_new(
    client: &Client,
    site: &Site,
    present: Option<&DynamicObject>,
    make: impl FnOnce() -> Result<Manifest, String>,
) -> Result<DynamicObject, Missing> {
    match present {
        Some(secret) => Ok(secret.clone()),
        None => apply::once(client, site, &make().map_err(Missing::Generate)?).await.map_err(Missing::Create),
    }
}
