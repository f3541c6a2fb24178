//! Who is called what on which network: what the name servers of containers answer from.
//!
//! It follows from endpoints in force; boot fills it from rows. Names are kept in lower case, as they are compared that way.

use super::record::Network;
use gantry_network::dns::{self, Query};
use std::collections::HashMap;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// The name by which containers reach their host.
const HOST: &str = "host.docker.internal";

/// The names of every network.
#[derive(Debug, Default)]
pub(super) struct Names {
    networks: HashMap<String, NetworkNames>,
    scopes: HashMap<String, Arc<Scope>>,
}

#[derive(Debug, Default)]
struct NetworkNames {
    /// In lower case.
    name: String,
    members: HashMap<String, Vec<Member>>,
    pointers: HashMap<IpAddr, String>,
}

#[derive(Debug, Clone)]
struct Member {
    container: String,
    addresses: Vec<IpAddr>,
}

/// What one container may ask: its networks, and how its questions leave.
#[derive(Debug, Default)]
pub(super) struct Scope {
    /// Ids of its networks, the one with the default route first.
    pub(super) networks: Vec<String>,
    /// Names that mean another one for this container only: network, alias, name.
    pub(super) links: Vec<(String, String, String)>,
    /// The host's address on the network with the default route.
    pub(super) host: Option<IpAddr>,
    /// Whether questions may leave: not if all its networks are internal.
    pub(super) may_forward: bool,
    /// `--dns`; empty: the host's.
    pub(super) servers: Vec<IpAddr>,
    pub(super) has_v6: bool,
    /// Questions leave from here, as if the container asked itself.
    pub(super) namespace: Option<Arc<OwnedFd>>,
}

/// What to do about a question.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Reply(Vec<u8>),
    Forward,
}

impl Names {
    pub(super) fn add(
        &mut self,
        network: &Network,
        container: &str,
        names: &[String],
        addresses: &[IpAddr],
    ) {
        let known = self.networks.entry(network.id.clone()).or_default();
        known.name = network.name.to_ascii_lowercase();
        for name in names {
            let members = known.members.entry(name.to_ascii_lowercase()).or_default();
            members.retain(|member| member.container != container);
            members.push(Member {
                container: container.to_owned(),
                addresses: addresses.to_vec(),
            });
        }
        if let Some(first) = names.first() {
            known
                .pointers
                .extend(addresses.iter().map(|address| (*address, first.clone())));
        }
    }

    /// Forgets a container on one network, or on all.
    pub(super) fn remove(&mut self, network: Option<&str>, container: &str) {
        for (id, known) in &mut self.networks {
            if network.is_some_and(|network| network != id) {
                continue;
            }
            let mut gone = Vec::new();
            known.members.retain(|_, members| {
                members.retain(|member| {
                    let is_it = member.container == container;
                    if is_it {
                        gone.extend(member.addresses.iter().copied());
                    }
                    !is_it
                });
                !members.is_empty()
            });
            for address in gone {
                known.pointers.remove(&address);
            }
        }
        self.networks.retain(|_, known| !known.members.is_empty());
    }

    pub(super) fn set_scope(&mut self, container: &str, scope: Scope) {
        self.scopes.insert(container.to_owned(), Arc::new(scope));
    }

    pub(super) fn remove_scope(&mut self, container: &str) {
        self.scopes.remove(container);
    }

    pub(super) fn scope(&self, container: &str) -> Option<Arc<Scope>> {
        self.scopes.get(container).cloned()
    }

    /// The answer, if it is ours to give.
    pub(super) fn decide(&self, scope: &Scope, query: &Query<'_>) -> Decision {
        let found = match &query.name {
            Some(name) if query.is_of_internet() => self.reply(scope, query, name),
            _ => None,
        };
        match found {
            Some(reply) => Decision::Reply(reply),
            None if scope.may_forward => Decision::Forward,
            None => Decision::Reply(query.failure(dns::SERVER_FAILURE)),
        }
    }

    fn reply(&self, scope: &Scope, query: &Query<'_>, name: &str) -> Option<Vec<u8>> {
        if query.kind == dns::PTR {
            let address = dns::reverse_address(name)?;
            let pointer = scope.networks.iter().find_map(|id| {
                let known = self.networks.get(id)?;
                Some(format!("{}.{}", known.pointers.get(&address)?, known.name))
            });
            return query.pointer(&pointer?);
        }
        if name == HOST
            && let Some(host) = scope.host
        {
            return Some(query.addresses(&[host]));
        }
        Some(query.addresses(&self.addresses(scope, name, query.number().into())?))
    }

    /// The addresses of a name on the first network that knows it; `name.network` is looked for on that network only.
    fn addresses(&self, scope: &Scope, name: &str, turn: usize) -> Option<Vec<IpAddr>> {
        let on = |id: &str| {
            let known = self.networks.get(id)?;
            let linked = scope
                .links
                .iter()
                .find(|(network, alias, _)| network == id && alias == name)
                .map_or(name, |(_, _, target)| target);
            let find = |name: &str| known.members.get(name);
            let members = find(linked).or_else(|| {
                let bare = name.strip_suffix(known.name.as_str())?.strip_suffix('.')?;
                find(bare)
            })?;
            Some(members.iter().flat_map(|member| member.addresses.clone()))
        };
        let mut found: Vec<IpAddr> = scope.networks.iter().find_map(|id| on(id))?.collect();
        // Everybody gets the load, as clients take the first.
        let turn = turn % found.len().max(1);
        found.rotate_left(turn);
        Some(found)
    }
}
