//! The streams of one process, between its pipes or terminal on one side, and its log and attached clients on the other.
//!
//! Everything is non-blocking; the event loop asks what to wait for and calls back. Output is read as long as no client
//! holds it back (see [`client`]); the log never does. Once the process has ended, what is left in its pipes is read
//! whatever the clients do.

pub(crate) mod client;
mod detach;
mod queue;
mod stdin;

pub(crate) use crate::log::Stream;
use crate::log::{JsonLog, Timestamp};
use client::{Client, Input};
use gantry_shim_protocol::Attach;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use stdin::Stdin;

/// How much is read at a time.
pub(crate) const RELAY_BYTES: usize = 64 * 1024;
/// From so much output on, moving pages is cheaper than copying bytes.
const SPLICE_BYTES_MIN: usize = 32 * 1024;
/// After its end, so much of a process's output is read even if a client holds it back: a pipe of the largest usual size.
const DRAIN_BYTES: usize = 2 * 1024 * 1024;
/// How long output is awaited from processes that outlive the one they inherited the pipe from (dockerd's figure).
const DRAIN_WAIT: Duration = Duration::from_secs(2);
/// How long after the end clients may take nothing before the end is reported without them; they still get what waits.
const FLUSH_WAIT: Duration = Duration::from_secs(2);
/// A terminal that no process has open reads as an error, and may be opened again: how soon to look.
const TERMINAL_RETRY: Duration = Duration::from_millis(200);

/// Our ends of a process's standard streams, all non-blocking.
#[derive(Default)]
pub(crate) struct Ends {
    /// Writes to its standard input.
    pub(crate) stdin: Option<OwnedFd>,
    /// Reads its standard output, or the terminal's master.
    pub(crate) stdout: Option<OwnedFd>,
    /// Reads its standard error.
    pub(crate) stderr: Option<OwnedFd>,
}

/// Something to wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    /// Output of the process.
    Output(Stream),
    /// That the process reads its input.
    Stdin,
    /// A client, by its key.
    Client(u32),
}

/// The streams of one process.
pub(crate) struct Streams {
    stdin: Stdin,
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
    terminal: bool,
    /// Whether the end of a client's input ends standard input; else it ends the client.
    closes_stdin: bool,
    clients: Vec<Client>,
    next_client: u32,
    terminal_retry: Option<Instant>,
    /// Set once the process has ended.
    drain: Option<Drain>,
    /// When all output had been read.
    sealed_at: Option<Instant>,
}

struct Drain {
    bytes_left: usize,
    deadline: Instant,
}

impl Streams {
    /// `closes_stdin`: whether standard input ends with the first client that gave input (never that of a terminal).
    pub(crate) fn new(ends: Ends, terminal: bool, closes_stdin: bool) -> Self {
        Self {
            stdin: Stdin::new(ends.stdin),
            stdout: ends.stdout,
            stderr: ends.stderr,
            terminal,
            closes_stdin: closes_stdin && !terminal,
            clients: Vec::new(),
            next_client: 0,
            terminal_retry: None,
            drain: None,
            sealed_at: None,
        }
    }

    /// Connects a client. False: the descriptor is no stream socket. `detached` is set if its first input leaves at once.
    pub(crate) fn attach(
        &mut self,
        socket: OwnedFd,
        attach: &Attach,
        foreground: bool,
        detached: &mut bool,
    ) -> bool {
        self.next_client += 1;
        let Some(mut client) =
            Client::new(self.next_client, socket, attach, self.terminal, foreground)
        else {
            return false;
        };
        if attach.stdin && !attach.input.is_empty() {
            let mut bytes = Vec::new();
            *detached = matches!(client.filter(&attach.input, &mut bytes), Input::Detached);
            self.stdin.push(&bytes);
        }
        if !client.is_done() {
            self.clients.push(client);
        }
        true
    }

    /// The terminal's master, for its size.
    pub(crate) fn terminal(&self) -> Option<BorrowedFd<'_>> {
        self.stdout
            .as_ref()
            .filter(|_| self.terminal)
            .map(AsFd::as_fd)
    }

    /// Calls `wait` with everything to wait for: descriptor, for reading, for writing.
    pub(crate) fn interests<'a>(
        &'a self,
        mut wait: impl FnMut(Interest, BorrowedFd<'a>, bool, bool),
    ) {
        if self.terminal_retry.is_none() && !self.is_held_back() {
            for (stream, fd) in [
                (Stream::Stdout, &self.stdout),
                (Stream::Stderr, &self.stderr),
            ] {
                if let Some(fd) = fd {
                    wait(Interest::Output(stream), fd.as_fd(), true, false);
                }
            }
        }
        if let Some(fd) = self.stdin.waits_for() {
            wait(Interest::Stdin, fd, false, true);
        }
        for client in &self.clients {
            if let Some((fd, input, output)) = client.waits_for(self.stdin.has_room()) {
                wait(Interest::Client(client.key), fd, input, output);
            }
        }
    }

    /// The process takes input.
    pub(crate) fn stdin_ready(&mut self) {
        self.stdin.write();
    }

    /// The process has written. True: there may be more at once.
    pub(crate) fn output_ready(
        &mut self,
        stream: Stream,
        buffer: &mut [u8],
        log: Option<&mut JsonLog>,
    ) -> bool {
        let source = match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        let Some(fd) = source else { return false };
        let is_plain = log.is_none() && self.drain.is_none() && !self.terminal;
        if is_plain && splice(&mut self.clients, stream, fd.as_fd(), buffer) {
            self.sweep();
            return true;
        }
        let length = match rustix::io::read(&*fd, &mut *buffer) {
            Ok(0) => {
                *source = None;
                return false;
            }
            Ok(length) => length,
            Err(Errno::AGAIN) => return false,
            Err(Errno::INTR) => return true,
            Err(_) if self.terminal && self.drain.is_none() => {
                self.terminal_retry = Some(Instant::now() + TERMINAL_RETRY);
                return false;
            }
            Err(_) => {
                *source = None;
                return false;
            }
        };
        let bytes = &buffer[..length];
        let now = Instant::now();
        for client in &mut self.clients {
            client.send(stream, bytes, now);
        }
        if let Some(log) = log {
            log.write(stream, bytes, Timestamp::now());
        }
        if let Some(drain) = &mut self.drain {
            drain.bytes_left = drain.bytes_left.saturating_sub(length);
        }
        self.sweep();
        true
    }

    /// A client is ready. True: it left by the detach keys.
    pub(crate) fn client_ready(
        &mut self,
        key: u32,
        readable: bool,
        hung_up: bool,
        buffer: &mut [u8],
    ) -> bool {
        let Some(client) = self.clients.iter_mut().find(|client| client.key == key) else {
            return false;
        };
        client.write(Instant::now());
        let mut detached = false;
        if (readable || hung_up) && self.stdin.has_room() {
            let mut bytes = Vec::new();
            let result = client.read(buffer, &mut bytes);
            self.stdin.push(&bytes);
            match result {
                Input::Bytes => {}
                Input::End if self.closes_stdin => self.stdin.end(),
                Input::End => client.leave(),
                Input::Detached => detached = true,
            }
        }
        if hung_up && let Some(client) = self.clients.iter_mut().find(|client| client.key == key) {
            client.hang_up();
        }
        self.sweep();
        detached
    }

    /// The process has ended: reads what it left. With `waits`, other processes may still have its pipes open, and their
    /// output is awaited for a moment.
    pub(crate) fn process_ended(
        &mut self,
        waits: bool,
        buffer: &mut [u8],
        mut log: Option<&mut JsonLog>,
    ) {
        self.stdin.close();
        self.terminal_retry = None;
        self.drain = Some(Drain {
            bytes_left: DRAIN_BYTES,
            deadline: Instant::now() + DRAIN_WAIT,
        });
        for stream in [Stream::Stdout, Stream::Stderr] {
            while self
                .drain
                .as_ref()
                .is_some_and(|drain| drain.bytes_left > 0)
                && self.output_ready(stream, buffer, log.as_deref_mut())
            {}
        }
        if !waits {
            self.close_output();
        }
    }

    /// Whether all output of the ended process has been read.
    pub(crate) fn is_drained(&self) -> bool {
        self.drain.is_some() && self.stdout.is_none() && self.stderr.is_none()
    }

    /// No more output will come. Clients stay connected until [`Streams::finish`].
    pub(crate) fn seal(&mut self) {
        self.close_output();
        self.sealed_at = Some(Instant::now());
    }

    /// Clients get what waits, and are closed. To be called once the end was reported, since a client that sees its
    /// connection end asks the daemon how the process ended.
    pub(crate) fn finish(&mut self) {
        for client in &mut self.clients {
            client.leave();
        }
        self.sweep();
    }

    /// After [`Streams::seal`]: whether every client has everything or has taken nothing for a while.
    pub(crate) fn is_flushed(&self, now: Instant) -> bool {
        self.flush_deadline().is_none_or(|at| now >= at)
    }

    /// Whether no client is left.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.clients.is_empty()
    }

    /// The next moment at which [`Streams::tick`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let stalls = self.clients.iter().filter_map(Client::stalls_at);
        let drain = self
            .drain
            .as_ref()
            .filter(|_| !self.is_drained())
            .map(|drain| drain.deadline);
        stalls.chain(drain).chain(self.terminal_retry).min()
    }

    /// When [`Streams::is_flushed`] becomes true by the mere passing of time; none: it is true already.
    pub(crate) fn flush_deadline(&self) -> Option<Instant> {
        let sealed_at = self.sealed_at?;
        let behind = self.clients.iter().filter(|client| client.is_behind());
        behind
            .map(|client| client.last_progress().max(sealed_at) + FLUSH_WAIT)
            .max()
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant) {
        for client in &mut self.clients {
            if client.stalls_at().is_some_and(|at| now >= at) {
                client.cut();
            }
        }
        if self.terminal_retry.is_some_and(|at| now >= at) {
            self.terminal_retry = None;
        }
        if self
            .drain
            .as_ref()
            .is_some_and(|drain| now >= drain.deadline)
        {
            self.close_output();
        }
        self.sweep();
    }

    /// Gives memory back that is only needed while data flows.
    pub(crate) fn trim(&mut self) {
        self.stdin.trim();
        for client in &mut self.clients {
            client.trim();
        }
    }

    fn close_output(&mut self) {
        self.stdout = None;
        self.stderr = None;
    }

    fn is_held_back(&self) -> bool {
        let spared = self
            .drain
            .as_ref()
            .is_some_and(|drain| drain.bytes_left > 0);
        !spared && self.clients.iter().any(Client::holds_back)
    }

    fn sweep(&mut self) {
        self.clients.retain(|client| !client.is_done());
    }
}

/// Lets the kernel move output to the only client that wants it, if there is enough of it. False: it is to be read.
fn splice(clients: &mut [Client], stream: Stream, pipe: BorrowedFd<'_>, buffer: &mut [u8]) -> bool {
    let mut wanting = clients.iter_mut().filter(|client| client.wants(stream));
    let (Some(client), None) = (wanting.next(), wanting.next()) else {
        return false;
    };
    if !client.can_splice() {
        return false;
    }
    let length = rustix::io::ioctl_fionread(pipe)
        .ok()
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length >= SPLICE_BYTES_MIN);
    if let Some(length) = length {
        client.splice(stream, pipe, length, buffer, Instant::now());
    }
    length.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    fn attach(framed: bool) -> Attach {
        Attach {
            exec: None,
            stdin: false,
            stdout: true,
            stderr: true,
            framed,
            detach_keys: Vec::new(),
            input: Vec::new(),
        }
    }

    fn nonblocking(fd: OwnedFd) -> OwnedFd {
        rustix::io::ioctl_fionbio(&fd, true).expect("is set");
        fd
    }

    /// A process's output, and the streams that read it.
    fn world() -> (OwnedFd, Streams) {
        let (read, write) = rustix::pipe::pipe().expect("is made");
        let ends = Ends {
            stdout: Some(nonblocking(read)),
            ..Ends::default()
        };
        (nonblocking(write), Streams::new(ends, false, false))
    }

    fn connect(streams: &mut Streams, framed: bool, foreground: bool) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().expect("is made");
        assert!(streams.attach(theirs.into(), &attach(framed), foreground, &mut false));
        ours
    }

    /// The process writes as much as it can, and it is read as long as somebody waits for it.
    fn flood(output: &OwnedFd, streams: &mut Streams) -> usize {
        let mut buffer = vec![0; RELAY_BYTES];
        let mut written = 0;
        loop {
            written += rustix::io::write(output, &[b'x'; 4096]).unwrap_or(0);
            let mut waits = false;
            streams.interests(|interest, _, _, _| {
                waits |= interest == Interest::Output(Stream::Stdout);
            });
            if !waits {
                return written;
            }
            streams.output_ready(Stream::Stdout, &mut buffer, None);
            assert!(written < 100_000_000, "nobody holds the process back");
        }
    }

    #[test]
    fn a_client_that_stalls_is_cut_and_told() {
        for (foreground, patience) in [(false, 30), (true, 600)] {
            let (output, mut streams) = world();
            let mut stuck = connect(&mut streams, true, foreground);
            let written = flood(&output, &mut streams);
            assert!(written > 1_000_000, "{written}");
            let now = Instant::now();
            streams.tick(now + Duration::from_secs(patience - 2));
            assert!(streams.is_held_back());
            assert!(
                streams
                    .next_deadline()
                    .is_some_and(|at| at <= now + Duration::from_secs(patience))
            );
            streams.tick(now + Duration::from_secs(patience + 1));
            assert!(!streams.is_held_back(), "the process goes on");
            // A later client is served, while the one before still gets what was waiting for it, and the notice.
            let mut other = connect(&mut streams, false, false);
            rustix::io::write(&output, b"new").expect("is written");
            let mut buffer = vec![0; RELAY_BYTES];
            let mut received = Vec::new();
            stuck.set_nonblocking(true).expect("is set");
            other.set_nonblocking(true).expect("is set");
            let mut seen = Vec::new();
            for _ in 0..1000 {
                streams.output_ready(Stream::Stdout, &mut buffer, None);
                let _ = stuck.read_to_end(&mut received);
                let _ = other.read_to_end(&mut seen);
                for key in [1, 2] {
                    streams.client_ready(key, false, false, &mut buffer);
                }
            }
            assert!(seen.ends_with(b"new"));
            assert!(received.ends_with(client::NOTICE));
            assert!(received.len() > 1_000_000);
            assert_eq!(streams.clients.len(), 1, "the stalled one is gone");
        }
    }

    /// Splits what a client received by Docker's frames.
    fn unframed(mut received: &[u8]) -> [Vec<u8>; 2] {
        let mut streams = [Vec::new(), Vec::new()];
        while let Some((header, rest)) = received.split_at_checked(8) {
            let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let (bytes, rest) = rest.split_at(length as usize);
            streams[usize::from(header[0]) - 1].extend_from_slice(bytes);
            received = rest;
        }
        assert_eq!(received, b"", "a torn header");
        streams
    }

    #[test]
    fn much_output_of_both_streams_arrives_whole_and_in_order() {
        let (out_read, out_write) = rustix::pipe::pipe().expect("is made");
        let (err_read, err_write) = rustix::pipe::pipe().expect("is made");
        let ends = Ends {
            stdout: Some(nonblocking(out_read)),
            stderr: Some(nonblocking(err_read)),
            ..Ends::default()
        };
        let mut streams = Streams::new(ends, false, false);
        let mut reader = connect(&mut streams, true, false);
        reader.set_nonblocking(true).expect("is set");
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let writers = [nonblocking(out_write), nonblocking(err_write)];
        let (mut written, mut received) = ([0; 2], Vec::new());
        let (mut buffer, mut piece) = (vec![0; RELAY_BYTES], vec![0; 100_000]);
        let mut held_back = 0;
        while received.len() < 2 * content.len() {
            for (writer, at) in writers.iter().zip(&mut written) {
                *at += rustix::io::write(writer, &content[*at..]).unwrap_or(0);
            }
            for stream in [Stream::Stdout, Stream::Stderr] {
                if streams.is_held_back() {
                    held_back += 1;
                } else {
                    streams.output_ready(stream, &mut buffer, None);
                }
            }
            streams.client_ready(1, false, false, &mut buffer);
            let count = reader.read(&mut piece).unwrap_or(0);
            received.extend_from_slice(&piece[..count]);
        }
        assert!(held_back > 0, "the socket never was full");
        assert!(streams.clients[0].can_splice(), "the kernel refused");
        drop(writers);
        streams.process_ended(true, &mut buffer, None);
        streams.seal();
        streams.finish();
        while let Ok(count @ 1..) = reader.read(&mut piece) {
            received.extend_from_slice(&piece[..count]);
            streams.client_ready(1, false, false, &mut buffer);
        }
        let [out, err] = unframed(&received);
        assert!(out == content && err == content);
    }

    #[test]
    fn a_client_that_takes_a_little_is_not_cut() {
        let (output, mut streams) = world();
        let mut slow = connect(&mut streams, false, false);
        let start = Instant::now();
        let mut buffer = vec![0; RELAY_BYTES];
        let mut received = 0;
        for round in 0..20 {
            flood(&output, &mut streams);
            let mut piece = vec![0; 300_000];
            received += slow.read(&mut piece).expect("has something");
            streams.client_ready(1, false, false, &mut buffer);
            // Progress is noted at the real time, so the time that passes here is added up by hand.
            let patient = streams
                .next_deadline()
                .is_none_or(|at| at > start + Duration::from_secs(29));
            assert!(patient, "round {round}");
        }
        assert!(received > 1_000_000);
        assert_eq!(streams.clients.len(), 1);
    }

    #[test]
    fn after_the_end_what_is_in_the_pipe_is_read_past_a_stuck_client() {
        let (output, mut streams) = world();
        let mut stuck = connect(&mut streams, false, false);
        let mut written = flood(&output, &mut streams);
        while let Ok(count) = rustix::io::write(&output, &[b'y'; 4096]) {
            written += count;
        }
        drop(output);
        let mut buffer = vec![0; RELAY_BYTES];
        streams.process_ended(true, &mut buffer, None);
        assert!(streams.is_drained());
        streams.seal();
        let now = Instant::now();
        assert!(!streams.is_flushed(now) && streams.is_flushed(now + FLUSH_WAIT));
        streams.finish();
        let reader = std::thread::spawn(move || {
            let mut received = Vec::new();
            stuck.read_to_end(&mut received).expect("ends");
            received.len()
        });
        while !streams.is_abandoned() {
            streams.client_ready(1, false, false, &mut buffer);
            std::thread::yield_now();
        }
        assert_eq!(reader.join().expect("is no panic"), written);
    }

    #[test]
    fn a_writer_that_stays_is_waited_for_only_for_a_moment() {
        let (output, mut streams) = world();
        let mut buffer = vec![0; RELAY_BYTES];
        streams.process_ended(true, &mut buffer, None);
        assert!(!streams.is_drained());
        let now = Instant::now();
        streams.tick(now + DRAIN_WAIT);
        assert!(streams.is_drained());
        drop(output);
        let (_output, mut streams) = world();
        streams.process_ended(false, &mut buffer, None);
        assert!(streams.is_drained());
    }
}
