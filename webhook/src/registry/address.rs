//! Which addresses registries may have. Asked at the moment of connecting, about the very address to connect to: what
//! a name stood for earlier, or looks like, says nothing.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where clouds answer about the node itself, inside a private range.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

/// Judges addresses.
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    /// Whether addresses that are not public are fine.
    pub(super) private_network: bool,
    /// Networks of the host that count as not public: API server, services, pods, nodes.
    pub(super) forbidden: Vec<IpNet>,
}

impl Guard {
    /// Whether one may connect to `address`.
    pub(super) fn allows(&self, address: IpAddr) -> bool {
        let mut same = spellings(address);
        if self.private_network {
            same.all(|address| !is_never_a_registry(address))
        } else {
            same.all(|address| is_public(address) && !self.forbidden.iter().any(|net| net.contains(&address)))
        }
    }
}

/// The address, and the IPv4 address that a translator would make of it.
fn spellings(address: IpAddr) -> impl Iterator<Item = IpAddr> {
    let embedded = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => embedded_v4(v6).map(IpAddr::V4),
    };
    std::iter::once(address).chain(embedded)
}

fn embedded_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        Ipv4Addr::new(a, b, c, d)
    };
    match address.segments() {
        // ::a.b.c.d, but not :: and ::1
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 => Some(v4(high, low)),
        // ::ffff:a.b.c.d, ::ffff:0:a.b.c.d, NAT64 (RFC 6052, RFC 8215), and 6to4
        [0, 0, 0, 0, 0, 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0 | 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(v4(high, low)),
        _ => None,
    }
}

/// Nothing that a policy can mean: the address of the node's cloud, or none of a single machine.
fn is_never_a_registry(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_link_local() || v4.is_multicast() || v4.is_broadcast(),
        IpAddr::V6(v6) => {
            v6.is_unspecified() || v6.is_unicast_link_local() || v6.is_multicast() || v6 == METADATA
        }
    }
}

fn is_public(address: IpAddr) -> bool {
    if is_never_a_registry(address) {
        return false;
    }
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            let shared = a == 100 && b & 0xc0 == 64; // carriers' own networks
            let special = matches!((a, b, c), (192, 0, 0) | (198, 18..=19, _) | (240.., _, _));
            !(v4.is_loopback() || v4.is_private() || v4.is_documentation() || shared || special)
        }
        IpAddr::V6(v6) => {
            // Only 2000::/3 is given out; in it, protocols (Teredo …) and documentation have their corners. Translated IPv4 is
            // judged as what it is translated to.
            let first = v6.segments();
            let corner = matches!(first, [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..]);
            let translated = matches!(first, [0x64, 0xff9b, 0, ..]) || v6.to_ipv4_mapped().is_some();
            translated || (first[0] & 0xe000 == 0x2000 && !corner)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    fn guard(private_network: bool) -> Guard {
        let forbidden = ["8.8.4.0/24", "2600:1::/32"].map(|net| net.parse().unwrap()).to_vec();
        Guard { private_network, forbidden }
    }

    #[rstest]
    #[case::loopback("127.0.0.1", true)]
    #[case::all_of_loopback("127.8.9.1", true)]
    #[case::private_a("10.0.0.1", true)]
    #[case::private_b("172.31.255.255", true)]
    #[case::private_c("192.168.1.1", true)]
    #[case::carrier("100.64.0.1", true)]
    #[case::carrier_end("100.127.255.255", true)]
    #[case::benchmarks("198.18.0.1", true)]
    #[case::protocols("192.0.0.8", true)]
    #[case::reserved("240.0.0.1", true)]
    #[case::of_the_host("8.8.4.4", true)]
    #[case::loopback6("::1", true)]
    #[case::unique_local("fc00::1", true)]
    #[case::unique_local_d("fd12::1", true)]
    #[case::site_local("fec0::1", true)]
    #[case::of_the_host6("2600:1::5", true)]
    #[case::mapped_loopback("::ffff:127.0.0.1", true)]
    #[case::mapped_private("::ffff:10.0.0.1", true)]
    #[case::mapped_of_the_host("::ffff:8.8.4.4", true)]
    #[case::compatible("::127.0.0.1", true)]
    #[case::nat64_private("64:ff9b::10.0.0.1", true)]
    #[case::sixtofour_private("2002:0a00:0001::1", true)]
    #[case::teredo("2001:0:1::1", true)]
    #[case::unspecified("0.0.0.0", false)]
    #[case::this_network("0.1.2.3", false)]
    #[case::metadata("169.254.169.254", false)]
    #[case::multicast("224.0.0.1", false)]
    #[case::broadcast("255.255.255.255", false)]
    #[case::unspecified6("::", false)]
    #[case::link_local6("fe80::1", false)]
    #[case::metadata6("fd00:ec2::254", false)]
    #[case::multicast6("ff02::1", false)]
    #[case::mapped_metadata("::ffff:169.254.169.254", false)]
    #[case::nat64_metadata("64:ff9b::169.254.169.254", false)]
    #[case::sixtofour_metadata("2002:a9fe:a9fe::", false)]
    fn what_is_not_public_is_refused(#[case] address: &str, #[case] if_private: bool) {
        let address = address.parse().unwrap();
        assert!(!guard(false).allows(address));
        assert_eq!(guard(true).allows(address), if_private);
    }

    #[rstest]
    #[case("8.8.8.8")]
    #[case("100.128.0.1")]
    #[case("172.32.0.1")]
    #[case("169.253.0.1")]
    #[case("198.20.0.1")]
    #[case("2600:2::1")]
    #[case("2a00:1450::1")]
    #[case("::ffff:8.8.8.8")]
    #[case("64:ff9b::8.8.8.8")]
    fn what_is_public_is_fine(#[case] address: &str) {
        let address = address.parse().unwrap();
        assert!(guard(false).allows(address) && guard(true).allows(address));
    }
}
