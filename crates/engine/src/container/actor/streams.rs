//! Streams, terminals, execs and questions: requests that go to the shim.

use super::super::command::{ExecStart, Reply};
use super::super::phase;
use super::{Actor, answer};
use crate::exec::ExecSockets;
use gantry_base::Error;
use gantry_shim_protocol::{self as protocol, FdRole, Request};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

impl Actor {
    pub(super) fn on_exec_check(&self, reply: Reply<()>) {
        let (id, name) = (&self.record.id, self.record.name.as_str());
        answer(reply, phase::check_exec(self.record.phase, id, name));
    }

    pub(super) fn on_attach(
        &mut self,
        attach: protocol::Attach,
        head: &[u8],
        socket: OwnedFd,
        reply: Reply<()>,
    ) {
        // A few bytes into an empty buffer. The client starts the container when it has read them, and this loop takes that
        // command after this one: no output can come before the client is attached. A client that is gone wants no words.
        let _ = rustix::io::write(&socket, head);
        match &self.live {
            None => {
                self.pending_attach.push((attach, socket));
                answer(reply, Ok(()));
            }
            Some(live) => {
                let request = live
                    .shim
                    .request(Request::Attach(attach), &[], &[socket.as_fd()]);
                tokio::spawn(
                    async move { answer(reply, request.await.map(drop).map_err(Error::from)) },
                );
            }
        }
        self.publish_event("attach", &[]);
    }

    pub(super) fn on_resize(
        &mut self,
        exec: Option<String>,
        rows: u16,
        columns: u16,
        reply: Reply<()>,
    ) {
        let Some(live) = &self.live else {
            return answer(reply, Err(phase::not_running(&self.record.id)));
        };
        if exec.is_none() {
            let (height, width) = (rows.to_string(), columns.to_string());
            self.publish_event("resize", &[("height", &height), ("width", &width)]);
        }
        let request = live.shim.request(
            Request::Resize {
                exec,
                rows,
                columns,
            },
            &[],
            &[],
        );
        tokio::spawn(async move { answer(reply, request.await.map(drop).map_err(Error::from)) });
    }

    pub(super) fn on_exec(&mut self, start: ExecStart, reply: Reply<i32>) {
        if let Err(refusal) = phase::check_exec(
            self.record.phase,
            &self.record.id,
            self.record.name.as_str(),
        ) {
            return answer(reply, Err(refusal));
        }
        let Some(live) = &mut self.live else {
            return answer(reply, Err(phase::not_running(&self.record.id)));
        };
        let ExecStart {
            exec,
            process,
            seccomp,
            sockets,
            exited,
        } = start;
        let id = exec.id.clone();
        let request = {
            let sockets = ExecSockets::roles(&sockets);
            let mut descriptors: Vec<(FdRole, BorrowedFd<'_>)> =
                vec![(FdRole::Process, process.as_fd())];
            descriptors.extend(seccomp.iter().map(|fd| (FdRole::SeccompFilter, fd.as_fd())));
            descriptors.extend(sockets);
            live.shim.request(Request::Exec(exec), &descriptors, &[])
        };
        // Registered before the answer: the process may end before its start is reported.
        live.execs.insert(id, exited);
        tokio::spawn(async move {
            let result = match request.await {
                Ok(protocol::Reply::Started { pid, .. }) => Ok(pid),
                Ok(_) => Err(Error::internal("the shim gave no pid for a started exec")),
                Err(error) => Err(error.into()),
            };
            answer(reply, result);
        });
    }

    pub(super) fn ask<T: Send + 'static>(
        &mut self,
        request: Request,
        reply: Reply<T>,
        pick: impl FnOnce(protocol::Reply) -> Option<T> + Send + 'static,
    ) {
        let Some(live) = &self.live else {
            return answer(reply, Err(phase::not_running(&self.record.id)));
        };
        let request = live.shim.request(request, &[], &[]);
        tokio::spawn(async move {
            let result = match request.await {
                Ok(found) => {
                    pick(found).ok_or_else(|| Error::internal("the shim answered something else"))
                }
                Err(error) => Err(error.into()),
            };
            answer(reply, result);
        });
    }
}
