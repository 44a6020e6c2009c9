//! Whether somebody who believes in a bundle accepts a certificate: asked the way a TLS client asks.

use jiff::Timestamp;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use std::time::Duration;

/// Why a certificate is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A PEM text cannot be read, or has no certificate in it.
    #[error("reading {what}: {cause}")]
    Pem {
        /// Which text.
        what: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The name is not one that a certificate can be for.
    #[error("{0:?} is neither a DNS name nor an IP address")]
    Name(String),
    /// The certificate is for others, not valid now, or of another authority.
    #[error("the certificate is not good for {name:?}: {source}")]
    Rejected {
        /// Who it should be for.
        name: String,
        /// What is wrong.
        source: rustls::Error,
    },
}

/// Fails unless `chain` (PEM, leaf first) is good for `name` at `now` to someone who believes in `bundle` (PEM).
pub fn verify(bundle: &str, chain: &str, name: &str, now: Timestamp) -> Result<(), Error> {
    let mut roots = RootCertStore::empty();
    for root in certificates(bundle, "the bundle")? {
        roots.add(root).map_err(|error| Error::Pem { what: "the bundle", cause: error.to_string() })?;
    }
    let chain = certificates(chain, "the chain")?;
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Err(Error::Pem { what: "the chain", cause: "it is empty".to_owned() });
    };
    let server = ServerName::try_from(name.to_owned()).map_err(|_| Error::Name(name.to_owned()))?;
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| Error::Pem { what: "the bundle", cause: error.to_string() })?
        .verify_server_cert(leaf, intermediates, &server, &[], now)
        .map(drop)
        .map_err(|source| Error::Rejected { name: name.to_owned(), source })
}

/// The certificates in a PEM text.
pub fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| Error::Pem { what, cause: error.to_string() })
}
