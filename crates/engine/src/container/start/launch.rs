//! The last step of a start: forks the shim, hands every descriptor over, and waits until the payload is executed.

use super::Failed;
use super::log_plan::{LogOwner, log_plan};
use super::namespaces::JoinedNamespaces;
use super::prepare::Prepared;
use crate::container::Shared;
use crate::container::record::ContainerRecord;
use crate::network::Claims;
use crate::workload::shim::{BlockingShim, ShimError};
use gantry_base::{Context, Error};
use gantry_shim_protocol::{Attach, Failure, FailureKind, FdRole, Reply, Request, Run};
use gantry_sys::fdpass;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// How long a new shim may take to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(20);
/// runc's words around a failure to start, which users and tools know.
const CREATE_FAILED: &str = "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process";

const NOT_A_DIRECTORY: &str = "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type";

/// What a shim gets.
pub(super) struct Handover<'a> {
    pub(super) prepared: &'a Prepared,
    pub(super) sandbox: Option<OwnedFd>,
    pub(super) claims: Option<&'a Claims>,
    pub(super) joined: &'a JoinedNamespaces,
    pub(super) attach: Vec<(Attach, OwnedFd)>,
}

impl Handover<'_> {
    fn descriptors(&self) -> Vec<(FdRole, BorrowedFd<'_>)> {
        let mut descriptors: Vec<(FdRole, BorrowedFd<'_>)> = vec![
            (FdRole::RunDir, self.prepared.run_dir.as_fd()),
            (FdRole::LogDir, self.prepared.log_dir.as_fd()),
            (FdRole::Listener, self.prepared.listener.as_fd()),
            (FdRole::Config, self.prepared.config.as_fd()),
            (FdRole::Rootfs, self.prepared.rootfs.as_fd()),
        ];
        descriptors.extend(
            self.prepared
                .mounts
                .iter()
                .map(|(index, fd)| (FdRole::Mount { index: *index }, fd.as_fd())),
        );
        descriptors.extend(
            self.prepared
                .seccomp
                .iter()
                .map(|fd| (FdRole::SeccompFilter, fd.as_fd())),
        );
        let network = || FdRole::Namespace {
            kind: "network".into(),
        };
        descriptors.extend(self.sandbox.iter().map(|fd| (network(), fd.as_fd())));
        descriptors.extend(self.joined.fds.iter().map(|(kind, fd)| {
            (
                FdRole::Namespace {
                    kind: (*kind).into(),
                },
                fd.as_fd(),
            )
        }));
        descriptors.extend(
            self.claims
                .iter()
                .flat_map(|claims| &claims.sockets)
                .map(|fd| (FdRole::Held, fd.as_fd())),
        );
        // The shim keeps what is asked while no daemon runs.
        let resolver = self.claims.and_then(|claims| claims.resolver.as_ref());
        descriptors.extend(resolver.into_iter().flat_map(|sockets| {
            [
                (FdRole::Held, sockets.udp.as_fd()),
                (FdRole::Held, sockets.tcp.as_fd()),
            ]
        }));
        descriptors.extend(
            self.attach
                .iter()
                .enumerate()
                .map(|(index, (_, fd))| (FdRole::Attach { index }, fd.as_fd())),
        );
        descriptors
    }
}

/// Forks the shim, hands everything over, and waits until the payload is executed.
pub(super) fn launch(
    shared: &Shared,
    record: &ContainerRecord,
    handover: Handover<'_>,
) -> Result<(BlockingShim, i32, i64), Failed> {
    let (ours, theirs) = fdpass::pair().context("cannot make the shim's control socket")?;
    shared.zygote.fork(record.id.as_str(), &theirs)?;
    drop(theirs);
    gantry_base::failpoint!("start.forked");
    let mut shim = BlockingShim::greet(ours, HELLO_TIMEOUT)?;
    shim.send_descriptors(&handover.descriptors())?;
    let config = &record.config;
    let run = Run {
        id: record.id.as_str().to_owned(),
        terminal: config.process.tty,
        open_stdin: config.process.open_stdin,
        stdin_once: config.process.stdin_once,
        log: log_plan(LogOwner {
            id: record.id.as_str(),
            name: record.name.as_str(),
            image: record.image.as_str(),
            config,
        })?,
        attach: handover
            .attach
            .iter()
            .map(|(attach, _)| attach.clone())
            .collect(),
        init: config.init.unwrap_or(shared.settings().default_init),
    };
    gantry_base::failpoint!("start.handed_over");
    match shim.ask(Request::Run(run)) {
        Ok(Reply::Started { pid, started_at_ns }) => Ok((shim, pid, started_at_ns)),
        Ok(_) => Err(Error::internal("the shim did not say that it started").into()),
        Err(ShimError::Unreachable(error)) => Err(error.into()),
        Err(ShimError::Refused(failure)) => Err(refusal(failure)),
    }
}

/// runc's words and exit codes for a payload that could not be executed.
fn refusal(failure: Failure) -> Failed {
    let exit_code = match failure.kind {
        FailureKind::CommandNotFound => 127,
        FailureKind::CommandNotExecutable => 126,
        FailureKind::Invalid
        | FailureKind::NoSuchProcess
        | FailureKind::Unsupported
        | FailureKind::Internal => 128,
    };
    let error = Error::from(ShimError::Refused(failure)).prefixed(CREATE_FAILED);
    let error = if error.message().contains("not a directory") {
        // dockerd's guess at what is wrong.
        Error::new(
            error.kind(),
            format!("{}: {NOT_A_DIRECTORY}", error.message()),
        )
        .with_source(error)
    } else {
        error
    };
    Failed { error, exit_code }
}
