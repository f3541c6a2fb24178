//! Numbered migrations, run in order, each in a transaction with the version that it leads to.

use crate::sql_error;
use gantry_base::{Error, Result};
use rusqlite::Connection;

/// Every migration ever released, in order. Append only: a released file never changes.
pub(crate) const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_images.sql"),
    include_str!("../migrations/0002_containers.sql"),
    include_str!("../migrations/0003_volumes.sql"),
    include_str!("../migrations/0003_content.sql"),
    include_str!("../migrations/0004_partial_blob.sql"),
    include_str!("../migrations/0005_signatures.sql"),
    include_str!("../migrations/0006_networks.sql"),
];

/// Brings the schema to the newest version.
///
/// # Errors
/// When the file was written by a newer version, or a statement fails; the file then stays as it was.
pub(crate) fn run(connection: &mut Connection, migrations: &[&str]) -> Result<()> {
    let found: i64 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(sql_error)?;
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > migrations.len() {
        return Err(Error::internal(format!(
            "the state has version {found}, this program knows versions up to {}: use a newer gantry",
            migrations.len()
        )));
    }
    for (index, statements) in migrations.iter().enumerate().skip(found) {
        let transaction = connection.transaction().map_err(sql_error)?;
        transaction.execute_batch(statements).map_err(sql_error)?;
        transaction
            .pragma_update(
                None,
                "user_version",
                i64::try_from(index + 1).expect("few migrations"),
            )
            .map_err(sql_error)?;
        transaction.commit().map_err(sql_error)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrates_once_and_refuses_a_newer_file() {
        let mut connection = Connection::open_in_memory().expect("opens");
        run(&mut connection, &["CREATE TABLE a (x)"]).expect("first");
        run(
            &mut connection,
            &["CREATE TABLE a (x)", "CREATE TABLE b (x)"],
        )
        .expect("second");
        assert!(run(&mut connection, &["CREATE TABLE a (x)"]).is_err());
    }

    #[test]
    fn every_released_migration_runs() {
        run(
            &mut Connection::open_in_memory().expect("opens"),
            MIGRATIONS,
        )
        .expect("runs");
    }
}
