//! One HTTP/1.1 connection, whose traffic is driven by a task of its own.

use super::{Body, Endpoint};
use gantry_base::{Error, ErrorKind, Result};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// A connection that can carry one request at a time.
pub(super) struct Connection {
    sender: SendRequest<Body>,
}

impl Connection {
    pub(super) async fn open(endpoint: &Endpoint) -> Result<Self> {
        match endpoint {
            #[cfg(unix)]
            Endpoint::Unix(path) => {
                let stream = UnixStream::connect(path)
                    .await
                    .map_err(|error| refusal(endpoint, error))?;
                Self::over(stream).await
            }
            #[cfg(not(unix))]
            Endpoint::Unix(_) => Err(Error::not_implemented(
                "unix sockets are not supported on this system",
            )),
            Endpoint::Tcp(address) => {
                let stream = TcpStream::connect(address)
                    .await
                    .map_err(|error| refusal(endpoint, error))?;
                stream.set_nodelay(true)?;
                Self::over(stream).await
            }
        }
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<Self> {
        let handshake = http1::Builder::new()
            .max_buf_size(1 << 20)
            .handshake(TokioIo::new(stream))
            .await;
        let (sender, driver) = handshake.map_err(|error| {
            Error::internal("cannot open an HTTP connection").with_source(error)
        })?;
        // The driver ends when both sides are done. Its error is also the error of the request in flight.
        tokio::spawn(async move {
            let _ = driver.with_upgrades().await;
        });
        Ok(Self { sender })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Sends one request. The request comes back where nothing of it was sent.
    pub(super) async fn send(
        &mut self,
        request: hyper::Request<Body>,
    ) -> Result<hyper::Response<hyper::body::Incoming>, (hyper::Error, Option<hyper::Request<Body>>)>
    {
        if let Err(error) = self.sender.ready().await {
            return Err((error, Some(request)));
        }
        self.sender
            .try_send_request(request)
            .await
            .map_err(|mut failure| {
                let unsent = failure.take_message();
                (failure.into_error(), unsent)
            })
    }
}

/// The text that Docker users know for a daemon that does not answer.
fn refusal(endpoint: &Endpoint, error: io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::PermissionDenied => format!(
            "permission denied while trying to connect to the Docker daemon socket at {endpoint}: connect: permission denied"
        ),
        _ => format!(
            "Cannot connect to the Docker daemon at {endpoint}. Is the docker daemon running?"
        ),
    };
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}
