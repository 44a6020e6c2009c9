//! The cluster token.

use super::{Manifest, Site};
use k3k_api::labels::component;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Key of the token in its Secret.
pub const KEY: &str = "token";

/// The Secret of a token that the controller made.
pub fn secret(site: &Site, token: &str) -> Manifest {
    let data = BTreeMap::from([(KEY.to_owned(), token.to_owned())]);
    Manifest::secret(site, site.names().token(), component::SERVER, &data)
}

/// 16 random bytes as 32 hexadecimal digits: k3s' short form of a token.
pub fn generate() -> Result<String, getrandom::Error> {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes)?;
    Ok(hexadecimal(&bytes))
}

/// The token with which a node joins: it names the server's authority by a hash, as k3s does, so that a node trusts nobody else.
/// Of a chain the root counts, so that the others can be renewed.
pub fn joining(authority: &str, token: &str) -> String {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(authority.as_bytes()).flatten().collect();
    let named = match chain.as_slice() {
        [_, .., root] => root.as_ref(),
        _ => authority.as_bytes(),
    };
    let hash = hexadecimal(&Sha256::digest(named));
    let full = token.strip_prefix("K10").and_then(|rest| rest.split_once("::")?.1.split_once(':'));
    let secret = full.map_or(token, |(_, secret)| secret);
    format!("K10{hash}::node:{secret}")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_token_for_joining_names_the_authority() {
        // `sha256sum` of the text.
        let hash = "17d31c37a2fd6589d7f6807e6e0743b6ab777440f416ab49880c0de1456d97e3";
        let token = super::joining("authority\n", "secret");
        assert_eq!(token, format!("K10{hash}::node:secret"));
        assert_eq!(token, super::joining("authority\n", "K10ffff::server:secret"));
        assert_ne!(token, super::joining("other\n", "secret"));
    }

    #[test]
    fn tokens_are_32_digits_and_differ() {
        let (one, two) = (super::generate().unwrap(), super::generate().unwrap());
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, two);
    }
}
