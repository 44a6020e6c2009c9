//! The webhook's certificate: made, renewed, registered and served without anyone's help.
//!
//! The Secret holds an authority and a serving certificate signed by it. The replica that holds the Lease writes
//! the Secret ([`keeper`], by the pure [`plan`]) and puts the authority into the `caBundle` of our registration
//! ([`registration`]). Every replica follows the Secret and serves what is newest ([`health`]), and calls itself
//! ready only when an API server that believes the registration would get right answers ([`self_review`]).

pub mod health;
pub mod keeper;
pub mod plan;
pub mod registration;
pub mod self_review;
pub mod stored;
pub mod trust;
pub mod watch;

use std::net::IpAddr;

/// What the serving certificate is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// DNS names; the first is the one that the API server asks for when it calls the Service.
    pub dns: Vec<String>,
    /// IP addresses.
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// The names of Service `service` in `namespace`, and of `others`, each a DNS name or an IP address.
    pub fn new(service: &str, namespace: &str, others: &[String]) -> Self {
        let mut names = Self {
            dns: vec![
                format!("{service}.{namespace}.svc"),
                format!("{service}.{namespace}"),
                service.to_owned(),
            ],
            addresses: Vec::new(),
        };
        for other in others {
            match other.parse() {
                Ok(address) => names.addresses.push(address),
                Err(_) => names.dns.push(other.clone()),
            }
        }
        names
    }

    /// The name that the API server asks for when it calls the Service.
    pub fn primary(&self) -> &str {
        self.dns.first().map_or("", String::as_str)
    }

    /// Every name, as text.
    fn all(&self) -> impl Iterator<Item = String> {
        self.dns.iter().cloned().chain(self.addresses.iter().map(IpAddr::to_string))
    }
}
