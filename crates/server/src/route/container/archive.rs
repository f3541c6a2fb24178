//! `/containers/{}/archive` and `/export`: files in and out.

use super::super::State;
use crate::body;
use crate::request::Request;
use crate::response::{self, Response};
use crate::time;
use base64::Engine as _;
use gantry_api::types::ContainerPathStat;
use gantry_base::{Error, Result};
use gantry_engine::container::archive::{CopyOptions, PathStat};
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};

const STAT: HeaderName = HeaderName::from_static("x-docker-container-path-stat");

/// `HEAD …/archive`
pub(super) async fn stat(state: State, request: Request) -> Result<Response> {
    let archive = find(&state, &request).await?;
    with_stat(response::status(StatusCode::OK), &archive.stat)
}

/// `GET …/archive`
pub(super) async fn get(state: State, request: Request) -> Result<Response> {
    let archive = find(&state, &request).await?;
    let stat = archive.stat.clone();
    with_stat(
        response::tar(move |output| archive.write(output)).await?,
        &stat,
    )
}

/// `PUT …/archive`
pub(super) async fn put(state: State, request: Request) -> Result<Response> {
    let path = path(&request)?.to_owned();
    let options = CopyOptions {
        keeps_kinds: request.query.flag("noOverwriteDirNonDir"),
        to_user: request.query.flag("copyUIDGID"),
    };
    let reference = super::reference(&request)?;
    // A refusal comes before the body is taken, so that the client is read to its end and gets the answer.
    let extract = state
        .engine
        .containers
        .extract(reference, &path, options)
        .await?;
    let (reader, pump) = body::reader(request.body.take());
    body::beside(pump, extract.read(reader)).await?;
    Ok(response::status(StatusCode::OK))
}

/// `GET …/export`
pub(super) async fn export(state: State, request: Request) -> Result<Response> {
    let reference = super::reference(&request)?.to_owned();
    let containers = state.engine.containers.clone();
    response::tar(move |output| async move { containers.export(&reference, output).await }).await
}

async fn find(
    state: &State,
    request: &Request,
) -> Result<gantry_engine::container::archive::PathArchive> {
    let reference = super::reference(request)?;
    state
        .engine
        .containers
        .archive(reference, path(request)?)
        .await
}

fn path(request: &Request) -> Result<&str> {
    match request.query.get("path") {
        "" => Err(Error::invalid("bad parameter: pathcannot be empty")),
        path => Ok(path),
    }
}

fn with_stat(mut response: Response, stat: &PathStat) -> Result<Response> {
    let document = ContainerPathStat {
        name: stat.name.clone(),
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: time::rfc3339(stat.modified_ns),
        link_target: stat.link_target.clone(),
    };
    let text = serde_json::to_string(&document)
        .map_err(|error| Error::internal(format!("cannot describe a path: {error}")))?;
    let text = base64::engine::general_purpose::STANDARD.encode(text);
    let value = HeaderValue::from_str(&text)
        .map_err(|_| Error::internal("base64 is not fit for a header"))?;
    response.headers_mut().insert(STAT, value);
    Ok(response)
}

/// The bits of Go's `fs.FileMode`.
fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => 1 << 31,
        0o120_000 => 1 << 27,
        0o060_000 => 1 << 26,
        0o020_000 => 1 << 26 | 1 << 21,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let special = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = special.into_iter().filter(|(bit, _)| mode & bit != 0);
    special.fold(mode & 0o777 | kind, |sum, (_, bit)| sum | bit)
}

#[cfg(test)]
mod tests {
    use super::go_mode;

    #[test]
    fn modes_are_gos() {
        // As dockerd says for a directory, a file, a link, and a sticky directory.
        assert_eq!(go_mode(0o040_755), 2_147_484_141);
        assert_eq!(go_mode(0o100_644), 420);
        assert_eq!(go_mode(0o120_777), 134_218_239);
        assert_eq!(go_mode(0o041_777), 1 << 31 | 1 << 20 | 0o777);
    }
}
