//! Issuing and reading X.509 certificates: ECDSA P-256, PEM in and out.

use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::prelude::X509Certificate;

/// How long an authority is valid.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How far before now a certificate becomes valid, for peers whose clock is behind.
const BACKDATE: Duration = Duration::from_secs(3600);

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No key could be generated.
    #[error("generating a private key: {0}")]
    GenerateKey(#[source] rcgen::Error),
    /// The certificate or key of an authority does not parse.
    #[error("reading the authority's {what}: {source}")]
    Authority {
        /// `certificate` or `private key`.
        what: &'static str,
        /// What is wrong with it.
        source: rcgen::Error,
    },
    /// The key of an authority is not the one in its certificate.
    #[error("the authority {common_name:?} comes with the private key of another certificate")]
    KeyMismatch {
        /// Who the certificate speaks of.
        common_name: String,
    },
    /// A certificate that may not sign others was given as an authority.
    #[error("the certificate {common_name:?} is not an authority (no basicConstraints CA)")]
    NotAnAuthority {
        /// Who the certificate speaks of.
        common_name: String,
    },
    /// The certificate could not be built.
    #[error("issuing a certificate for {common_name:?}: {source}")]
    Issue {
        /// Who it was for.
        common_name: String,
        /// What is wrong.
        source: rcgen::Error,
    },
    /// More organizations than the encoder can write.
    #[error("a certificate for {common_name:?} with {count} organizations: at most one is supported")]
    Organizations {
        /// Who it was for.
        common_name: String,
        /// How many were asked for.
        count: usize,
    },
    /// A PEM text without a readable certificate.
    #[error("reading a certificate: {0}")]
    Inspect(String),
}

/// A certificate (with its issuers, leaf first) and its private key, both PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Pair {
    /// One or more `CERTIFICATE` blocks.
    pub certificate: String,
    /// One `PRIVATE KEY` block (PKCS#8).
    pub key: String,
}

impl fmt::Debug for Pair {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Pair").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// A certificate authority that can sign.
pub struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl fmt::Debug for Authority {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Authority").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

/// What a peer uses a certificate for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// To prove a server's name.
    Server,
    /// To prove a client's identity.
    Client,
}

/// The request for a certificate that cannot sign others.
#[derive(Clone, Debug)]
pub struct Leaf {
    /// The subject's common name: to Kubernetes, a client's user name.
    pub common_name: String,
    /// The subject's organizations: to Kubernetes, a client's groups. At most one.
    pub organizations: Vec<String>,
    /// Names that a server answers to.
    pub dns_names: Vec<String>,
    /// Addresses that a server answers at.
    pub ip_addresses: Vec<IpAddr>,
    /// What it may be used for.
    pub usages: Vec<Usage>,
    /// How long it is valid from now on.
    pub lifetime: Duration,
}

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The last moment at which it is valid.
    pub not_after: Timestamp,
    /// The first moment at which it is valid.
    pub not_before: Timestamp,
    /// The subject's common name, empty if it has none.
    pub common_name: String,
    /// The subject's organizations.
    pub organizations: Vec<String>,
    /// DNS subject alternative names.
    pub dns_names: Vec<String>,
    /// IP subject alternative names.
    pub ip_addresses: Vec<IpAddr>,
}

impl Authority {
    /// A new self-signed authority, valid for ten years.
    pub fn generate(common_name: &str) -> Result<Self, Error> {
        let key = KeyPair::generate().map_err(Error::GenerateKey)?;
        let mut params = params(common_name, AUTHORITY_LIFETIME);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params
            .self_signed(&key)
            .map_err(|source| Error::Issue { common_name: common_name.to_owned(), source })?;
        Ok(Self { certificate: certificate.pem(), issuer: Issuer::new(params, key) })
    }

    /// The authority stored as `certificate` and `key`. Only the first certificate counts; it must be an authority
    /// and belong to the key.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, Error> {
        let key =
            KeyPair::from_pem(key).map_err(|source| Error::Authority { what: "private key", source })?;
        with_first(certificate, |x509| {
            let common_name = facts(x509)?.common_name;
            if !x509.is_ca() {
                return Err(Error::NotAnAuthority { common_name });
            }
            if x509.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
                return Err(Error::KeyMismatch { common_name });
            }
            Ok(())
        })?;
        let issuer = Issuer::from_ca_cert_pem(certificate, key)
            .map_err(|source| Error::Authority { what: "certificate", source })?;
        Ok(Self { certificate: certificate.to_owned(), issuer })
    }

    /// Certificate and key, for storing. The key is a secret.
    pub fn pair(&self) -> Pair {
        Pair { certificate: self.certificate.clone(), key: self.issuer.key().serialize_pem() }
    }

    /// The certificate, for those who verify what this authority issued.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// A certificate with a key of its own, followed by the authority's certificate.
    pub fn issue(&self, request: &Leaf) -> Result<Pair, Error> {
        let fail = |source| Error::Issue { common_name: request.common_name.clone(), source };
        let mut params = params(&request.common_name, request.lifetime);
        match request.organizations.as_slice() {
            [] => {}
            [organization] => params.distinguished_name.push(DnType::OrganizationName, organization),
            // rcgen keeps one value per attribute type and would drop the others.
            many => {
                return Err(Error::Organizations {
                    common_name: request.common_name.clone(),
                    count: many.len(),
                });
            }
        }
        for name in &request.dns_names {
            params.subject_alt_names.push(SanType::DnsName(name.as_str().try_into().map_err(fail)?));
        }
        params.subject_alt_names.extend(request.ip_addresses.iter().copied().map(SanType::IpAddress));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = request
            .usages
            .iter()
            .map(|usage| match usage {
                Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
                Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
            })
            .collect();
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(Error::GenerateKey)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(fail)?;
        Ok(Pair { certificate: certificate.pem() + &self.certificate, key: key.serialize_pem() })
    }
}

/// A new P-256 private key as an `EC PRIVATE KEY` block (SEC 1). It is what kube-apiserver takes as a service account
/// key file: from PKCS#8 it reads RSA keys only (`k8s.io/client-go/util/keyutil.ParsePublicKeysPEM`).
pub fn generate_key() -> Result<String, Error> {
    let key = KeyPair::generate().map_err(Error::GenerateKey)?;
    let der = sec1(&key.serialize_der(), key.public_key_raw())
        .ok_or(Error::GenerateKey(rcgen::Error::CouldNotParseKeyPair))?;
    let Ok(serde_json::Value::String(text)) = serde_json::to_value(k8s_openapi::ByteString(der)) else {
        return Err(Error::GenerateKey(rcgen::Error::CouldNotParseKeyPair));
    };
    let (mut pem, mut rest) = ("-----BEGIN EC PRIVATE KEY-----\n".to_owned(), text.as_str());
    while !rest.is_empty() {
        let (line, left) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = left;
    }
    Ok(pem + "-----END EC PRIVATE KEY-----\n")
}

/// The `ECPrivateKey` of RFC 5915, with curve and public key, of a P-256 key in PKCS#8.
fn sec1(pkcs8: &[u8], public_key: &[u8]) -> Option<Vec<u8>> {
    /// `version INTEGER 1, privateKey OCTET STRING` of 32 bytes, as in PKCS#8.
    const PRIVATE_KEY: [u8; 5] = [0x02, 0x01, 0x01, 0x04, 0x20];
    /// `parameters [0] OBJECT IDENTIFIER prime256v1`, which PKCS#8 has elsewhere.
    const PARAMETERS: [u8; 12] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    /// `publicKey [1] BIT STRING` of an uncompressed point.
    const PUBLIC_KEY: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
    let begin = pkcs8.windows(PRIVATE_KEY.len()).position(|window| window == PRIVATE_KEY)?;
    let private_key = pkcs8.get(begin..begin + PRIVATE_KEY.len() + 32)?;
    let fields = [private_key, &PARAMETERS, &PUBLIC_KEY, public_key].concat();
    let length = u8::try_from(fields.len()).ok().filter(|length| *length < 0x80)?;
    Some([&[0x30, length], fields.as_slice()].concat())
}

/// What the first certificate in `certificate_pem` says. Nothing is verified.
pub fn inspect(certificate_pem: &str) -> Result<Facts, Error> {
    with_first(certificate_pem, facts)
}

/// Whether less than a third of the lifetime is left, or the certificate is not valid yet.
pub fn needs_renewal(facts: &Facts, now: Timestamp) -> bool {
    let lifetime = facts.not_after.duration_since(facts.not_before);
    let left = facts.not_after.duration_since(now);
    now < facts.not_before || left.as_secs() < lifetime.as_secs() / 3
}

/// Subject and validity, shared by authorities and leaves.
fn params(common_name: &str, lifetime: Duration) -> CertificateParams {
    let since_epoch = Duration::try_from(SignedDuration::from_secs(Timestamp::now().as_second()));
    let now = date_time_ymd(1970, 1, 1) + since_epoch.unwrap_or_default();
    let mut params = CertificateParams::default();
    params.not_before = now - BACKDATE;
    params.not_after = now + lifetime;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params
}

/// Gives the first certificate of a PEM text to `read`.
fn with_first<T>(pem: &str, read: impl FnOnce(&X509Certificate<'_>) -> Result<T, Error>) -> Result<T, Error> {
    for block in Pem::iter_from_buffer(pem.as_bytes()) {
        let block = block.map_err(|error| Error::Inspect(error.to_string()))?;
        if block.label == "CERTIFICATE" {
            return read(&block.parse_x509().map_err(|error| Error::Inspect(error.to_string()))?);
        }
    }
    Err(Error::Inspect("no CERTIFICATE block in it".to_owned()))
}

/// What one parsed certificate says.
pub(crate) fn facts(x509: &X509Certificate<'_>) -> Result<Facts, Error> {
    let time = |seconds| Timestamp::from_second(seconds).map_err(|error| Error::Inspect(error.to_string()));
    let mut facts = Facts {
        not_after: time(x509.validity().not_after.timestamp())?,
        not_before: time(x509.validity().not_before.timestamp())?,
        common_name: x509
            .subject()
            .iter_common_name()
            .next()
            .and_then(|name| name.as_str().ok())
            .unwrap_or_default()
            .to_owned(),
        organizations: x509
            .subject()
            .iter_organization()
            .filter_map(|name| name.as_str().ok().map(str::to_owned))
            .collect(),
        dns_names: Vec::new(),
        ip_addresses: Vec::new(),
    };
    let names = x509.subject_alternative_name().map_err(|error| Error::Inspect(error.to_string()))?;
    for name in names.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(name) => facts.dns_names.push((*name).to_owned()),
            GeneralName::IPAddress(bytes) => {
                let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
                if let Ok(address) = v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)) {
                    facts.ip_addresses.push(address);
                }
            }
            _ => {}
        }
    }
    Ok(facts)
}

#[cfg(test)]
mod tests;
