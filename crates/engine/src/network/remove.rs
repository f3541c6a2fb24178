//! Removing networks: refused while a container is on one, then made undone between two changes of the row.

use super::dataplane::Dataplane;
use super::record::{self, Network, Phase};
use super::{Inner, Networks, create};
use gantry_base::{Error, ErrorKind, Result};
use gantry_state::rusqlite::Transaction;
use gantry_state::{Durability, sql_error};
use std::sync::Arc;

impl Networks {
    /// Removes a network by name, id or unique prefix of an id.
    ///
    /// # Errors
    /// In dockerd's words, also if a container is on it.
    pub async fn remove(&self, reference: &str) -> Result<()> {
        let network = self.find(reference)?;
        if network.is_predefined {
            return Err(forbidden(format!(
                "{} is a pre-defined network and cannot be removed",
                network.name
            )));
        }
        let lent = self
            .list()
            .iter()
            .any(|other| network.is_config_only && other.config_from == network.name);
        if lent {
            return Err(forbidden(format!(
                "error while removing network: configuration network {:?} is in use",
                network.name
            )));
        }
        let (inner, removed) = (self.inner.clone(), network.clone());
        self.call(move |dataplane| unmake(&inner, dataplane, &removed))
            .await?;
        self.publish(&network, "destroy", &[]);
        Ok(())
    }

    /// Removes the networks that no container is in, of those that `is_wanted` names; gives their names.
    ///
    /// # Errors
    /// Never for one that got a container meanwhile: it stays.
    pub async fn prune(
        &self,
        used: &[String],
        is_wanted: impl Fn(&Network) -> bool,
    ) -> Result<Vec<String>> {
        let mut deleted = Vec::new();
        for network in self.list() {
            let is_kept = network.is_predefined
                || network.is_config_only
                || used.contains(&network.name)
                || !is_wanted(&network);
            if !is_kept && self.remove(&network.id).await.is_ok() {
                deleted.push(network.name.clone());
            }
        }
        Ok(deleted)
    }
}

fn unmake(inner: &Inner, dataplane: &mut Dataplane, network: &Arc<Network>) -> Result<()> {
    let row = network.clone();
    inner.database.write(Durability::Normal, move |tx| {
        check_unused(tx, &row)?;
        record::set_phase(tx, &row.id, Phase::Removing)
    })?;
    inner.forget(&network.name);
    gantry_base::failpoint!("network.removing");
    create::undo(&inner.database, dataplane, network);
    gantry_base::failpoint!("network.removed");
    Ok(())
}

/// Docker names every endpoint.
fn check_unused(tx: &Transaction<'_>, network: &Network) -> Result<()> {
    let mut statement = tx
        .prepare(
            "SELECT container.name, endpoint.id FROM endpoint JOIN container ON container = container.id
             WHERE network = ?1 ORDER BY container.name",
        )
        .map_err(sql_error)?;
    let holders = statement
        .query_map([&network.id], |row| {
            let (name, endpoint): (String, String) = (row.get(0)?, row.get(1)?);
            let short = endpoint.get(..12).unwrap_or(&endpoint);
            Ok(format!("name:{name:?} id:{short:?}"))
        })
        .and_then(Iterator::collect::<std::result::Result<Vec<String>, _>>)
        .map_err(sql_error)?;
    if holders.is_empty() {
        return Ok(());
    }
    Err(forbidden(format!(
        "error while removing network: network {} has active endpoints ({})",
        network.name,
        holders.join(", ")
    )))
}

fn forbidden(text: String) -> Error {
    Error::new(ErrorKind::Forbidden, text)
}
