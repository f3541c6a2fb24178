//! `docker save`, and the download that it shares with `docker export`.

use super::platform_query;
use crate::command::{Arity, Command};
use crate::failure::{Failure, Outcome};
use crate::flag::{Flag, Given};
use crate::output::{self, Stream};
use crate::session::Session;
use crate::terminal;
use gantry_api::client::{Request, Response};
use gantry_base::Error;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

pub(crate) static COMMAND: Command = Command {
    group: "image",
    names: &["save"],
    top_level: Some("save"),
    arguments: "[OPTIONS] IMAGE [IMAGE...]",
    about: "Save one or more images to a tar archive (streamed to STDOUT by default)",
    arity: Arity::AtLeast(1),
    flags,
    is_interspersed: true,
    run,
};

fn flags() -> Vec<Flag> {
    vec![
        Flag::text("output", "Write to a file, instead of STDOUT").short('o'),
        Flag::text(
            "platform",
            r#"Save only this platform: "os[/arch[/variant]]" (e.g., "linux/amd64")"#,
        ),
    ]
}

fn run(session: &Session, given: &Given) -> Outcome {
    let mut request = Request::get("/images/get");
    for name in &given.arguments {
        request = request.query("names", name);
    }
    if !given.text("platform").is_empty() {
        request = request.query("platform", platform_query(given.text("platform"))?);
    }
    download(
        session,
        request,
        given.text("output"),
        "failed to save image",
    )
}

/// Writes an answer to a file, which is there only when it is complete, or to standard output.
pub(crate) fn download(session: &Session, request: Request, file: &str, what: &str) -> Outcome {
    if file.is_empty() && terminal::stdout_is_terminal() {
        return Err(Failure::new(
            "cowardly refusing to save to a terminal. Use the -o flag or redirect",
        ));
    }
    let client = session.client()?;
    if file.is_empty() {
        return session.block_on(async {
            let mut answer = client.send(request).await?;
            while let Some(chunk) = answer.chunk().await? {
                output::write_bytes(Stream::Stdout, &chunk);
            }
            Ok(())
        });
    }
    let failure = |error: std::io::Error| Failure::new(format!("{what}: {}", Error::from(error)));
    let target = Path::new(file);
    if target.is_dir() {
        return Err(Failure::new(format!(
            "{what}: invalid output path: {file:?} is a directory"
        )));
    }
    let directory = target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(directory) = directory.filter(|directory| !directory.is_dir()) {
        let directory = directory.display();
        return Err(Failure::new(format!(
            "{what}: invalid output path: stat {directory}: no such file or directory"
        )));
    }
    let is_regular = !target.exists() || target.is_file();
    session.block_on(async {
        let answer = client.send(request).await?;
        if !is_regular {
            return write(
                answer,
                &mut File::options().write(true).open(target).map_err(failure)?,
            )
            .await;
        }
        let temporary = Temporary::beside(target).map_err(failure)?;
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary.path)
            .map_err(failure)?;
        write(answer, &mut file).await?;
        std::fs::rename(&temporary.path, target).map_err(failure)
    })
}

async fn write(mut answer: Response<'_>, file: &mut File) -> Outcome {
    while let Some(chunk) = answer.chunk().await? {
        file.write_all(&chunk)?;
    }
    Ok(())
}

/// A file that is removed unless it was renamed.
struct Temporary {
    path: std::path::PathBuf,
}

impl Temporary {
    fn beside(target: &Path) -> std::io::Result<Self> {
        let name = target.file_name().ok_or(std::io::ErrorKind::InvalidInput)?;
        let mut hidden = std::ffi::OsString::from(".tmp-");
        hidden.push(name);
        hidden.push(format!("-{}", std::process::id()));
        Ok(Self {
            path: target.with_file_name(hidden),
        })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It is gone already when the download succeeded.
        let _ = std::fs::remove_file(&self.path);
    }
}
