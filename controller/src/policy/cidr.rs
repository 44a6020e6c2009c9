//! Address ranges. Pure.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An address range, without bits beyond its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    address: IpAddr,
    length: u8,
}

impl Cidr {
    /// All addresses of IPv4.
    pub const ALL_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), length: 0 };
    /// All addresses of IPv6.
    pub const ALL_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), length: 0 };

    /// The range of one address.
    pub fn single(address: IpAddr) -> Self {
        Self { address, length: bits(address) }
    }

    /// The range of the first `length` bits of `address`.
    fn new(address: IpAddr, length: u8) -> Self {
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
            }
        };
        Self { address, length }
    }

    /// Whether it is of IPv4.
    pub fn is_v4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether every address of `other` is in it.
    pub fn contains(self, other: Self) -> bool {
        self.is_v4() == other.is_v4()
            && self.length <= other.length
            && Self::new(other.address, self.length) == self
    }

    /// Its first two addresses: in a node's range of pod addresses, those that plug-ins keep for the node itself, as the
    /// end of a tunnel and as its pods' gateway.
    #[must_use]
    pub fn first_two(self) -> Self {
        Self::new(self.address, self.length.max(bits(self.address) - 1))
    }

    /// Its second address.
    pub fn second(self) -> Option<IpAddr> {
        let next = match self.address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits().checked_add(1)?)),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits().checked_add(1)?)),
        };
        (self.length < bits(self.address)).then_some(next)
    }

    /// The address at `offset` from its first, if it is one of its own.
    pub fn nth(self, offset: u8) -> Option<IpAddr> {
        let address = match self.address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits().checked_add(offset.into())?)),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits().checked_add(offset.into())?)),
        };
        self.contains(Self::single(address)).then_some(address)
    }

    /// The range that it halves.
    fn parent(self) -> Option<Self> {
        Some(Self::new(self.address, self.length.checked_sub(1)?))
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The fewest ranges with the same addresses, sorted. No list of ranges becomes the range of all addresses, which could
/// not be an exception from it.
pub fn fewest(ranges: impl IntoIterator<Item = Cidr>) -> Vec<Cidr> {
    let mut sorted: Vec<Cidr> = ranges.into_iter().collect();
    sorted.sort();
    let mut fewest: Vec<Cidr> = Vec::new();
    for range in sorted {
        if fewest.last().is_some_and(|last| last.contains(range)) {
            continue;
        }
        fewest.push(range);
        // Two halves are a whole.
        while let [.., left, right] = fewest[..]
            && left.length == right.length
            && left.length > 1
            && left.parent() == right.parent()
            && let Some(whole) = left.parent()
        {
            fewest.truncate(fewest.len() - 2);
            fewest.push(whole);
        }
    }
    fewest
}

impl fmt::Display for Cidr {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Cidr {
    type Err = String;

    /// Reads `10.0.0.0/8`, `fd00::/8`, or a single address.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not an address range such as 10.0.0.0/8 or fd00::/8");
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        // Kubernetes takes these for IPv4 in one place and for IPv6 in another.
        if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
            return Err(wrong());
        }
        let length = match length {
            Some(length) if length.bytes().all(|digit| digit.is_ascii_digit()) => {
                length.parse().map_err(|_| wrong())?
            }
            Some(_) => return Err(wrong()),
            None => bits(address),
        };
        if length > bits(address) {
            return Err(wrong());
        }
        Ok(Self::new(address, length))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    #[rstest]
    #[case("10.1.2.3/8", "10.0.0.0/8")]
    #[case("10.1.2.3", "10.1.2.3/32")]
    #[case("0.0.0.0/0", "0.0.0.0/0")]
    #[case("fd00:1::5/16", "fd00::/16")]
    #[case("::1", "::1/128")]
    fn ranges_are_read(#[case] text: &str, #[case] want: &str) {
        assert_eq!(cidr(text).to_string(), want);
    }

    #[rstest]
    #[case("10.0.0.0/33")]
    #[case("10.0.0/8")]
    #[case("10.0.0.0/+8")]
    #[case("::ffff:10.0.0.0/104")]
    #[case("fd00::/129")]
    #[case("")]
    #[case("NodeIPs")]
    fn others_are_refused(#[case] text: &str) {
        assert!(text.parse::<Cidr>().unwrap_err().contains("is not an address range"));
    }

    #[rstest]
    #[case(&["10.42.1.0/24", "10.42.0.0/24"], &["10.42.0.0/23"])]
    #[case(&["10.42.1.0/24", "10.42.2.0/24"], &["10.42.1.0/24", "10.42.2.0/24"])]
    #[case(&["10.42.0.0/24", "10.42.0.0/16", "10.42.7.0/24"], &["10.42.0.0/16"])]
    #[case(&["0.0.0.0/1", "128.0.0.0/1"], &["0.0.0.0/1", "128.0.0.0/1"])]
    #[case(&["fd00::/17", "10.0.0.0/9", "10.128.0.0/9", "fd00:8000::/17"], &["10.0.0.0/8", "fd00::/16"])]
    fn lists_are_shortened(#[case] all: &[&str], #[case] want: &[&str]) {
        let made: Vec<String> =
            fewest(all.iter().map(|text| cidr(text))).iter().map(Cidr::to_string).collect();
        assert_eq!(made, want);
    }

    #[test]
    fn a_node_keeps_the_first_two_addresses() {
        assert_eq!(cidr("10.42.1.0/24").first_two().to_string(), "10.42.1.0/31");
        assert_eq!(cidr("10.42.1.1/32").first_two().to_string(), "10.42.1.1/32");
        assert_eq!(cidr("fd00::/64").first_two().to_string(), "fd00::/127");
        assert_eq!(cidr("10.43.0.0/16").second().unwrap().to_string(), "10.43.0.1");
        assert_eq!(cidr("10.43.0.0/32").second(), None);
    }

    proptest! {
        #[test]
        fn shorter_lists_have_the_same_addresses(parts in prop::collection::vec((0_u32..64, 27_u8..=32), 0..12), probe in 0_u32..64) {
            let ranges: Vec<Cidr> = parts.iter().map(|(address, length)| Cidr::new(Ipv4Addr::from_bits(*address).into(), *length)).collect();
            let probe = Cidr::single(Ipv4Addr::from_bits(probe).into());
            let before = ranges.iter().any(|range| range.contains(probe));
            let shorter = fewest(ranges.clone());
            prop_assert_eq!(shorter.iter().any(|range| range.contains(probe)), before);
            prop_assert!(shorter.len() <= ranges.len());
            prop_assert_eq!(fewest(shorter.clone()), shorter);
        }
    }
}
