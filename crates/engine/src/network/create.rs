//! Making networks: what was asked is checked in dockerd's words and order, addresses are chosen, and the bridge is made
//! between two rows: `creating` and `ready`.

use super::child::{self, ChildOptions};
use super::dataplane::Dataplane;
use super::options::BridgeOptions;
use super::record::{self, Driver, IpamConfig, Network, Phase, Pool, SubnetConfig};
use super::{Inner, Networks, claim};
use crate::clock::now_ns;
use gantry_base::{Error, ErrorKind, NetworkId, Result};
use gantry_network::ipam;
use gantry_state::{Database, Durability};
use indexmap::IndexMap;
use ipnet::{IpNet, Ipv6Net};
use std::net::IpAddr;
use std::sync::Arc;

/// What a request for a network says.
#[derive(Debug, Clone, Default)]
pub struct CreateNetwork {
    /// Its name.
    pub name: String,
    /// Empty: `bridge`.
    pub driver: String,
    /// See [`Network`].
    pub is_internal: bool,
    /// See [`Network`].
    pub is_attachable: bool,
    /// Of swarms.
    pub is_ingress: bool,
    /// See [`Network`].
    pub is_config_only: bool,
    /// Name of a network that lends its configuration; empty: none.
    pub config_from: String,
    /// `local`, `swarm`; empty: the driver's.
    pub scope: String,
    /// None: yes.
    pub has_ipv4: Option<bool>,
    /// None: no.
    pub has_ipv6: Option<bool>,
    /// Addresses.
    pub ipam: IpamConfig,
    /// Options of the driver.
    pub options: IndexMap<String, String>,
    /// Labels.
    pub labels: IndexMap<String, String>,
}

impl Networks {
    /// Makes a network; when this returns, it survives a power cut.
    ///
    /// # Errors
    /// In dockerd's words.
    pub async fn create(&self, options: CreateNetwork) -> Result<Arc<Network>> {
        let (inner, prepared) = (self.inner.clone(), self.prepare(options)?);
        let network = self
            .call(move |dataplane| make(&inner, dataplane, prepared))
            .await?;
        self.publish(&network, "create", &[]);
        Ok(network)
    }

    /// Everything that can be said without the addresses of others.
    fn prepare(&self, mut options: CreateNetwork) -> Result<Network> {
        let name = options.name.clone();
        check_name(&name)?;
        if options.scope == "swarm" {
            return Err(forbidden(
                "cannot create a swarm scoped network when swarm is not active",
            ));
        }
        if options.is_ingress {
            return Err(forbidden(
                "Ingress network can only be global scope network",
            ));
        }
        if self.by_name(&name).is_some() {
            return Err(record::name_in_use(&name));
        }
        if !options.config_from.is_empty() {
            self.borrow_configuration(&mut options)?;
        }
        let driver = match options.driver.as_str() {
            _ if options.is_config_only => Driver::Null,
            driver => driver_of(driver)?,
        };
        if !matches!(options.ipam.driver.as_str(), "" | "default") {
            return Err(no_plugin(&options.ipam.driver));
        }
        let has_ipv4 = options.has_ipv4.unwrap_or(true);
        let has_ipv6 = options.has_ipv6.unwrap_or(false);
        if !has_ipv4 && !has_ipv6 {
            return Err(Error::invalid("IPv4 or IPv6 must be enabled"));
        }
        check_subnets(&options.ipam.subnets, driver)?;
        let id = NetworkId::from_random(crate::random_bytes)
            .as_str()
            .to_owned();
        let bridge = (driver == Driver::Bridge)
            .then(|| BridgeOptions::parse(&options.options, &id, options.is_internal))
            .transpose()?;
        let child = matches!(driver, Driver::Macvlan | Driver::Ipvlan)
            .then(|| ChildOptions::parse(driver, &options.options, &id))
            .transpose()?;
        if options.ipam.driver.is_empty() {
            options.ipam.driver = "default".into();
        }
        Ok(Network {
            id,
            name,
            driver,
            created_ns: now_ns(),
            labels: options.labels,
            options: options.options,
            is_internal: options.is_internal,
            is_attachable: options.is_attachable,
            has_ipv4,
            has_ipv6,
            is_config_only: options.is_config_only,
            config_from: options.config_from,
            ipam: options.ipam,
            is_predefined: false,
            v4: None,
            v6: None,
            bridge,
            child,
            owns_parent: false,
        })
    }

    /// Puts the lent configuration in the place of what the request must not say itself.
    fn borrow_configuration(&self, options: &mut CreateNetwork) -> Result<()> {
        let lender = self
            .by_name(&options.config_from)
            .filter(|network| network.is_config_only)
            .ok_or_else(|| {
                Error::not_found(format!("network {} not found", options.config_from))
            })?;
        let has_own = !options.ipam.subnets.is_empty()
            || !options.options.is_empty()
            || !options.labels.is_empty()
            || options.is_internal
            || options.has_ipv6 == Some(true);
        if has_own {
            return Err(forbidden(
                "user specified configurations are not supported if the network depends on a configuration network",
            ));
        }
        options.ipam = lender.ipam.clone();
        options.options.clone_from(&lender.options);
        options.labels.clone_from(&lender.labels);
        options.is_internal = lender.is_internal;
        options.has_ipv4 = Some(lender.has_ipv4);
        options.has_ipv6 = Some(lender.has_ipv6);
        Ok(())
    }
}

/// On the network thread, so that no other network takes the same addresses meanwhile.
fn make(inner: &Inner, dataplane: &mut Dataplane, mut network: Network) -> Result<Arc<Network>> {
    let interface = network
        .bridge
        .as_ref()
        .map(|bridge| bridge.interface.clone());
    if let Some(interface) = interface {
        choose_addresses(inner, dataplane, &mut network)?;
        if dataplane.has_link(&interface)? {
            // Taking over somebody's interface would take its addresses and its traffic.
            return Err(Error::conflict(format!(
                "existing interface {interface} cannot become the bridge of network {}",
                network.name
            )));
        }
    }
    if network.child.is_some() {
        choose_addresses(inner, dataplane, &mut network)?;
        child::choose_parent(inner, dataplane, &mut network)?;
    }
    let row = network.clone();
    inner.database.write(Durability::Normal, move |tx| {
        row.insert(tx, Phase::Creating)
    })?;
    gantry_base::failpoint!("network.intent");
    if let Err(error) = realise(&inner.database, dataplane, &network) {
        undo(&inner.database, dataplane, &network);
        return Err(error);
    }
    gantry_base::failpoint!("network.rules");
    let id = network.id.clone();
    inner.database.write(Durability::Full, move |tx| {
        record::set_phase(tx, &id, Phase::Ready)
    })?;
    gantry_base::failpoint!("network.outcome");
    let network = Arc::new(network);
    inner.insert(network.clone());
    Ok(network)
}

/// Makes the kernel have a network: at its creation and at boot.
pub(super) fn realise(
    database: &Database,
    dataplane: &mut Dataplane,
    network: &Network,
) -> Result<()> {
    dataplane.add_network(network)?;
    gantry_base::failpoint!("network.bridge");
    dataplane.render(&claim::all_published(database)?)
}

/// Takes back what a creation or a removal that did not come to its end left.
pub(super) fn undo(database: &Database, dataplane: &mut Dataplane, network: &Network) {
    let undone = child::has_heir(database, network)
        .and_then(|has_heir| dataplane.remove_network(network, has_heir))
        .and_then(|()| dataplane.render(&claim::all_published(database)?))
        .and_then(|()| {
            let id = network.id.clone();
            database.write(Durability::Normal, move |tx| record::delete(tx, &id))
        });
    if let Err(error) = undone {
        tracing::error!(network = network.name, %error, "cannot take a network back; the next start tries again");
    }
}

fn choose_addresses(inner: &Inner, dataplane: &mut Dataplane, network: &mut Network) -> Result<()> {
    let routes = dataplane.host_routes()?;
    let own: Vec<IpNet> = inner
        .networks()
        .values()
        .flat_map(|network| network.pools().map(|pool| pool.subnet).collect::<Vec<_>>())
        .collect();
    let subnets = network.ipam.subnets.clone();
    let given = |is_v6: bool| {
        subnets.iter().find(|config| {
            config
                .subnet
                .parse::<IpNet>()
                .is_ok_and(|net| is_v6 == net.addr().is_ipv6())
        })
    };
    let used: Vec<IpNet> = routes.iter().chain(&own).copied().collect();
    for is_v6 in [false, true] {
        let wanted = if is_v6 {
            network.has_ipv6
        } else {
            network.has_ipv4
        };
        if !wanted {
            continue;
        }
        let has_gateway = network.has_gateway(is_v6);
        let pool = if let Some(config) = given(is_v6) {
            // Containers of those are in the host's own networks.
            let routes = if network.child.is_some() {
                &[]
            } else {
                &*routes
            };
            configured_pool(config, &own, routes, has_gateway)?
        } else {
            let pool = chosen_pool(is_v6, inner, &used, has_gateway)?;
            network.ipam.subnets.push(SubnetConfig {
                subnet: pool.subnet.to_string(),
                gateway: pool.gateway.map(|ip| ip.to_string()).unwrap_or_default(),
                ..SubnetConfig::default()
            });
            pool
        };
        *(if is_v6 {
            &mut network.v6
        } else {
            &mut network.v4
        }) = Some(pool);
    }
    Ok(())
}

fn configured_pool(
    config: &SubnetConfig,
    own: &[IpNet],
    routes: &[IpNet],
    has_gateway: bool,
) -> Result<Pool> {
    let damaged = |_| Error::invalid(format!("invalid subnet {}", config.subnet));
    let subnet: IpNet = config.subnet.parse().map_err(damaged)?;
    if ipam::overlapping_of(subnet, own).is_some() {
        return Err(forbidden(
            "invalid pool request: Pool overlaps with other one on this address space",
        ));
    }
    // A wider route goes on to lead to the rest of its addresses, and a narrower one would take ours away.
    if let Some(route) = routes.iter().find(|route| subnet.contains(*route)) {
        return Err(forbidden(format!(
            "invalid pool request: {subnet} overlaps with the host's route to {route}"
        )));
    }
    let range: IpNet = match config.ip_range.as_str() {
        "" => subnet,
        range => range.parse().map_err(damaged)?,
    };
    let reserved: Vec<IpAddr> = config
        .auxiliary_addresses
        .values()
        .filter_map(|address| address.parse().ok())
        .collect();
    let gateway =
        match config.gateway.as_str() {
            "" if has_gateway => {
                let first = ipam::next_free_of(subnet, range, |ip| reserved.contains(&ip), None)?;
                Some(first)
            }
            "" => None,
            gateway => Some(gateway.parse().map_err(|_| {
                Error::invalid(format!("invalid gateway {gateway}: invalid address"))
            })?),
        };
    Ok(Pool {
        subnet,
        range,
        gateway,
        reserved,
        is_configured: true,
    })
}

fn chosen_pool(is_v6: bool, inner: &Inner, used: &[IpNet], has_gateway: bool) -> Result<Pool> {
    let subnet = if is_v6 {
        let mut pools = inner.settings.address_pools_v6();
        if pools.is_empty() {
            pools.push((inner.local_prefix()?, 64));
        }
        IpNet::V6(ipam::choose_subnet_v6(&pools, used)?)
    } else {
        IpNet::V4(ipam::choose_subnet(
            &inner.settings.address_pools_v4(),
            used,
        )?)
    };
    Ok(Pool {
        subnet,
        range: subnet,
        gateway: has_gateway
            .then(|| ipam::next_free_of(subnet, subnet, |_| false, None))
            .transpose()?,
        reserved: Vec::new(),
        is_configured: false,
    })
}

impl Inner {
    /// The unique local prefix of this daemon (RFC 4193), from an id that was drawn once.
    fn local_prefix(&self) -> Result<Ipv6Net> {
        let id = self
            .by_name("none")
            .map(|network| network.id.clone())
            .unwrap_or_default();
        let digits = id.get(..10).unwrap_or_default();
        let number = u128::from_str_radix(digits, 16)
            .map_err(|_| Error::internal("a network's id is damaged"))?;
        Ok(Ipv6Net::new_assert((0xfd << 120 | number << 80).into(), 48))
    }
}

fn check_name(name: &str) -> Result<()> {
    match name.trim() {
        "" => Err(Error::invalid("invalid name: name is empty")),
        "bridge" | "host" | "none" | "default" => Err(forbidden(format!(
            "operation is not permitted on predefined {name} network "
        ))),
        _ => Ok(()),
    }
}

fn driver_of(name: &str) -> Result<Driver> {
    match name {
        "" | "bridge" => Ok(Driver::Bridge),
        "host" | "null" => Err(forbidden(format!(
            "only one instance of {name:?} network is allowed"
        ))),
        "macvlan" => Ok(Driver::Macvlan),
        "ipvlan" => Ok(Driver::Ipvlan),
        "overlay" => Err(forbidden(
            "This node is not a swarm manager. Use \"docker swarm init\" or \"docker swarm join\" to connect this node to swarm and try again.",
        )),
        other => Err(no_plugin(other)),
    }
}

fn no_plugin(name: &str) -> Error {
    Error::not_found(format!("plugin {name:?} not found"))
}

fn forbidden(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::Forbidden, text.into())
}

/// Every problem of every subnet, as dockerd lists them.
fn check_subnets(subnets: &[SubnetConfig], driver: Driver) -> Result<()> {
    let mut problems = Vec::new();
    let mut families = [0; 2];
    for config in subnets {
        match config.subnet.parse::<IpNet>() {
            Err(_) => problems.push(format!(
                "invalid subnet {}: invalid CIDR block notation",
                config.subnet
            )),
            Ok(subnet) if subnet.trunc() != subnet => problems.push(format!(
                "invalid subnet {subnet}: it should be {}",
                subnet.trunc()
            )),
            Ok(subnet) => {
                families[usize::from(subnet.addr().is_ipv6())] += 1;
                check_members(config, subnet, &mut problems);
            }
        }
    }
    if !problems.is_empty() {
        return Err(Error::invalid(format!(
            "invalid network config:\n{}",
            problems.join("\n")
        )));
    }
    if families.iter().any(|count| *count > 1) {
        return Err(match driver {
            Driver::Macvlan | Driver::Ipvlan => Error::not_implemented(format!(
                "several subnets of one address family on a {} network are not supported yet",
                driver.as_str()
            )),
            _ => forbidden("bridge driver doesn't support multiple subnets"),
        });
    }
    Ok(())
}

fn check_members(config: &SubnetConfig, subnet: IpNet, problems: &mut Vec<String>) {
    let range = &config.ip_range;
    match range.parse::<IpNet>() {
        _ if range.is_empty() => {}
        Err(_) => problems.push(format!(
            "invalid ip-range {range}: invalid CIDR block notation"
        )),
        Ok(net) if net.prefix_len() < subnet.prefix_len() => problems.push(format!(
            "invalid ip-range {net}: CIDR block is bigger than its parent subnet {subnet}"
        )),
        Ok(net) if net.trunc() != net => problems.push(format!(
            "invalid ip-range {net}: it should be {}",
            net.trunc()
        )),
        Ok(net) if !subnet.contains(&net) => problems.push(format!(
            "invalid ip-range {net}: parent subnet {subnet} doesn't contain ip-range"
        )),
        Ok(_) => {}
    }
    let gateway = std::iter::once(("gateway", &config.gateway, &config.gateway))
        .filter(|(_, _, address)| !address.is_empty());
    let auxiliary = config
        .auxiliary_addresses
        .iter()
        .map(|(name, address)| ("auxiliary address", name, address));
    for (what, name, address) in gateway.chain(auxiliary) {
        match address.parse::<IpAddr>() {
            Err(_) => problems.push(format!("invalid {what} {name}: invalid address")),
            Ok(address) if !subnet.contains(&address) => problems.push(format!(
                "invalid {what} {name}: parent subnet {subnet} doesn't contain this address"
            )),
            Ok(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(subnet: &str, range: &str, gateway: &str, auxiliary: &str) -> String {
        let mut config = SubnetConfig {
            subnet: subnet.into(),
            ip_range: range.into(),
            gateway: gateway.into(),
            ..SubnetConfig::default()
        };
        if !auxiliary.is_empty() {
            config
                .auxiliary_addresses
                .insert("a".into(), auxiliary.into());
        }
        let text = check_subnets(&[config], Driver::Bridge)
            .expect_err("is refused")
            .to_string();
        text.strip_prefix("invalid network config:\n")
            .expect("has the prefix")
            .to_owned()
    }

    #[test]
    fn subnets_are_refused_in_dockers_words() {
        for (config, text) in [
            (
                ("10.99.0.0/24", "", "10.98.0.1", ""),
                "invalid gateway 10.98.0.1: parent subnet 10.99.0.0/24 doesn't contain this address",
            ),
            (
                ("10.99.0.7/24", "", "", ""),
                "invalid subnet 10.99.0.7/24: it should be 10.99.0.0/24",
            ),
            (
                ("zzz", "", "", ""),
                "invalid subnet zzz: invalid CIDR block notation",
            ),
            (
                ("", "", "10.99.1.1", ""),
                "invalid subnet : invalid CIDR block notation",
            ),
            (
                ("10.99.0.0/24", "10.98.0.0/24", "", ""),
                "invalid ip-range 10.98.0.0/24: parent subnet 10.99.0.0/24 doesn't contain ip-range",
            ),
            (
                ("10.99.0.0/24", "10.99.0.0/16", "", ""),
                "invalid ip-range 10.99.0.0/16: CIDR block is bigger than its parent subnet 10.99.0.0/24",
            ),
            (
                ("10.99.0.0/24", "", "", "10.98.0.1"),
                "invalid auxiliary address a: parent subnet 10.99.0.0/24 doesn't contain this address",
            ),
        ] {
            assert_eq!(refusal(config.0, config.1, config.2, config.3), text);
        }
    }

    #[test]
    fn only_what_takes_addresses_away_overlaps() {
        let net = |text: &str| text.parse().expect("is a network");
        let config = SubnetConfig {
            subnet: "10.99.0.0/24".into(),
            ..SubnetConfig::default()
        };
        let pool = configured_pool(&config, &[net("10.98.0.0/16")], &[net("10.0.0.0/8")], true)
            .expect("the wider route stays useful");
        assert_eq!(
            pool.gateway.map(|ip| ip.to_string()).as_deref(),
            Some("10.99.0.1")
        );
        assert!(configured_pool(&config, &[net("10.99.0.0/16")], &[], true).is_err());
        assert!(configured_pool(&config, &[], &[net("10.99.0.128/25")], true).is_err());
    }
}
