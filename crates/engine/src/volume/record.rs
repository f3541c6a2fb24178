//! The rows of volumes and of their uses. The schema is `state/migrations/0003_volumes.sql`.

use super::VolumeView;
use gantry_base::{Error, Result};
use gantry_state::rusqlite::{
    Connection, OptionalExtension as _, Row, Transaction, params, params_from_iter,
};
use gantry_state::sql_error;
use indexmap::IndexMap;
use std::path::Path;

const COLUMNS: &str = "name, created_ns, labels, options";

/// Inserts a volume unless there is one of that name; whether it was inserted.
pub(super) fn insert(tx: &Transaction<'_>, volume: &VolumeView) -> Result<bool> {
    let text = |map: &Option<IndexMap<String, String>>| {
        serde_json::to_string(map).map_err(|_| Error::internal("cannot write a volume's maps"))
    };
    let values = params![
        volume.name,
        volume.created_ns,
        text(&volume.labels)?,
        text(&volume.options)?
    ];
    let sql = "INSERT INTO volume (name, created_ns, labels, options) VALUES (?1,?2,?3,?4) ON CONFLICT DO NOTHING";
    let inserted = tx.prepare_cached(sql).and_then(|mut s| s.execute(values));
    let inserted = inserted.map_err(sql_error)? > 0;
    if !inserted && is_removing(tx, &volume.name)? {
        return Err(Error::conflict(format!(
            "create {}: the volume is being removed",
            volume.name
        )));
    }
    Ok(inserted)
}

/// Notes that a container uses a volume, which must be there.
pub(crate) fn insert_use(tx: &Transaction<'_>, container: &str, volume: &str) -> Result<()> {
    let sql = "INSERT INTO volume_use (container, volume) SELECT ?1, name FROM volume WHERE name = ?2 AND NOT removing \
               ON CONFLICT DO NOTHING";
    let execute = |sql: &str| {
        tx.prepare_cached(sql)
            .and_then(|mut s| s.execute(params![container, volume]))
    };
    if execute(sql).map_err(sql_error)? == 0 && find(tx, volume)?.is_none() {
        return Err(no_such(volume));
    }
    Ok(())
}

/// The first step of a removal: refuses a volume in use, and marks the row.
pub(super) fn begin_removal(tx: &Transaction<'_>, name: &str) -> Result<()> {
    if find(tx, name)?.is_none() {
        return Err(no_such(name));
    }
    let users = users(tx, name)?;
    if !users.is_empty() {
        return Err(Error::conflict(format!(
            "remove {name}: volume is in use - [{}]",
            users.join(", ")
        )));
    }
    tx.execute("UPDATE volume SET removing = 1 WHERE name = ?1", [name])
        .map_err(sql_error)?;
    Ok(())
}

/// As [`begin_removal`] for those of `names` that are anonymous and that nobody uses; gives them.
pub(crate) fn begin_removals(tx: &Transaction<'_>, names: &[String]) -> Result<Vec<String>> {
    let mut begun = Vec::new();
    for name in names {
        let found = find(tx, name)?;
        if found.is_some_and(|volume| volume.is_anonymous()) && users(tx, name)?.is_empty() {
            begin_removal(tx, name)?;
            begun.push(name.clone());
        }
    }
    Ok(begun)
}

pub(super) fn delete(tx: &Transaction<'_>, name: &str) -> Result<()> {
    tx.execute("DELETE FROM volume WHERE name = ?1 AND removing", [name])
        .map_err(sql_error)?;
    Ok(())
}

/// Volumes whose removal was begun by a daemon that was killed.
pub(super) fn removing(connection: &Connection) -> Result<Vec<String>> {
    texts(connection, "SELECT name FROM volume WHERE removing", "")
}

/// The containers that use a volume.
pub(super) fn users(connection: &Connection, name: &str) -> Result<Vec<String>> {
    let sql = "SELECT container FROM volume_use WHERE volume = ?1 ORDER BY container";
    texts(connection, sql, name)
}

pub(super) fn find(connection: &Connection, name: &str) -> Result<Option<VolumeView>> {
    let sql = format!("SELECT {COLUMNS} FROM volume WHERE name = ?1 AND NOT removing");
    let mut statement = connection.prepare_cached(&sql).map_err(sql_error)?;
    let found = statement.query_row([name], |row| Ok(read(row)));
    found.optional().map_err(sql_error)?.transpose()
}

pub(super) fn all(connection: &Connection) -> Result<Vec<VolumeView>> {
    let sql = format!("SELECT {COLUMNS} FROM volume WHERE NOT removing ORDER BY name");
    let mut statement = connection.prepare_cached(&sql).map_err(sql_error)?;
    let mut rows = statement.query([]).map_err(sql_error)?;
    let mut volumes = Vec::new();
    while let Some(row) = rows.next().map_err(sql_error)? {
        volumes.push(read(row)?);
    }
    Ok(volumes)
}

/// Docker's text for a volume that is not there.
pub(super) fn no_such(name: &str) -> Error {
    Error::not_found(format!("get {name}: no such volume"))
}

fn is_removing(connection: &Connection, name: &str) -> Result<bool> {
    let sql = "SELECT removing FROM volume WHERE name = ?1";
    let found = connection.query_row(sql, [name], |row| row.get::<_, i64>(0));
    Ok(found.optional().map_err(sql_error)? == Some(1))
}

fn texts(connection: &Connection, sql: &str, parameter: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare_cached(sql).map_err(sql_error)?;
    let count = statement.parameter_count();
    let parameters = [parameter];
    let rows = statement.query_map(params_from_iter(parameters.iter().take(count)), |row| {
        row.get(0)
    });
    rows.map_err(sql_error)?
        .collect::<std::result::Result<_, _>>()
        .map_err(sql_error)
}

fn read(row: &Row<'_>) -> Result<VolumeView> {
    let text = |index: usize| row.get::<_, String>(index).map_err(sql_error);
    let map = |index: usize| {
        serde_json::from_str(&text(index)?)
            .map_err(|_| Error::internal("state database: volume row with a damaged map"))
    };
    Ok(VolumeView {
        name: text(0)?,
        created_ns: row.get(1).map_err(sql_error)?,
        labels: map(2)?,
        options: map(3)?,
        mountpoint: Path::new("").into(),
        is_used: false,
    })
}
