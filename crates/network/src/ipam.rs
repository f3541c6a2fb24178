//! Choices of addresses as pure functions over what is taken; the rows that say so are the caller's.

use crate::link::MacAddress;
use gantry_base::{Error, ErrorKind, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Docker's text when a pool has no free address left.
const EXHAUSTED: &str = "no available IPv4 addresses on this network's address pools";

/// The pools from which Docker takes the subnets of new networks, in its order: pool and prefix length of the subnets.
pub fn default_pools() -> Vec<(Ipv4Net, u8)> {
    let pool = |a, b, length, size| (Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), length), size);
    vec![
        pool(172, 17, 16, 16),
        pool(172, 18, 16, 16),
        pool(172, 19, 16, 16),
        pool(172, 20, 14, 16),
        pool(172, 24, 14, 16),
        pool(172, 28, 14, 16),
        pool(192, 168, 16, 20),
    ]
}

/// The next free address of `range` after `last`, wrapping around; never the first or the last address of `range`.
///
/// Going on after `last` keeps an address unused for as long as possible: the bridge may still have the port of its last owner.
///
/// # Errors
/// Docker's text if none is free.
pub fn next_free(
    range: Ipv4Net,
    is_taken: impl Fn(Ipv4Addr) -> bool,
    last: Option<Ipv4Addr>,
) -> Result<Ipv4Addr> {
    next_free_in(range, range, is_taken, last)
}

/// Like [`next_free`], for a `range` within `subnet`: only the subnet's own first and last address are never given.
pub fn next_free_in(
    subnet: Ipv4Net,
    range: Ipv4Net,
    is_taken: impl Fn(Ipv4Addr) -> bool,
    last: Option<Ipv4Addr>,
) -> Result<Ipv4Addr> {
    // Networks of one or two addresses have neither a name nor a broadcast address.
    let is_usable =
        |ip| subnet.prefix_len() >= 31 || (ip != subnet.network() && ip != subnet.broadcast());
    let (first, end) = (u32::from(range.network()), u32::from(range.broadcast()));
    let start = match last.map(u32::from) {
        Some(last) if (first..end).contains(&last) => last + 1,
        _ => first,
    };
    (start..=end)
        .chain(first..start)
        .map(Ipv4Addr::from)
        .find(|ip| is_usable(*ip) && !is_taken(*ip))
        .ok_or_else(|| Error::new(ErrorKind::Internal, EXHAUSTED))
}

/// Like [`next_free_in`], for either family. Of IPv6, the first address of the subnet belongs to its routers.
pub fn next_free_of(
    subnet: IpNet,
    range: IpNet,
    is_taken: impl Fn(IpAddr) -> bool,
    last: Option<IpAddr>,
) -> Result<IpAddr> {
    match (subnet, range) {
        (IpNet::V4(subnet), IpNet::V4(range)) => {
            let last = last.and_then(|last| match last {
                IpAddr::V4(last) => Some(last),
                IpAddr::V6(_) => None,
            });
            next_free_in(subnet, range, |ip| is_taken(IpAddr::V4(ip)), last).map(IpAddr::V4)
        }
        (IpNet::V6(subnet), IpNet::V6(range)) => {
            let (first, end) = (u128::from(range.network()), u128::from(range.broadcast()));
            let start = match last {
                Some(IpAddr::V6(last)) if (first..end).contains(&u128::from(last)) => {
                    u128::from(last) + 1
                }
                _ => first,
            };
            (start..=end)
                .chain(first..start)
                .map(Ipv6Addr::from)
                .find(|ip| *ip != subnet.network() && !is_taken(IpAddr::V6(*ip)))
                .map(IpAddr::V6)
                .ok_or_else(|| Error::internal(EXHAUSTED.replace("IPv4", "IPv6")))
        }
        _ => Err(Error::internal(
            "a range of addresses is of another family than its subnet",
        )),
    }
}

/// The first /64 of a unique local prefix of /48 that overlaps none of `used`.
///
/// # Errors
/// Docker's text if there is none.
pub fn choose_subnet_v6(pools: &[(Ipv6Net, u8)], used: &[IpNet]) -> Result<Ipv6Net> {
    pools
        .iter()
        .filter_map(|(pool, length)| pool.subnets((*length).max(pool.prefix_len())).ok())
        .find_map(|mut subnets| {
            subnets.find(|subnet| overlapping_of(IpNet::V6(*subnet), used).is_none())
        })
        .ok_or_else(|| Error::internal("all predefined address pools have been fully subnetted"))
}

/// Like [`overlapping`], for either family.
pub fn overlapping_of(subnet: IpNet, used: &[IpNet]) -> Option<IpNet> {
    used.iter()
        .copied()
        .find(|other| other.prefix_len() > 0 && (other.contains(&subnet) || subnet.contains(other)))
}

/// The first subnet of the pools that overlaps none of `used` (host routes and our other networks; default routes do not count).
///
/// # Errors
/// Docker's text if every subnet of every pool overlaps something.
pub fn choose_subnet(pools: &[(Ipv4Net, u8)], used: &[IpNet]) -> Result<Ipv4Net> {
    for (pool, length) in pools {
        let subnets = pool
            .subnets((*length).max(pool.prefix_len()))
            .map_err(|_| Error::invalid(format!("a pool cannot have subnets of /{length}")))?;
        for subnet in subnets {
            if overlapping(subnet, used).is_none() {
                return Ok(subnet);
            }
        }
    }
    Err(Error::internal(
        "all predefined address pools have been fully subnetted",
    ))
}

/// The first of `used` that shares addresses with `subnet`; default routes do not count.
pub fn overlapping(subnet: Ipv4Net, used: &[IpNet]) -> Option<IpNet> {
    overlapping_of(IpNet::V4(subnet), used)
}

/// A locally administered unicast address from six random bytes, as dockerd 28 gives them.
pub fn mac_from_random(random: [u8; 6]) -> MacAddress {
    let mut bytes = random;
    bytes[0] = (bytes[0] & 0xfe) | 0x02;
    MacAddress(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> Ipv4Net {
        text.parse().expect("is a network")
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().expect("is an address")
    }

    #[test]
    fn addresses_go_on_after_the_last_one_and_wrap_around() {
        let subnet = net("10.0.0.0/29");
        let gateway = ip("10.0.0.1");
        let mut taken = vec![gateway];
        let mut last = None;
        for expected in ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5"] {
            let found =
                next_free(subnet, |ip| taken.contains(&ip), last).expect("there are free ones");
            assert_eq!(found, ip(expected));
            taken.push(found);
            last = Some(found);
        }
        taken.retain(|taken| *taken != ip("10.0.0.3"));
        assert_eq!(
            next_free(subnet, |ip| taken.contains(&ip), last).expect("one"),
            ip("10.0.0.6"),
            "not the one just freed"
        );
        taken.push(ip("10.0.0.6"));
        assert_eq!(
            next_free(subnet, |ip| taken.contains(&ip), Some(ip("10.0.0.6"))).expect("one"),
            ip("10.0.0.3")
        );
        taken.push(ip("10.0.0.3"));
        let error = next_free(subnet, |ip| taken.contains(&ip), last).expect_err("all are taken");
        assert_eq!(error.to_string(), EXHAUSTED);
    }

    #[test]
    fn ranges_are_used_whole_but_for_the_subnets_own_ends() {
        let free = |subnet, range, last| {
            next_free_in(net(subnet), net(range), |_| false, last).expect("is free")
        };
        assert_eq!(free("10.0.0.0/24", "10.0.0.64/26", None), ip("10.0.0.64"));
        assert_eq!(
            free("10.0.0.0/24", "10.0.0.192/26", Some(ip("10.0.0.254"))),
            ip("10.0.0.192"),
            "never the broadcast"
        );
        assert_eq!(free("10.0.0.0/31", "10.0.0.0/31", None), ip("10.0.0.0"));
        assert_eq!(
            free("10.0.0.0/24", "10.0.0.0/24", Some(ip("172.16.0.1"))),
            ip("10.0.0.1"),
            "a last one from elsewhere"
        );
        assert_eq!(
            free(
                "255.255.255.0/24",
                "255.255.255.0/24",
                Some(ip("255.255.255.254"))
            ),
            ip("255.255.255.1")
        );
    }

    #[test]
    fn subnets_avoid_what_the_host_reaches_already() {
        let used = ["0.0.0.0/0", "172.17.5.0/24", "172.16.0.0/15", "fd00::/8"]
            .map(|n| n.parse().expect("is a network"));
        assert_eq!(
            choose_subnet(&default_pools(), &used).expect("there is one"),
            net("172.18.0.0/16")
        );
        let everything =
            ["172.16.0.0/12", "192.168.0.0/16"].map(|n| n.parse().expect("is a network"));
        assert!(choose_subnet(&default_pools(), &everything).is_err());
        let most = ["172.16.0.0/12", "192.168.0.0/17"].map(|n| n.parse().expect("is a network"));
        assert_eq!(
            choose_subnet(&default_pools(), &most).expect("there is one"),
            net("192.168.128.0/20")
        );
    }

    #[test]
    fn random_addresses_are_local_and_unicast() {
        assert_eq!(mac_from_random([0xff; 6]).0[0], 0xfe);
        assert_eq!(mac_from_random([0; 6]).0[0], 0x02);
    }
}
