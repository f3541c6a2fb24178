//! Networks whose containers share a link of the host: macvlan and ipvlan, their options and their parents, in dockerd's words.

use super::Inner;
use super::dataplane::Dataplane;
use super::record::{self, Driver, Network};
use gantry_base::{Error, Result};
use gantry_network::child::{Child, IpvlanFlag, IpvlanMode, MacvlanMode, NewParent};
use gantry_state::Database;
use indexmap::IndexMap;
use std::sync::Arc;

/// What makes one such network differ from another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ChildOptions {
    /// Name of the link that the containers share.
    pub(crate) parent: String,
    /// None was named: it is a link that leads nowhere.
    pub(crate) is_parentless: bool,
    pub(crate) child: Child,
}

impl ChildOptions {
    /// Reads the options of a network to be made; what nobody knows is kept for inspect, as in Docker.
    pub(super) fn parse(
        driver: Driver,
        options: &IndexMap<String, String>,
        id: &str,
    ) -> Result<Self> {
        let option = |key: &str| options.get(key).map_or("", String::as_str);
        let (child, prefix) = match driver {
            Driver::Ipvlan => (
                Child::Ipvlan(
                    ipvlan_mode(option("ipvlan_mode"))?,
                    ipvlan_flag(option("ipvlan_flag"))?,
                ),
                "di",
            ),
            _ => (Child::Macvlan(macvlan_mode(option("macvlan_mode"))?), "dm"),
        };
        let parent = match option("parent") {
            "lo" => {
                return Err(Error::internal(format!(
                    "loopback interface is not a valid {} parent link",
                    driver.as_str()
                )));
            }
            "" => format!("{prefix}-{}", &id[..12]),
            parent => parent.to_owned(),
        };
        Ok(Self {
            parent,
            is_parentless: option("parent").is_empty(),
            child,
        })
    }

    /// Whether its containers take part on the layer of addresses only: nobody is asked for the way, there is but one.
    pub(crate) fn is_routed(&self) -> bool {
        matches!(
            self.child,
            Child::Ipvlan(IpvlanMode::L3 | IpvlanMode::L3s, _)
        )
    }

    /// Whether its containers have the parent's Ethernet address.
    pub(crate) fn shares_mac(&self) -> bool {
        matches!(self.child, Child::Ipvlan(..))
    }

    /// How a parent that does not exist is made: by its name.
    pub(super) fn new_parent(&self) -> Result<NewParent> {
        if self.is_parentless {
            return Ok(NewParent::Dummy);
        }
        let parent = &self.parent;
        let parts: Vec<&str> = parent.split('.').collect();
        let (of, id) = match parts.as_slice() {
            [_] => {
                return Err(Error::internal(format!(
                    "invalid subinterface vlan name {parent}, example formatting is eth0.10"
                )));
            }
            [of, id] => (*of, *id),
            _ => {
                return Err(Error::internal(format!(
                    "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received {parent}"
                )));
            }
        };
        let number: i64 = id.parse().map_err(|_| {
            Error::internal(format!(
                "unable to parse a valid vlan id from: {id} (ex. eth0.10 for vlan 10)"
            ))
        })?;
        match u16::try_from(number) {
            Ok(id @ 1..=4094) => Ok(NewParent::Vlan {
                of: of.to_owned(),
                id,
            }),
            _ => Err(Error::internal(format!(
                "vlan id must be between 1-4094, received: {number}"
            ))),
        }
    }
}

/// Decides whether the parent of the network's links is one that is to be made.
pub(super) fn choose_parent(
    inner: &Inner,
    dataplane: &mut Dataplane,
    network: &mut Network,
) -> Result<()> {
    let Some(options) = network.child.clone() else {
        return Ok(());
    };
    let others: Vec<Arc<Network>> = inner.networks().values().cloned().collect();
    check_sharing(network, others.iter().map(AsRef::as_ref))?;
    let is_shared = |other: &Arc<Network>| {
        other.owns_parent
            && other
                .child
                .as_ref()
                .is_some_and(|it| it.parent == options.parent)
    };
    let is_there = gantry_network::link::check_name(&options.parent).is_ok()
        && dataplane.has_link(&options.parent)?;
    network.owns_parent = others.iter().any(is_shared) || !is_there;
    if is_there {
        return Ok(());
    }
    if let NewParent::Vlan { of, .. } = options.new_parent()?
        && !dataplane.has_link(&of)?
    {
        return Err(Error::internal(format!(
            "-o parent interface was not found on the host: {of}"
        )));
    }
    Ok(())
}

/// Whether another network keeps the parent that was made for this one.
pub(super) fn has_heir(database: &Database, network: &Network) -> Result<bool> {
    let Some(options) = network.child.as_ref().filter(|_| network.owns_parent) else {
        return Ok(false);
    };
    let is_heir = |(other, _): &(Network, bool)| {
        let child = other.child.as_ref();
        other.id != network.id && child.is_some_and(|it| it.parent == options.parent)
    };
    Ok(database.read(record::load_all)?.iter().any(is_heir))
}

/// Whether `network` may share its parent with the `others`: one that passes everything through has it for itself.
fn check_sharing<'a>(network: &Network, others: impl Iterator<Item = &'a Network>) -> Result<()> {
    const PASSTHRU: Child = Child::Macvlan(MacvlanMode::Passthru);
    let Some(own) = &network.child else {
        return Ok(());
    };
    for other in others {
        let Some(options) = other.child.as_ref().filter(|it| it.parent == own.parent) else {
            continue;
        };
        let (driver, id, parent) = (other.driver.as_str(), &other.id, &own.parent);
        if own.child == PASSTHRU {
            return Err(Error::internal(format!(
                "cannot use mode passthru, {driver} network {id} is already using parent interface {parent}"
            )));
        }
        if options.child == PASSTHRU {
            return Err(Error::internal(format!(
                "{driver} network {id} is already using parent interface {parent} in mode passthru"
            )));
        }
    }
    Ok(())
}

fn macvlan_mode(text: &str) -> Result<MacvlanMode> {
    match text {
        "" | "bridge" => Ok(MacvlanMode::Bridge),
        "private" => Ok(MacvlanMode::Private),
        "vepa" => Ok(MacvlanMode::Vepa),
        "passthru" => Ok(MacvlanMode::Passthru),
        _ => Err(Error::internal(format!(
            "requested macvlan mode '{text}' is not valid, 'bridge' mode is the macvlan driver default"
        ))),
    }
}

fn ipvlan_mode(text: &str) -> Result<IpvlanMode> {
    match text {
        "" | "l2" => Ok(IpvlanMode::L2),
        "l3" => Ok(IpvlanMode::L3),
        "l3s" => Ok(IpvlanMode::L3s),
        _ => Err(Error::internal(format!(
            "requested ipvlan mode '{text}' is not valid, 'l2' mode is the ipvlan driver default"
        ))),
    }
}

fn ipvlan_flag(text: &str) -> Result<IpvlanFlag> {
    match text {
        "" | "bridge" => Ok(IpvlanFlag::Bridge),
        "private" => Ok(IpvlanFlag::Private),
        "vepa" => Ok(IpvlanFlag::Vepa),
        _ => Err(Error::internal(format!(
            "requested ipvlan flag '{text}' is not valid, 'bridge' is the ipvlan driver default"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: Driver, key: &str, value: &str) -> Result<ChildOptions> {
        let options = IndexMap::from([(key.to_owned(), value.to_owned())]);
        ChildOptions::parse(driver, &options, &"0123456789ab".repeat(6))
    }

    #[test]
    fn options_are_read_or_refused_in_dockers_words() {
        let l3 = parse(Driver::Ipvlan, "ipvlan_mode", "l3").expect("is valid");
        assert!(l3.is_routed() && l3.shares_mac() && l3.is_parentless);
        assert_eq!(l3.parent, "di-0123456789ab");
        let plain = parse(Driver::Macvlan, "parent", "eth0").expect("is valid");
        assert_eq!(plain.child, Child::Macvlan(MacvlanMode::Bridge));
        for (driver, key, value, text) in [
            (
                Driver::Macvlan,
                "macvlan_mode",
                "x",
                "requested macvlan mode 'x' is not valid, 'bridge' mode is the macvlan driver default",
            ),
            (
                Driver::Ipvlan,
                "ipvlan_mode",
                "x",
                "requested ipvlan mode 'x' is not valid, 'l2' mode is the ipvlan driver default",
            ),
            (
                Driver::Ipvlan,
                "ipvlan_flag",
                "x",
                "requested ipvlan flag 'x' is not valid, 'bridge' is the ipvlan driver default",
            ),
            (
                Driver::Ipvlan,
                "parent",
                "lo",
                "loopback interface is not a valid ipvlan parent link",
            ),
        ] {
            assert_eq!(
                parse(driver, key, value)
                    .expect_err("is refused")
                    .to_string(),
                text
            );
        }
    }

    #[test]
    fn parents_that_can_be_made_have_names_with_a_number() {
        let new_parent = |name| {
            parse(Driver::Macvlan, "parent", name)
                .expect("is read")
                .new_parent()
        };
        assert_eq!(new_parent("").expect("is made"), NewParent::Dummy);
        let vlan = NewParent::Vlan {
            of: "eth0".into(),
            id: 10,
        };
        assert_eq!(new_parent("eth0.10").expect("is made"), vlan);
        for (name, text) in [
            (
                "nosuch",
                "invalid subinterface vlan name nosuch, example formatting is eth0.10",
            ),
            (
                "eth0.x",
                "unable to parse a valid vlan id from: x (ex. eth0.10 for vlan 10)",
            ),
            ("eth0.0", "vlan id must be between 1-4094, received: 0"),
            (
                "a.b.c",
                "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received a.b.c",
            ),
        ] {
            assert_eq!(new_parent(name).expect_err("is refused").to_string(), text);
        }
    }
}
