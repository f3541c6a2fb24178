//! Accepting connections and serving HTTP/1.1 on each, until it ends, is taken over by a handler, or the server stops.

use crate::app::{App, Connection};
use crate::hijack::{ClientConnection, Takeover};
use crate::listener::{Listener, Socket, Stream};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a TCP client may take to send a request's headers. Also the longest idle time.
const HEADER_TIMEOUT_TCP: Duration = Duration::from_secs(30);
/// The same on Unix sockets, whose clients could do worse than idle; clients keep connections open between requests.
const HEADER_TIMEOUT_UNIX: Duration = Duration::from_mins(5);
/// A connection younger than this is not watched for its client's end.
const WATCH_AFTER: Duration = Duration::from_millis(50);
/// Pause after a failed accept, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server that runs. Dropping it stops nothing.
#[derive(Debug)]
pub struct Server {
    stop: CancellationToken,
    abort: CancellationToken,
    tasks: TaskTracker,
}

impl Server {
    /// Stops listening, ends streams, lets other requests finish, and breaks off those that take longer than `grace`.
    pub async fn shutdown(self, grace: Duration) {
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout(grace, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(connections = self.tasks.len(), "requests were broken off");
            self.abort.cancel();
            self.tasks.wait().await;
        }
    }
}

pub(crate) fn start<S>(app: App<S>, listeners: Vec<Listener>) -> Server
where
    S: Clone + Send + Sync + 'static,
{
    let app = Arc::new(app);
    let server = Server {
        stop: CancellationToken::new(),
        abort: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    for listener in listeners {
        let (app, tasks) = (app.clone(), server.tasks.clone());
        let (stop, abort) = (server.stop.clone(), server.abort.clone());
        server.tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = accept(&listener, &app, &tasks, &stop, &abort) => {}
            }
        });
    }
    server
}

async fn accept<S>(
    listener: &Listener,
    app: &Arc<App<S>>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
    abort: &CancellationToken,
) where
    S: Clone + Send + Sync + 'static,
{
    loop {
        match listener.accept().await {
            Ok(stream) => {
                let (app, stop, abort) = (app.clone(), stop.clone(), abort.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        () = serve(app, stream, stop) => {}
                        () = abort.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(address = listener.address(), %error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn serve<S>(app: Arc<App<S>>, mut stream: Stream, stop: CancellationToken)
where
    S: Clone + Send + Sync + 'static,
{
    let is_tcp = matches!(stream.socket, Socket::Tcp(_));
    let timeout = if is_tcp {
        HEADER_TIMEOUT_TCP
    } else {
        HEADER_TIMEOUT_UNIX
    };
    tokio::select! {
        mended = tokio::time::timeout(timeout, stream.mend_request_line()) => {
            if !matches!(mended, Ok(Ok(()))) {
                return;
            }
        }
        () = stop.cancelled() => return,
    }
    let descriptor = match &stream.socket {
        Socket::Unix(socket) => socket.as_fd().try_clone_to_owned().ok(),
        // A TCP client that is gone looks like one that has nothing more to say.
        Socket::Tcp(_) => None,
    };
    let (takeover, mut taken) = Takeover::channel();
    let facts = Connection {
        takeover,
        is_tcp,
        stop: stop.clone(),
    };
    let service = service_fn(move |request| {
        let (app, facts) = (app.clone(), facts.clone());
        Box::pin(async move { Ok::<_, Infallible>(app.answer(request, facts).await) })
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .title_case_headers(true)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let mut gone = Box::pin(client_gone(descriptor));
    let mut stopping = false;
    loop {
        tokio::select! {
            biased;
            Some(continuation) = taken.recv() => {
                // It holds the socket, which from now on must close when its new owner closes it.
                drop(gone);
                let parts = connection.into_parts();
                let raw = ClientConnection::new(parts.io.into_inner(), parts.read_buf.to_vec());
                tokio::select! {
                    () = continuation(raw) => {}
                    () = stop.cancelled() => {}
                }
                return;
            }
            result = &mut connection => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection ended");
                }
                return;
            }
            () = &mut gone => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    }
}

/// Ends when the client has closed its socket, in contrast to having shut down its sending side only.
///
/// Both look the same to a reader. For a Unix socket the first shows as a hang-up, which epoll reports unasked.
async fn client_gone(descriptor: Option<OwnedFd>) {
    tokio::time::sleep(WATCH_AFTER).await;
    if let Some(descriptor) = descriptor
        && let Ok(watched) = UnixStream::from_std(descriptor.into())
    {
        while let Ok(ready) = watched.ready(Interest::WRITABLE).await {
            if ready.is_write_closed() {
                return;
            }
            // Forgets that it is writable, and so waits for the next change.
            let forget = || Err::<(), _>(std::io::ErrorKind::WouldBlock.into());
            drop(watched.try_io(Interest::WRITABLE, forget));
        }
    }
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hijack::BoxFuture;
    use crate::request::Request;
    use crate::response::{self, Response};
    use crate::router::Router;
    use gantry_base::Result;
    use hyper::Method;
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::os::unix::net::UnixStream;
    use std::path::Path;
    use std::sync::mpsc;

    /// Reports that a handler was dropped.
    struct Dropped(mpsc::Sender<&'static str>);

    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send("dropped");
        }
    }

    type Reports = mpsc::Sender<&'static str>;

    fn ping(_: Reports, _: Request) -> BoxFuture<Result<Response>> {
        Box::pin(async { Ok(response::ok(&"pong")) })
    }

    fn echo(_: Reports, mut request: Request) -> BoxFuture<Result<Response>> {
        Box::pin(async move {
            request
                .json::<serde_json::Value>()
                .await
                .map(|value| response::ok(&value))
        })
    }

    fn wait(reports: Reports, _: Request) -> BoxFuture<Result<Response>> {
        Box::pin(async move {
            let _dropped = Dropped(reports);
            std::future::pending().await
        })
    }

    fn attach(_: Reports, request: Request) -> BoxFuture<Result<Response>> {
        Box::pin(async move {
            let run = |mut connection: ClientConnection| async move {
                connection
                    .write(b"HTTP/1.1 101 UPGRADED\r\n\r\n")
                    .await
                    .expect("client is there");
                let (mut socket, input, relay) =
                    connection.into_socket().expect("has a descriptor");
                let work = tokio::task::spawn_blocking(move || {
                    socket.set_nonblocking(false).expect("is a socket");
                    let mut all = input;
                    socket.read_to_end(&mut all).expect("client is there");
                    all.reverse();
                    socket.write_all(&all).expect("client is there");
                });
                let (result, ()) = tokio::join!(work, relay);
                result.expect("did not panic");
            };
            Err(request.connection.takeover.take(run).await)
        })
    }

    /// Runs `client` beside a server with the routes above.
    fn check(client: impl FnOnce(&Path, mpsc::Receiver<&'static str>) + Send) {
        check_over(Transport::Unix, client);
    }

    enum Transport {
        Unix,
        Tcp(std::net::SocketAddr),
    }

    fn check_over(
        transport: Transport,
        client: impl FnOnce(&Path, mpsc::Receiver<&'static str>) + Send,
    ) {
        let folder = std::env::temp_dir().join(format!(
            "gantry-server-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        drop(std::fs::create_dir(&folder));
        let path = folder.join("socket");
        let (reports, received) = mpsc::channel();
        let mut router = Router::new();
        router.add(Method::GET, "/ping", ping as crate::app::Serve<Reports>);
        router.add(Method::POST, "/echo", echo);
        router.add(Method::POST, "/things/{}/wait", wait);
        router.add(Method::POST, "/things/{}/attach", attach);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("can build");
        std::thread::scope(|scope| {
            let (ready, started) = mpsc::channel();
            let (finish, finished) = tokio::sync::oneshot::channel::<()>();
            let server_path = path.clone();
            let server = scope.spawn(move || {
                runtime.block_on(async move {
                    let listener = match transport {
                        Transport::Unix => Listener::bind_unix(&server_path, 0o600, None),
                        Transport::Tcp(address) => Listener::bind_tcp(address).await,
                    };
                    let app = App {
                        router,
                        state: reports,
                        host_names: Vec::new(),
                    };
                    let server = start(app, vec![listener.expect("can bind")]);
                    ready.send(()).expect("test waits");
                    drop(finished.await);
                    server.shutdown(Duration::from_millis(100)).await;
                });
            });
            started.recv().expect("server started");
            client(&path, received);
            drop(finish);
            server.join().expect("server did not panic");
        });
        assert!(!path.exists(), "the socket's file was left");
        std::fs::remove_dir_all(&folder).expect("folder is ours");
    }

    fn ask(path: &Path, request: &str) -> String {
        let mut stream = UnixStream::connect(path).expect("server listens");
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .expect("is a socket");
        // A request that is too long is answered before it is read.
        let written = stream.write_all(request.as_bytes());
        assert!(written.is_ok() || request.len() > 1 << 20, "{written:?}");
        let mut answer = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut piece) {
            answer.extend_from_slice(&piece[..length]);
        }
        String::from_utf8(answer).expect("is text")
    }

    fn body(answer: &str) -> &str {
        answer.split_once("\r\n\r\n").expect("has a head").1
    }

    #[test]
    fn requests_are_answered_on_one_connection_with_dockers_headers() {
        check(|path, _| {
            let answer = ask(
                path,
                "GET /v1.43/ping HTTP/1.1\r\n\r\nGET /ping HTTP/1.1\r\nConnection: close\r\n\r\n",
            );
            assert_eq!(answer.matches("HTTP/1.1 200 OK\r\n").count(), 2, "{answer}");
            let answer = answer.to_lowercase();
            for header in [
                "api-version: 1.55\r\n",
                "ostype: linux\r\n",
                "docker-experimental: false\r\n",
                "date: ",
            ] {
                assert_eq!(answer.matches(header).count(), 2, "{header} in {answer}");
            }
        });
    }

    #[test]
    fn unknown_paths_methods_and_versions_are_refused_in_dockers_words() {
        check(|path, _| {
            let status = |line: &str| {
                let answer = ask(
                    path,
                    &format!("{line} HTTP/1.1\r\nConnection: close\r\n\r\n"),
                );
                (
                    answer[9..12].to_owned(),
                    body(&answer).trim_end().to_owned(),
                )
            };
            let not_found = (
                "404".to_owned(),
                r#"{"message":"page not found"}"#.to_owned(),
            );
            for line in [
                "GET /",
                "GET /nothing",
                "POST /ping",
                "OPTIONS /ping",
                "GET /v1.43/nothing",
                "GET /v9.99/nothing",
                "HEAD2 /ping",
            ] {
                assert_eq!(status(line), not_found, "{line}");
            }
            let (code, text) = status("GET /v1.99/ping");
            assert_eq!(
                (code.as_str(), text.as_str()),
                (
                    "400",
                    r#"{"message":"client version 1.99 is too new. Maximum supported API version is 1.55"}"#
                )
            );
            let (code, text) = status("GET /v1.5/ping");
            assert!(
                code == "400" && text.starts_with("client version 1.5 is too old."),
                "{text}"
            );
            assert_eq!(status("GET /a/../ping").0, "301");
            assert_eq!(status("GET /%zz").0, "400");
        });
    }

    #[test]
    fn json_bodies_are_checked_in_dockers_words() {
        check(|path, _| {
            let send = |kind: &str, text: &str| {
                let answer = ask(
                    path,
                    &format!(
                        "POST /echo HTTP/1.1\r\nConnection: close\r\n{kind}Content-Length: {}\r\n\r\n{text}",
                        text.len()
                    ),
                );
                (
                    answer[9..12].to_owned(),
                    body(&answer).trim_end().to_owned(),
                )
            };
            let refused = |text: &str| ("400".to_owned(), format!(r#"{{"message":"{text}"}}"#));
            let json = "Content-Type: application/json; charset=utf-8\r\n";
            assert_eq!(
                send(json, r#"{"a":1}"#),
                ("200".into(), r#"{"a":1}"#.into())
            );
            assert_eq!(send("", ""), ("200".into(), "null".into()));
            assert_eq!(
                send("", "{}"),
                refused("malformed Content-Type header (): mime: no media type")
            );
            assert_eq!(
                send("Content-Type: text/plain\r\n", "{}"),
                refused("unsupported Content-Type header (text/plain): must be 'application/json'")
            );
            assert_eq!(
                send(json, "{} {}"),
                refused("unexpected content after JSON")
            );
            assert_eq!(
                send(json, " "),
                refused("invalid JSON: got EOF while reading request body")
            );
            assert!(send(json, "{").1.contains("invalid JSON: "));
            assert_eq!(send(json, &format!("\"{}\"", "x".repeat(5 << 20))).0, "400");
        });
    }

    #[test]
    fn quotes_in_a_query_are_read_as_they_are() {
        check(|path, _| {
            let line = "GET /ping?filters={\"name\":[\"a\"]} HTTP/1.1\r\nConnection: close\r\n\r\n";
            assert!(ask(path, line).starts_with("HTTP/1.1 200 OK\r\n"));
            let attach = "POST /things/a/attach?a=\"b\" HTTP/1.1\r\n\r\n\"xyz\"";
            assert_eq!(
                ask_half_closed(path, attach),
                "HTTP/1.1 101 UPGRADED\r\n\r\n\"zyx\""
            );
        });
    }

    #[test]
    fn a_body_that_nobody_wanted_is_read_before_the_answer() {
        check(|path, _| {
            let mut stream = UnixStream::connect(path).expect("server listens");
            let head =
                "POST /echo HTTP/1.1\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n";
            stream.write_all(head.as_bytes()).expect("server reads");
            std::thread::sleep(Duration::from_millis(50));
            stream.write_all(&[b'x'; 1000]).expect("server still reads");
            stream
                .write_all(b"GET /ping HTTP/1.1\r\nConnection: close\r\n\r\n")
                .expect("server still reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("server answers");
            assert!(
                answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\"pong\"\n"),
                "{answer}"
            );
        });
    }

    #[test]
    fn a_long_body_that_nobody_wanted_does_not_keep_its_client_from_the_answer() {
        check(|path, _| {
            const BYTES: usize = 8 << 20;
            for (request, status) in [("POST /ping", "404"), ("POST /echo", "400")] {
                let mut stream = UnixStream::connect(path).expect("server listens");
                let head = format!(
                    "{request} HTTP/1.1\r\nConnection: close\r\nContent-Length: {BYTES}\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).expect("is written");
                let written = stream.write_all(&vec![b'x'; BYTES]);
                assert!(written.is_ok(), "{request}: {written:?}");
                let mut answer = String::new();
                stream.read_to_string(&mut answer).expect("an answer comes");
                assert_eq!(&answer[9..12], status, "{request}: {answer}");
            }
        });
    }

    #[test]
    fn a_connection_taken_over_keeps_what_was_read_ahead_and_its_half_close() {
        check(|path, _| {
            let mut stream = UnixStream::connect(path).expect("server listens");
            stream
                .write_all(b"POST /things/a/attach HTTP/1.1\r\nUpgrade: tcp\r\n\r\nabc")
                .expect("server reads");
            std::thread::sleep(Duration::from_millis(20));
            stream.write_all(b"def").expect("server reads");
            stream.shutdown(Shutdown::Write).expect("is connected");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("server answers");
            assert_eq!(answer, "HTTP/1.1 101 UPGRADED\r\n\r\nfedcba");
            // All at once, and closed before the server has read any of it.
            let answer = ask_half_closed(path, "POST /things/a/attach HTTP/1.1\r\n\r\nxyz");
            assert_eq!(answer, "HTTP/1.1 101 UPGRADED\r\n\r\nzyx");
        });
    }

    fn ask_half_closed(path: &Path, request: &str) -> String {
        let mut stream = UnixStream::connect(path).expect("server listens");
        stream.write_all(request.as_bytes()).expect("server reads");
        stream.shutdown(Shutdown::Write).expect("is connected");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("server answers");
        answer
    }

    #[test]
    fn a_tcp_client_is_taken_over_through_a_pair() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback is up");
        let address = free.local_addr().expect("is bound");
        drop(free);
        check_over(Transport::Tcp(address), |_, _| {
            let mut stream = std::net::TcpStream::connect(address).expect("server listens");
            let request = format!("POST /things/a/attach HTTP/1.1\r\nHost: {address}\r\n\r\nabc");
            stream.write_all(request.as_bytes()).expect("server reads");
            stream.shutdown(Shutdown::Write).expect("is connected");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("server answers");
            assert_eq!(answer, "HTTP/1.1 101 UPGRADED\r\n\r\ncba");
            let mut stream = std::net::TcpStream::connect(address).expect("server listens");
            stream
                .write_all(b"GET /ping HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n")
                .expect("server reads");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("server answers");
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
        });
    }

    #[test]
    fn a_handler_ends_when_its_client_is_gone_but_not_when_it_has_only_said_all() {
        check(|path, reports| {
            let mut stream = UnixStream::connect(path).expect("server listens");
            stream
                .write_all(b"POST /things/a/wait HTTP/1.1\r\n\r\n")
                .expect("server reads");
            stream.shutdown(Shutdown::Write).expect("is connected");
            assert!(
                reports.recv_timeout(Duration::from_millis(200)).is_err(),
                "a half-closed client was dropped"
            );
            drop(stream);
            assert_eq!(reports.recv_timeout(Duration::from_secs(10)), Ok("dropped"));
        });
    }

    #[test]
    fn a_stop_breaks_off_what_does_not_end() {
        check(|path, _| {
            let mut stream = UnixStream::connect(path).expect("server listens");
            stream
                .write_all(b"POST /things/a/wait HTTP/1.1\r\n\r\n")
                .expect("server reads");
            std::thread::sleep(Duration::from_millis(20));
            std::mem::forget(stream);
        });
    }
}
