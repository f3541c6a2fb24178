//! Connections that become raw streams after an HTTP upgrade: the daemon reads our side as standard input.

use super::{Body, Client, Request};
use bytes::{Buf, Bytes};
use gantry_base::{Error, Result};
use hyper::StatusCode;
use hyper_util::rt::TokioIo;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
#[cfg(unix)]
use tokio::net::UnixStream;

/// The two directions of a hijacked connection. Shutting `writer` down is the end of standard input; output goes on.
pub struct Hijacked {
    /// What the daemon sends.
    pub reader: Box<dyn AsyncRead + Send + Unpin>,
    /// What we send.
    pub writer: Box<dyn AsyncWrite + Send + Unpin>,
    /// `application/vnd.docker.raw-stream` or `…multiplexed-stream`, where the daemon said so.
    pub media_type: Option<String>,
}

pub(super) async fn open(client: &Client, request: Request) -> Result<Hijacked> {
    let request = request
        .header("connection", "Upgrade")
        .header("upgrade", "tcp");
    let again = request.duplicate();
    let asked = client.version();
    match switch(client, request).await {
        Err(error) if client.version() != asked && super::is_version_refusal(&error) => match again
        {
            Some(again) => switch(client, again).await,
            None => Err(error),
        },
        answer => answer,
    }
}

async fn switch(client: &Client, mut request: Request) -> Result<Hijacked> {
    if matches!(request.body, Body::Empty) {
        request = request.body("text/plain", Body::Empty);
    }
    let (mut response, connection) = client.exchange(request).await?;
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let is_json = true;
        let body = super::Response::new(client, response, connection)
            .bytes()
            .await?;
        if status.is_success() {
            return Err(Error::internal(format!(
                "unable to upgrade to tcp, received {}",
                status.as_u16()
            )));
        }
        return Err(super::request::error_answer(status, is_json, &body));
    }
    let media_type = response
        .headers()
        .get(hyper::header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    let upgraded = hyper::upgrade::on(&mut response)
        .await
        .map_err(|error| Error::internal("unable to upgrade to tcp").with_source(error))?;
    let (reader, writer) = split(upgraded);
    Ok(Hijacked {
        reader,
        writer,
        media_type,
    })
}

type Halves = (
    Box<dyn AsyncRead + Send + Unpin>,
    Box<dyn AsyncWrite + Send + Unpin>,
);

/// Takes the socket out of hyper, so that nothing stands between it and the copy loops.
fn split(upgraded: hyper::upgrade::Upgraded) -> Halves {
    #[cfg(unix)]
    let upgraded = match upgraded.downcast::<TokioIo<UnixStream>>() {
        Ok(parts) => {
            let (reader, writer) = parts.io.into_inner().into_split();
            return (
                Box::new(Prefixed {
                    prefix: parts.read_buf,
                    reader,
                }),
                Box::new(writer),
            );
        }
        Err(upgraded) => upgraded,
    };
    match upgraded.downcast::<TokioIo<TcpStream>>() {
        Ok(parts) => {
            let (reader, writer) = parts.io.into_inner().into_split();
            (
                Box::new(Prefixed {
                    prefix: parts.read_buf,
                    reader,
                }),
                Box::new(writer),
            )
        }
        Err(upgraded) => {
            let (reader, writer) = tokio::io::split(TokioIo::new(upgraded));
            (Box::new(reader), Box::new(writer))
        }
    }
}

/// First what hyper had read already, then the socket.
struct Prefixed<R> {
    prefix: Bytes,
    reader: R,
}

impl<R: AsyncRead + Unpin> AsyncRead for Prefixed<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.prefix.is_empty() {
            return Pin::new(&mut this.reader).poll_read(context, buffer);
        }
        let size = this.prefix.len().min(buffer.remaining());
        buffer.put_slice(&this.prefix[..size]);
        this.prefix.advance(size);
        Poll::Ready(Ok(()))
    }
}
