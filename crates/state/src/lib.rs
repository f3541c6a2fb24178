//! Opens the SQLite file, migrates it and runs transactions. Does not know what a row means.
//!
//! One thread owns the only writing connection. It takes whatever waits in its queue into one transaction, each caller in a
//! savepoint of its own, and commits once: concurrent writers share the price of a durable commit.
//! Readers have a connection each and never wait for writers (WAL).
//! Source: sqlite.org/wal.html, sqlite.org/pragma.html#pragma_synchronous.

mod migrate;

use gantry_base::{Context, Error, ErrorKind, Result};
use rusqlite::Connection;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

pub use rusqlite;

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// A power cut: for what a client was told is done and would miss.
    Full,
    /// A crash of the daemon: for observations, which a host crash makes void anyway.
    Normal,
}

type Job = Box<dyn FnOnce(&rusqlite::Transaction<'_>) -> Outcome + Send>;
/// What the job made of its savepoint, and how to tell the caller once the commit is known.
type Outcome = (bool, Box<dyn FnOnce(Result<()>) + Send>);

struct Request {
    durability: Durability,
    job: Job,
}

/// The database. Cheap to clone; all clones share one writer.
#[derive(Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

struct Shared {
    path: PathBuf,
    writer: Mutex<mpsc::Sender<Request>>,
    readers: Mutex<Vec<Connection>>,
}

/// How many requests one commit takes at most, so that no caller waits without bound.
const GROUP_MAX: usize = 64;
/// How many idle reading connections are kept.
const READERS_MAX: usize = 4;

impl Database {
    /// Opens or creates the file and brings its schema up to date.
    ///
    /// # Errors
    /// When the file cannot be opened, is damaged, or was written by a newer version.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, migrate::MIGRATIONS)
    }

    /// Like [`Database::open`], for a file with a schema of its own: all its migrations ever released, in order.
    ///
    /// # Errors
    /// As [`Database::open`].
    pub fn open_with(path: &Path, migrations: &[&str]) -> Result<Self> {
        let mut connection = open_connection(path)?;
        migrate::run(&mut connection, migrations)
            .with_context(|| format!("cannot migrate {}", path.display()))?;
        reserve(path);
        let (sender, receiver) = mpsc::channel();
        std::thread::Builder::new()
            .name("state-writer".into())
            .spawn(move || {
                write_loop(&mut connection, &receiver);
                // The last connection that is closed would delete the log and with it the reserve.
                std::mem::forget(connection);
            })
            .context("cannot start the state writer")?;
        Ok(Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                writer: Mutex::new(sender),
                readers: Mutex::default(),
            }),
        })
    }

    /// Runs `work` in a transaction and returns once it is committed; nothing is kept if it fails.
    ///
    /// Blocks; never call it on an async worker. `work` runs on the writer's thread and must not call the database again.
    ///
    /// # Errors
    /// What `work` returned, or what the commit met. A broken unique key is [`ErrorKind::Conflict`].
    pub fn write<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = mpsc::sync_channel::<Result<T>>(1);
        self.enqueue(durability, work, move |result| drop(reply.send(result)));
        answer.recv().map_err(|_| writer_gone())?
    }

    /// Like [`Database::write`], but returns at once; `done` is called on the writer's thread with the outcome and must not block.
    /// Requests of one thread are committed in the order in which they were made.
    pub fn enqueue<T: Send + 'static>(
        &self,
        durability: Durability,
        work: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T> + Send + 'static,
        done: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        let job: Job = Box::new(move |transaction| match work(transaction) {
            Ok(value) => (
                true,
                Box::new(move |commit: Result<()>| done(commit.map(|()| value))) as _,
            ),
            Err(error) => (false, Box::new(move |_| done(Err(error))) as _),
        });
        let sender = self
            .shared
            .writer
            .lock()
            .expect("no code panics while it holds the sender");
        // A send fails only when the writer's thread has ended; `done` is then dropped, which its owner sees.
        drop(sender.send(Request { durability, job }));
    }

    /// Runs `work` on a reading connection, which sees the last commit.
    ///
    /// # Errors
    /// What `work` returned, or a failure to open the file.
    pub fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        let idle = self.readers().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open_connection(&self.shared.path)?,
        };
        let result = work(&connection);
        let mut readers = self.readers();
        if readers.len() < READERS_MAX {
            readers.push(connection);
        }
        result
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.shared
            .readers
            .lock()
            .expect("no code panics while it holds the readers")
    }
}

fn writer_gone() -> Error {
    Error::new(ErrorKind::Unavailable, "the state writer has stopped")
}

/// Turns what SQLite says into our error: a broken unique or foreign key is a conflict, a missing row is not found.
pub fn sql_error(error: rusqlite::Error) -> Error {
    let kind = match &error {
        rusqlite::Error::SqliteFailure(failure, _)
            if failure.code == rusqlite::ErrorCode::ConstraintViolation =>
        {
            ErrorKind::Conflict
        }
        rusqlite::Error::QueryReturnedNoRows => ErrorKind::NotFound,
        _ => ErrorKind::Internal,
    };
    Error::new(kind, format!("state database: {error}")).with_source(error)
}

fn open_connection(path: &Path) -> Result<Connection> {
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open(path)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "foreign_keys", true)?;
        // The defaults reserve 2 MiB a connection; our working set is small.
        connection.pragma_update(None, "cache_size", -512)?;
        Ok(connection)
    };
    open()
        .map_err(sql_error)
        .with_context(|| format!("cannot open {}", path.display()))
}

/// How much of the log is allocated ahead: what SQLite lets it grow to, and as much again for when it cannot be checkpointed.
const RESERVE_LOG_BYTES: u64 = 8 * 1024 * 1024;
/// How much the database itself can grow.
const RESERVE_BYTES: u64 = 1024 * 1024;

/// Allocates disk space ahead, so that a full disk does not keep the daemon from starting or from removing what fills it.
///
/// The space belongs to the files without being their content, so no other writer of the disk can take it.
fn reserve(path: &Path) {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    for (path, ahead) in [
        (PathBuf::from(log), RESERVE_LOG_BYTES),
        (path.to_owned(), file_bytes(path) + RESERVE_BYTES),
    ] {
        // A precaution only: on a file system that cannot, or that is full already, SQLite says what it meets.
        if let Ok(file) = std::fs::File::options().append(true).open(&path) {
            let keep = rustix::fs::FallocateFlags::KEEP_SIZE;
            let _ = rustix::fs::fallocate(&file, keep, 0, ahead);
        }
    }
}

fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn write_loop(connection: &mut Connection, requests: &mpsc::Receiver<Request>) {
    while let Ok(first) = requests.recv() {
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(next) = requests.try_recv()
        {
            group.push(next);
        }
        write_group(connection, group);
    }
}

fn write_group(connection: &mut Connection, group: Vec<Request>) {
    let durable = group
        .iter()
        .any(|request| request.durability == Durability::Full);
    let mut waiting = Vec::with_capacity(group.len());
    let committed = (|| -> Result<()> {
        let level = if durable { "FULL" } else { "NORMAL" };
        connection
            .pragma_update(None, "synchronous", level)
            .map_err(sql_error)?;
        let mut transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(sql_error)?;
        for request in group {
            waiting.push(run_in_savepoint(&mut transaction, request.job));
        }
        transaction.commit().map_err(sql_error)
    })();
    for tell in waiting {
        tell(match &committed {
            Ok(()) => Ok(()),
            Err(error) => Err(Error::new(error.kind(), error.message())),
        });
    }
}

/// Runs one caller's job so that its failure takes back its own changes and nobody else's.
fn run_in_savepoint(
    transaction: &mut rusqlite::Transaction<'_>,
    job: Job,
) -> Box<dyn FnOnce(Result<()>) + Send> {
    if let Err(error) = transaction
        .execute_batch("SAVEPOINT job")
        .map_err(sql_error)
    {
        // The job never ran and its caller sees a closed channel: the whole group is about to fail.
        return Box::new(move |_| drop(error));
    }
    let (keep, tell) = job(transaction);
    let end = if keep {
        "RELEASE job"
    } else {
        "ROLLBACK TO job; RELEASE job"
    };
    match transaction.execute_batch(end).map_err(sql_error) {
        Ok(()) => tell,
        Err(error) => Box::new(move |_| tell(Err(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch() -> (PathBuf, Database) {
        let directory = std::env::temp_dir().join(format!(
            "gantry-state-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&directory).expect("scratch directory");
        let database = Database::open(&directory.join("state.db")).expect("opens");
        database
            .write(Durability::Normal, |tx| {
                tx.execute_batch("CREATE TABLE IF NOT EXISTS t (name TEXT UNIQUE)")
                    .map_err(sql_error)
            })
            .expect("creates");
        (directory, database)
    }

    fn insert(database: &Database, name: &'static str) -> Result<()> {
        database.write(Durability::Normal, move |tx| {
            tx.execute("INSERT INTO t VALUES (?1)", [name])
                .map_err(sql_error)?;
            Ok(())
        })
    }

    #[test]
    fn a_failed_job_takes_back_its_own_changes_only() {
        let (directory, database) = scratch();
        let threads: Vec<_> = (0..20)
            .map(|index| {
                let database = database.clone();
                std::thread::spawn(move || {
                    database.write(Durability::Normal, move |tx| {
                        tx.execute("INSERT INTO t VALUES (?1)", [index.to_string()])
                            .map_err(sql_error)?;
                        if index % 2 == 0 {
                            Err(Error::internal("no"))
                        } else {
                            Ok(())
                        }
                    })
                })
            })
            .collect();
        let failed = threads
            .into_iter()
            .map(|t| t.join().expect("no panic"))
            .filter(Result::is_err)
            .count();
        let kept: i64 = database
            .read(|c| {
                c.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
                    .map_err(sql_error)
            })
            .expect("reads");
        assert_eq!((failed, kept), (10, 10));
        std::fs::remove_dir_all(directory).expect("removes");
    }

    #[test]
    fn a_broken_unique_key_is_a_conflict() {
        let (directory, database) = scratch();
        insert(&database, "a").expect("first");
        assert_eq!(
            insert(&database, "a").expect_err("second").kind(),
            ErrorKind::Conflict
        );
        std::fs::remove_dir_all(directory).expect("removes");
    }
}
