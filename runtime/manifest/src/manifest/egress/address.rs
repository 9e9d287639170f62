//! Finds the kind of an address: whether it belongs to the public internet or to a private network.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Kinds of addresses, by the special-purpose registries of IANA (RFC 6890) and the well-known services of clouds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressKind {
    /// Reachable for everybody.
    Public,
    /// This machine.
    Loopback,
    /// A private network (RFC 1918), or the shared one of a provider (RFC 6598).
    Private,
    /// The network segment of this machine.
    LinkLocal,
    /// A private network of IPv6 (RFC 4193).
    UniqueLocal,
    /// Where clouds hand out credentials and settings to their machines.
    Metadata,
    /// For many receivers.
    Multicast,
    /// Of no use between machines: unspecified, documentation, benchmarks, tunnels, not assigned.
    Reserved,
}

impl fmt::Display for AddressKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "a public address",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::UniqueLocal => "a unique-local address",
            Self::Metadata => "the metadata service of a cloud",
            Self::Multicast => "a multicast address",
            Self::Reserved => "a reserved address",
        })
    }
}

/// Metadata services: most clouds; IPv6 at Amazon, at Google; Alibaba; Oracle; the wire server of Azure, whose address
/// looks public.
const METADATA: [&str; 6] =
    ["169.254.169.254", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "192.0.0.192", "168.63.129.16"];

/// The first range that contains an address says what it is.
const RANGES: &[(&str, AddressKind)] = &[
    ("0.0.0.0/8", AddressKind::Reserved),
    ("10.0.0.0/8", AddressKind::Private),
    ("100.64.0.0/10", AddressKind::Private),
    ("127.0.0.0/8", AddressKind::Loopback),
    ("169.254.0.0/16", AddressKind::LinkLocal),
    ("172.16.0.0/12", AddressKind::Private),
    ("192.0.0.0/24", AddressKind::Reserved),
    ("192.0.2.0/24", AddressKind::Reserved),
    ("192.88.99.0/24", AddressKind::Reserved),
    ("192.168.0.0/16", AddressKind::Private),
    ("198.18.0.0/15", AddressKind::Reserved),
    ("198.51.100.0/24", AddressKind::Reserved),
    ("203.0.113.0/24", AddressKind::Reserved),
    ("224.0.0.0/4", AddressKind::Multicast),
    ("240.0.0.0/4", AddressKind::Reserved),
    ("[::1]", AddressKind::Loopback),
    ("[::]/96", AddressKind::Reserved),
    ("[64:ff9b:1::]/48", AddressKind::Private),
    ("[100::]/64", AddressKind::Reserved),
    ("[2001::]/23", AddressKind::Reserved),
    ("[2001:db8::]/32", AddressKind::Reserved),
    ("[2002::]/16", AddressKind::Reserved),
    ("[3fff::]/20", AddressKind::Reserved),
    ("[5f00::]/16", AddressKind::Reserved),
    ("[fc00::]/7", AddressKind::UniqueLocal),
    ("[fe80::]/10", AddressKind::LinkLocal),
    ("[fec0::]/10", AddressKind::Private),
    ("[ff00::]/8", AddressKind::Multicast),
];

/// [`RANGES`] and [`METADATA`], read once.
static KINDS: std::sync::LazyLock<Vec<(AddressRange, AddressKind)>> = std::sync::LazyLock::new(|| {
    let metadata = METADATA.iter().filter_map(|text| text.parse().ok()).map(AddressRange::only);
    let ranges = RANGES.iter().filter_map(|(text, kind)| Some((AddressRange::parse(text)?, *kind)));
    metadata.map(|range| (range, AddressKind::Metadata)).chain(ranges).collect()
});

impl AddressKind {
    /// The kind of `address`. An IPv6 address that stands for an IPv4 address (mapped, or RFC 6052) has the kind of
    /// that one.
    pub fn of(address: IpAddr) -> Self {
        let address = match address.to_canonical() {
            IpAddr::V6(address) => translated(address).map_or(IpAddr::V6(address), IpAddr::V4),
            address => address,
        };
        KINDS.iter().find(|(range, _)| range.contains(address)).map_or(Self::Public, |(_, kind)| *kind)
    }
}

/// The IPv4 address in an IPv6 address with the well-known prefix (RFC 6052).
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = address.to_bits();
    let prefix = Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).to_bits();
    (bits >> 32 == prefix >> 32).then(|| Ipv4Addr::from_bits(bits as u32))
}

/// An address, or all addresses that begin with the same bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    prefix_bits: u32,
}

impl AddressRange {
    /// The range of one address.
    pub fn only(address: IpAddr) -> Self {
        let first = address.to_canonical();
        Self { first, prefix_bits: if first.is_ipv4() { 32 } else { 128 } }
    }

    /// Reads `10.1.2.3`, `10.0.0.0/8`, `[::1]` or `[fd00::]/8`; no bits may be set behind the prefix.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let first: IpAddr = match inner {
            Some(inner) => IpAddr::V6(inner.parse().ok()?),
            None => IpAddr::V4(address.parse().ok()?),
        };
        let Some(bits) = bits else { return Some(Self::only(first)) };
        let all_bits = if first.is_ipv4() { 32 } else { 128 };
        let is_number = (1..=3).contains(&bits.len()) && bits.bytes().all(|byte| byte.is_ascii_digit());
        let prefix_bits = bits.parse().ok().filter(|bits| is_number && *bits <= all_bits)?;
        let rest_bits = all_bits - prefix_bits;
        let bits = bits_of(first);
        let is_first = without_last(bits, rest_bits) == bits;
        is_first.then_some(Self { first, prefix_bits })
    }

    /// Whether `address` is in it. A mapped address is the one it stands for.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let rest_bits = if self.first.is_ipv4() { 32 } else { 128 } - self.prefix_bits;
        self.first.is_ipv4() == address.is_ipv4()
            && without_last(bits_of(address), rest_bits) == bits_of(self.first)
    }
}

fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// `bits` with the last `count` of them set to zero.
fn without_last(bits: u128, count: u32) -> u128 {
    bits.checked_shr(count).map_or(0, |kept| kept << count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_range_is_read() {
        assert_eq!(KINDS.len(), METADATA.len() + RANGES.len());
    }

    #[test]
    fn ranges_are_read_strictly() {
        for text in
            ["10.0.0.0/8", "0.0.0.0/0", "[::]/0", "1.2.3.4/32", "[fd00::]/8", "[::1]/128", "1.2.3.4", "[::1]"]
        {
            assert!(AddressRange::parse(text).is_some(), "{text}");
        }
        for text in [
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/",
            "10.0.0.0/+8",
            "10.0.0/8",
            "::1",
            "[::1",
            "::1]",
            "[10.0.0.1]",
            "[fd00::1]/8",
            "[fd00::]/129",
            "1.2.3.4/032x",
            "01.2.3.4",
            "",
            "/",
            "[]/0",
        ] {
            assert!(AddressRange::parse(text).is_none(), "{text}");
        }
    }
}
