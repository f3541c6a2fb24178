//! `docker create`, and the creation that `docker run` begins with: the image is pulled where it is missing.

use crate::command::image::pull::pull_for_container;
use crate::command::{Arity, Command};
use crate::container_options;
use crate::failure::{Failure, Outcome};
use crate::flag::Given;
use crate::output;
use crate::session::{self, Session};
use crate::terminal;
use gantry_api::client::{Client, Request};
use gantry_api::types::{ContainerCreateRequest, ContainerCreateResponse};
use gantry_base::{Error, ErrorKind};
use gantry_oci::Reference;
use std::io::Write as _;
use std::path::PathBuf;

/// The exit status of a command line that Docker refuses before it does anything.
pub(super) const REFUSED_STATUS: i32 = 125;

pub(crate) static COMMAND: Command = Command {
    group: "container",
    names: &["create"],
    top_level: Some("create"),
    arguments: "[OPTIONS] IMAGE [COMMAND] [ARG...]",
    about: "Create a new container",
    arity: Arity::AtLeast(1),
    flags: container_options::flags,
    is_interspersed: false,
    run,
};

fn run(session: &Session, given: &Given) -> Outcome {
    let request = read_request(session, given, "create")?;
    session.block_on(async {
        let id = create(session, given, request).await?;
        output::print_line(&id);
        Ok(())
    })
}

/// Two lines about where help is, as `run` and `create` end their errors.
pub(super) fn with_help(session: &Session, message: &str, command: &str) -> String {
    let program = session.program;
    format!("{program}: {message}\n\nRun '{program} {command} --help' for more information")
}

/// What the command line asks for.
pub(super) fn read_request(
    session: &Session,
    given: &Given,
    command: &str,
) -> Outcome<ContainerCreateRequest> {
    let refuse = |message: String| Failure {
        status: REFUSED_STATUS,
        message: with_help(session, &message, command),
    };
    let pull = given.text("pull");
    if !matches!(pull, "always" | "missing" | "never" | "") {
        return Err(refuse(format!(
            r#"invalid pull option: '{pull}': must be one of "always", "missing" or "never""#
        )));
    }
    if given.bool("use-api-socket") {
        return Err(refuse("--use-api-socket is not supported yet".into()));
    }
    refuse_windows_flags(given)?;
    let host = session.client()?.endpoint().to_string();
    let proxy = session.config().proxy_variables(&host);
    let (image, arguments) = given
        .arguments
        .split_first()
        .expect("the arity asks for one argument");
    container_options::build(given, image, arguments, &proxy).map_err(refuse)
}

fn refuse_windows_flags(given: &Given) -> Outcome {
    let flags = ["cpu-count", "cpu-percent", "io-maxbandwidth", "io-maxiops"];
    let refusals = flags.into_iter().filter(|flag| given.is_given(flag)).map(|flag| {
        format!("\"--{flag}\" is only supported on a Docker daemon running on windows, but the Docker daemon is running on linux")
    });
    Failure::joined(refusals.collect())
}

/// Creates the container and returns its id.
pub(super) async fn create(
    session: &Session,
    given: &Given,
    mut request: ContainerCreateRequest,
) -> Outcome<String> {
    let client = session.client()?;
    let cid_file = CidFile::create(given.text("cidfile"))?;
    let image = request.config.image.clone();
    // Ids of images are no names, and are not pulled.
    let reference = if is_id(&image) {
        None
    } else {
        Some(Reference::parse(&image)?.with_default_tag())
    };
    let pull = given.text("pull");
    let quiet = given.bool("quiet");
    let platform = session::platform(given);
    if pull == "always" {
        pull_for_container(session, &image, &platform, quiet).await?;
    }
    let host = request.host_config.get_or_insert_default();
    host.console_size = terminal::size().map_or([0, 0], |(rows, columns)| [rows, columns]);
    let dns = host.dns.clone().unwrap_or_default();
    let answer = match send(client, given, &platform, &request).await {
        Err(error) if error.kind() == ErrorKind::NotFound && matches!(pull, "missing" | "") => {
            let Some(reference) = reference else {
                return Err(error.into());
            };
            if !quiet {
                output::print_error_line(&format!(
                    "Unable to find image '{}' locally",
                    reference.familiar()
                ));
            }
            pull_for_container(session, &image, &platform, quiet).await?;
            send(client, given, &platform, &request).await?
        }
        answer => answer?,
    };
    for warning in &answer.warnings {
        output::print_error_line(&format!("WARNING: {warning}"));
    }
    let is_loopback = |text: &&String| {
        text.parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
    };
    if let Some(ip) = dns.iter().find(is_loopback) {
        output::print_error_line(&format!(
            "WARNING: Localhost DNS ({ip}) may fail in containers."
        ));
    }
    cid_file.write(&answer.id)?;
    Ok(answer.id)
}

async fn send(
    client: &Client,
    given: &Given,
    platform: &str,
    body: &ContainerCreateRequest,
) -> Result<ContainerCreateResponse, Error> {
    let name = given.text("name");
    let request = Request::post("/containers/create")
        .query_if(!name.is_empty(), "name", name)
        .query_if(!platform.is_empty(), "platform", platform)
        .json(body)?;
    client.send(request).await?.json().await
}

fn is_id(image: &str) -> bool {
    let digits = image.strip_prefix("sha256:").unwrap_or(image);
    digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `--cidfile`: made before the container, so that a taken name is found in time; removed if there is no container.
struct CidFile {
    file: Option<(PathBuf, std::fs::File)>,
}

impl CidFile {
    fn create(path: &str) -> Outcome<Self> {
        if path.is_empty() {
            return Ok(Self { file: None });
        }
        let path = PathBuf::from(path);
        let shown = path.display();
        let file = std::fs::OpenOptions::new().write(true).create_new(true).open(&path).map_err(|error| {
            if error.kind() == std::io::ErrorKind::AlreadyExists {
                return Failure::new(format!(
                    "container ID file found, make sure the other container isn't running or delete {shown}"
                ));
            }
            let reason = Error::from(error);
            Failure::new(format!("failed to create the container ID file: open {shown}: {}", reason.message()))
        })?;
        Ok(Self {
            file: Some((path, file)),
        })
    }
    fn write(mut self, id: &str) -> Outcome {
        if let Some((_, file)) = &mut self.file {
            file.write_all(id.as_bytes()).map_err(|error| {
                Failure::new(format!(
                    "failed to write the container ID to the file: {error}"
                ))
            })?;
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for CidFile {
    fn drop(&mut self) {
        if let Some((path, _)) = self.file.take() {
            // An empty file that stays would only refuse the next run.
            let _ = std::fs::remove_file(path);
        }
    }
}
