//! The row of a container: to and from SQL. The schema is `state/migrations/0002_containers.sql`.

use super::config::Config;
use super::health::Health;
use super::phase::Phase;
use gantry_base::{ContainerId, ContainerName, Error, Result};
use gantry_oci::Digest;
use gantry_state::rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use gantry_state::sql_error;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What was last seen of a container: the `status` column.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct StatusRecord {
    pub(crate) pid: i32,
    pub(crate) exit_code: i32,
    pub(crate) error: String,
    pub(crate) oom_killed: bool,
    pub(crate) started_ns: Option<i64>,
    pub(crate) finished_ns: Option<i64>,
    pub(crate) restart_count: u32,
    /// Whether the last stop was asked for by a client.
    pub(crate) stopped_by_hand: bool,
    /// As of its last change of status.
    pub(crate) health: Option<Health>,
}

/// One row of `container`.
#[derive(Debug, Clone)]
pub(crate) struct ContainerRecord {
    pub(crate) id: ContainerId,
    pub(crate) name: ContainerName,
    pub(crate) phase: Phase,
    pub(crate) created_ns: i64,
    pub(crate) image: Digest,
    pub(crate) config: Arc<Config>,
    pub(crate) status: StatusRecord,
    pub(crate) boot: String,
}

fn json<T: Serialize>(value: &T) -> Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::internal(format!("cannot write a state document: {error}")))
}

impl ContainerRecord {
    /// Inserts the row; a name in use is a conflict.
    pub(crate) fn insert(&self, tx: &Transaction<'_>) -> Result<()> {
        let name = self.name.as_str();
        let holder: Option<String> = tx
            .prepare_cached("SELECT id FROM container WHERE name = ?1")
            .and_then(|mut s| s.query_row([name], |row| row.get(0)).optional())
            .map_err(sql_error)?;
        if let Some(holder) = holder {
            return Err(name_in_use(name, &holder));
        }
        tx.prepare_cached(
            "INSERT INTO container (id, name, phase, created_ns, image, config, status, boot) VALUES (?1,?2,?3,?4,?5,?6,?7,?8)",
        )
        .and_then(|mut s| {
            s.execute(params![
                self.id.as_str(),
                name,
                self.phase.as_str(),
                self.created_ns,
                self.image.as_str(),
                json(&*self.config).unwrap_or_default(),
                json(&self.status).unwrap_or_default(),
                self.boot
            ])
        })
        .map_err(sql_error)?;
        Ok(())
    }

    /// Writes phase and status.
    pub(crate) fn update(&self, tx: &Transaction<'_>) -> Result<()> {
        tx.prepare_cached("UPDATE container SET phase = ?2, status = ?3, boot = ?4 WHERE id = ?1")
            .and_then(|mut s| {
                s.execute(params![
                    self.id.as_str(),
                    self.phase.as_str(),
                    json(&self.status).unwrap_or_default(),
                    self.boot
                ])
            })
            .map_err(sql_error)?;
        Ok(())
    }

    /// Writes the configuration, which only changes of networks change.
    pub(crate) fn update_config(&self, tx: &Transaction<'_>) -> Result<()> {
        tx.prepare_cached("UPDATE container SET config = ?2 WHERE id = ?1")
            .and_then(|mut s| {
                s.execute(params![
                    self.id.as_str(),
                    json(&*self.config).unwrap_or_default()
                ])
            })
            .map_err(sql_error)?;
        Ok(())
    }

    fn from_row(row: &Row<'_>) -> Result<Self> {
        let text = |index: usize| row.get::<_, String>(index).map_err(sql_error);
        let damaged = |what: &str| {
            Error::internal(format!(
                "state database: container row with a damaged {what}"
            ))
        };
        Ok(Self {
            id: ContainerId::parse(&text(0)?)?,
            name: ContainerName::parse(&text(1)?)?,
            phase: Phase::parse(&text(2)?).ok_or_else(|| damaged("phase"))?,
            created_ns: row.get(3).map_err(sql_error)?,
            image: Digest::parse(&text(4)?)?,
            config: Arc::new(serde_json::from_str(&text(5)?).map_err(|_| damaged("config"))?),
            status: serde_json::from_str(&text(6)?).map_err(|_| damaged("status"))?,
            boot: text(7)?,
        })
    }
}

/// Docker's text for a taken name.
pub(crate) fn name_in_use(name: &str, holder: &str) -> Error {
    Error::conflict(format!(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". \
         You have to remove (or rename) that container to be able to reuse that name."
    ))
}

/// Every row. A row that cannot be read is reported and left alone: one damaged container must not stop the daemon.
pub(crate) fn load_all(connection: &Connection) -> Result<Vec<ContainerRecord>> {
    let mut statement = connection
        .prepare("SELECT id, name, phase, created_ns, image, config, status, boot FROM container ORDER BY created_ns")
        .map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    let mut records = Vec::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        match ContainerRecord::from_row(row) {
            Ok(record) => records.push(record),
            Err(error) => tracing::error!(%error, "a container could not be loaded"),
        }
    }
    Ok(records)
}

/// Gives a container another name.
pub(crate) fn rename(tx: &Transaction<'_>, id: &ContainerId, name: &ContainerName) -> Result<()> {
    let holder: Option<String> = tx
        .query_row(
            "SELECT id FROM container WHERE name = ?1",
            [name.as_str()],
            |row| row.get(0),
        )
        .optional()
        .map_err(sql_error)?;
    if let Some(holder) = holder {
        return Err(name_in_use(name.as_str(), &holder));
    }
    tx.execute(
        "UPDATE container SET name = ?2 WHERE id = ?1",
        params![id.as_str(), name.as_str()],
    )
    .map_err(sql_error)?;
    Ok(())
}

/// Deletes the row, and with it its endpoints and ports.
pub(crate) fn delete(tx: &Transaction<'_>, id: &ContainerId) -> Result<()> {
    tx.prepare_cached("DELETE FROM container WHERE id = ?1")
        .and_then(|mut s| s.execute([id.as_str()]))
        .map_err(sql_error)?;
    Ok(())
}
