//! Accepting connections and serving HTTP/1.1 on each, with or without TLS, until it ends, stalls, or the server stops.

use super::App;
use super::route::{self, Outcome};
use super::tls::Tls;
use gantry_base::{Context as _, Result};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future as _;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a client may take to send a request's head. Also the longest idle time.
const HEADER_TIMEOUT: Duration = Duration::from_mins(1);
/// How long a TLS handshake may take.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// The longest head of a request, and the size of a read.
const BUFFER_BYTES: usize = 64 << 10;
/// Pause after a failed accept, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What ends connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifetime {
    /// No new requests.
    pub(crate) stop: CancellationToken,
    /// Not even those that run.
    pub(crate) abort: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

pub(crate) async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}"))
}

/// Accepts until told to stop.
pub(crate) async fn accept(
    app: Arc<App>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    life: Lifetime,
) {
    let places = Arc::new(Semaphore::new(app.options.connections_max));
    loop {
        let place = tokio::select! {
            () = life.stop.cancelled() => return,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = life.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (app, tls, own) = (app.clone(), tls.clone(), life.clone());
        life.tasks.spawn(async move {
            let _place = place;
            tokio::select! {
                () = own.abort.cancelled() => {}
                () = greet(app, stream, client, tls, &own.stop) => {}
            }
        });
    }
}

async fn greet(
    app: Arc<App>,
    stream: TcpStream,
    client: SocketAddr,
    tls: Option<Arc<Tls>>,
    stop: &CancellationToken,
) {
    // Without it small answers wait for the client's acknowledgement.
    drop(stream.set_nodelay(true));
    let stall = app.options.stall_timeout;
    match tls {
        None => serve(app, Unstalled::new(stream, stall), client, stop).await,
        Some(tls) => {
            let shaken = tls.acceptor().accept(stream);
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, shaken).await {
                Ok(Ok(stream)) => serve(app, Unstalled::new(stream, stall), client, stop).await,
                Ok(Err(error)) => tracing::debug!(%client, %error, "no TLS connection"),
                Err(_) => tracing::debug!(%client, "the TLS handshake has stalled"),
            }
        }
    }
}

async fn serve<S>(app: Arc<App>, stream: S, client: SocketAddr, stop: &CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |request| {
        let app = app.clone();
        async move { Ok::<_, Infallible>(logged(&app, request, client).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .max_buf_size(BUFFER_BYTES)
            .serve_connection(TokioIo::new(stream), service)
    );
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%client, %error, "connection ended");
    }
}

/// Answers, and writes a line about it. The line is written when the answer begins; how much of it gets through is not known.
async fn logged(
    app: &Arc<App>,
    request: hyper::Request<Incoming>,
    client: SocketAddr,
) -> super::body::Response {
    if !app.options.access_log {
        return route::answer(app, request, &mut Outcome::default()).await;
    }
    let begun = Instant::now();
    let mut outcome = Outcome::default();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let agent = request.headers().get(hyper::header::USER_AGENT).cloned();
    let response = route::answer(app, request, &mut outcome).await;
    tracing::info!(
        target: "access",
        %client,
        user = outcome.account,
        %method,
        %uri,
        status = response.status().as_u16(),
        bytes = response.body().size_hint().exact(),
        duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        agent = agent.as_ref().and_then(|agent| agent.to_str().ok()),
    );
    response
}

/// A connection that fails when the client takes nothing for too long while there is something to send.
struct Unstalled<S> {
    stream: S,
    stall: Duration,
    /// Runs while a write waits.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> Unstalled<S> {
    fn new(stream: S, stall: Duration) -> Self {
        Self {
            stream,
            stall,
            deadline: None,
        }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.deadline = None;
            return polled;
        }
        let stall = self.stall;
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Unstalled<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unstalled<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, polled)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(context);
        this.watch(context, polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_shutdown(context);
        this.watch(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(context, pieces);
        this.watch(context, polled)
    }
}
