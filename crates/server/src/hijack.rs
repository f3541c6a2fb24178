//! Taking a connection over: from then on it carries raw bytes both ways, as attach and exec need it.
//!
//! The connection's task drops hyper and hands the socket, with what was read ahead, to the request's continuation.
//! This serves clients with `Upgrade` (answered with 101) and without (answered with 200 and raw bytes) alike.

use crate::listener::{Socket, Stream};
use gantry_base::{Error, Result};
use std::io;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::pin::Pin;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// A boxed future that may move between threads.
pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What runs on the connection that was taken over.
pub(crate) type Continuation = Box<dyn FnOnce(ClientConnection) -> BoxFuture<()> + Send>;

/// A request's way to its connection.
#[derive(Clone)]
pub(crate) struct Takeover(mpsc::Sender<Continuation>);

impl Takeover {
    pub(crate) fn channel() -> (Self, mpsc::Receiver<Continuation>) {
        let (sender, receiver) = mpsc::channel(1);
        (Self(sender), receiver)
    }

    /// Gives up the HTTP side of the connection. Comes back only on failure: the request ends where it stands.
    pub(crate) async fn take<F, R>(&self, continuation: F) -> Error
    where
        F: FnOnce(ClientConnection) -> R + Send + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let continuation: Continuation =
            Box::new(move |connection| Box::pin(continuation(connection)));
        match self.0.try_send(continuation) {
            Ok(()) => std::future::pending().await,
            Err(_) => Error::internal("connection does not support hijacking"),
        }
    }
}

/// A connection without HTTP.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    stream: Stream,
    input: Vec<u8>,
}

impl ClientConnection {
    /// `input` was read and not used.
    pub(crate) fn new(mut stream: Stream, mut input: Vec<u8>) -> Self {
        input.extend_from_slice(&std::mem::take(&mut stream.prefix));
        Self { stream, input }
    }

    /// Sends bytes to the client.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// The client as a Unix socket, and what it sent already.
    ///
    /// A Unix client's own socket is handed out. For others it is one end of a pair, and the future moves the bytes; it must be polled.
    pub(crate) fn into_socket(self) -> Result<(StdUnixStream, Vec<u8>, BoxFuture<()>)> {
        match self.stream.socket {
            Socket::Unix(stream) => Ok((stream.into_std()?, self.input, Box::pin(async {}))),
            Socket::Tcp(stream) => {
                let (ours, theirs) = UnixStream::pair()?;
                Ok((
                    theirs.into_std()?,
                    self.input,
                    Box::pin(relay(stream, ours)),
                ))
            }
        }
    }
}

/// Copies both ways until both sides have ended, handing on ends of file one by one.
async fn relay(client: tokio::net::TcpStream, shim: UnixStream) {
    let (mut client_read, mut client_write) = client.into_split();
    let (mut shim_read, mut shim_write) = shim.into_split();
    let input = async move {
        drop(tokio::io::copy(&mut client_read, &mut shim_write).await);
        drop(shim_write.shutdown().await);
    };
    let output = async move {
        drop(tokio::io::copy(&mut shim_read, &mut client_write).await);
        drop(client_write.shutdown().await);
    };
    // Once the container has no more to say, what the client still sends has no reader.
    tokio::pin!(input);
    tokio::select! {
        () = output => {}
        () = async { (&mut input).await; std::future::pending().await } => {}
    }
}
