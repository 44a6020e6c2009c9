//! What the Secret holds.

use k3k_runtime::certificates::Pair;
use k8s_openapi::ByteString;
use std::collections::BTreeMap;

/// The contents of the Secret. What is missing or is not text reads as absent, and is then made anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// `ca.crt`, `ca.key`: signs the leaf.
    pub authority: Option<Pair>,
    /// `ca-next.crt`, `ca-next.key`: will sign once every API server has learnt of it.
    pub next: Option<Pair>,
    /// `ca-previous.crt`: signed before; still believed until no replica serves its leaf.
    pub previous: Option<String>,
    /// `tls.crt`, `tls.key`: what replicas serve.
    pub leaf: Option<Pair>,
}

impl Stored {
    /// Reads a Secret's data.
    pub fn from_data(data: Option<&BTreeMap<String, ByteString>>) -> Self {
        let text = |key: &str| {
            let bytes = data?.get(key)?.0.clone();
            String::from_utf8(bytes).ok().filter(|text| !text.is_empty())
        };
        let pair = |name: &str| {
            Some(Pair { certificate: text(&format!("{name}.crt"))?, key: text(&format!("{name}.key"))? })
        };
        Self {
            authority: pair("ca"),
            next: pair("ca-next"),
            previous: text("ca-previous.crt"),
            leaf: pair("tls"),
        }
    }

    /// A Secret's data.
    pub fn to_data(&self) -> BTreeMap<String, ByteString> {
        let mut data = BTreeMap::new();
        let mut put = |key: String, text: &str| data.insert(key, ByteString(text.as_bytes().to_vec()));
        for (name, pair) in [("ca", &self.authority), ("ca-next", &self.next), ("tls", &self.leaf)] {
            if let Some(pair) = pair {
                put(format!("{name}.crt"), &pair.certificate);
                put(format!("{name}.key"), &pair.key);
            }
        }
        if let Some(previous) = &self.previous {
            put("ca-previous.crt".to_owned(), previous);
        }
        data
    }

    /// Every authority that API servers are to believe, in PEM: what belongs into `caBundle`.
    pub fn bundle(&self) -> String {
        let pairs = [&self.authority, &self.next].into_iter().flatten().map(|pair| pair.certificate.as_str());
        pairs
            .chain(self.previous.as_deref())
            .map(str::trim)
            .fold(String::new(), |bundle, one| bundle + one + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(name: &str) -> Pair {
        Pair { certificate: format!("{name} certificate\n"), key: format!("{name} key\n") }
    }

    fn full() -> Stored {
        Stored {
            authority: Some(pair("a")),
            next: Some(pair("n")),
            previous: Some("p\n".to_owned()),
            leaf: Some(pair("l")),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let full = full();
        for stored in [full.clone(), Stored::default(), Stored { next: None, previous: None, ..full }] {
            assert_eq!(Stored::from_data(Some(&stored.to_data())), stored);
        }
        assert_eq!(Stored::from_data(None), Stored::default());
    }

    #[test]
    fn half_a_pair_and_what_is_not_text_count_as_absent() {
        let mut data = Stored { next: None, previous: None, ..full() }.to_data();
        data.remove("ca.key");
        data.insert("tls.key".to_owned(), ByteString(vec![0xff]));
        assert_eq!(Stored::from_data(Some(&data)), Stored::default());
    }

    #[test]
    fn the_bundle_has_every_authority_and_no_leaf() {
        assert_eq!(full().bundle(), "a certificate\nn certificate\np\n");
    }
}
