//! Choices of addresses as pure functions over what is taken; the rows that say so are the caller's.

use crate::link::MacAddress;
use gantry_base::{Error, Result};
use ipnet::{IpNet, Ipv4Net};
use std::net::Ipv4Addr;

/// The pools from which Docker takes the subnets of new networks.
pub fn default_pools() -> Vec<(Ipv4Net, u8)> {
    Vec::new()
}

/// The next free address of `subnet` after `last`, wrapping around; never the network's own or its broadcast address.
///
/// # Errors
/// Docker's `no available IPv4 addresses on this network's address pools` if all are taken.
pub fn next_free(
    _subnet: Ipv4Net,
    _is_taken: impl Fn(Ipv4Addr) -> bool,
    _last: Option<Ipv4Addr>,
) -> Result<Ipv4Addr> {
    Err(Error::not_implemented("to be written"))
}

/// The first subnet of the pools that overlaps none of `used` (host routes and our other networks).
pub fn choose_subnet(_pools: &[(Ipv4Net, u8)], _used: &[IpNet]) -> Result<Ipv4Net> {
    Err(Error::not_implemented("to be written"))
}

/// A locally administered unicast address from six random bytes, as dockerd 28 gives them.
pub fn mac_from_random(random: [u8; 6]) -> MacAddress {
    let mut bytes = random;
    bytes[0] = bytes[0] & 0xfe | 0x02;
    MacAddress(bytes)
}
