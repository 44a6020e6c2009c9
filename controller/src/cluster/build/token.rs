//! The cluster token.

use super::{Manifest, Site};
use k3k_api::labels::component;
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
    Ok(bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

#[cfg(test)]
mod tests {
    #[test]
    fn tokens_are_32_digits_and_differ() {
        let (one, two) = (super::generate().unwrap(), super::generate().unwrap());
        assert_eq!(one.len(), 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_ne!(one, two);
    }
}
