//! Where clients connect: Unix sockets, TCP, and sockets inherited from a service starter. Knows nothing of HTTP.

use bytes::Bytes;
use gantry_base::{Context as _, Error, Result};
use rustix::net::sockopt::set_socket_send_buffer_size_force;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

/// A socket on which clients connect.
#[derive(Debug)]
pub enum Listener {
    /// A Unix socket, and the file to remove at the end.
    Unix(UnixListener, Option<SocketFile>),
    /// TCP.
    Tcp(TcpListener),
}

/// A socket's file. Removed when dropped, unless another socket has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|m| m.ino() == self.inode);
        if ours {
            // Somebody may remove it between the two; then it is gone as wanted.
            drop(std::fs::remove_file(&self.path));
        }
    }
}

impl Listener {
    /// A Unix socket at `path` with permission bits `mode` and, if given, a group.
    ///
    /// The file appears with its final owner and mode. One that a dead daemon left is replaced; one that is served is an error.
    pub fn bind_unix(path: &Path, mode: u32, group: Option<u32>) -> Result<Self> {
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            let text = format!(
                "cannot listen on {}: address already in use",
                path.display()
            );
            return Err(Error::internal(text));
        }
        let what = || format!("cannot listen on {}", path.display());
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}", std::process::id()));
        let new = path.with_file_name(name);
        drop(std::fs::remove_file(&new));
        let listener = StdUnixListener::bind(&new).with_context(what)?;
        let place = || -> io::Result<u64> {
            std::os::unix::fs::chown(&new, None, group)?;
            std::fs::set_permissions(&new, std::fs::Permissions::from_mode(mode))?;
            std::fs::rename(&new, path)?;
            Ok(std::fs::symlink_metadata(path)?.ino())
        };
        let inode = place()
            .inspect_err(|_| drop(std::fs::remove_file(&new)))
            .with_context(what)?;
        listener.set_nonblocking(true).with_context(what)?;
        let listener = UnixListener::from_std(listener).with_context(what)?;
        Ok(Self::Unix(
            listener,
            Some(SocketFile {
                path: path.to_owned(),
                inode,
            }),
        ))
    }

    /// TCP on `address`.
    pub async fn bind_tcp(address: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind(address).await;
        listener
            .map(Self::Tcp)
            .with_context(|| format!("cannot listen on tcp://{address}"))
    }

    /// A listening socket that the process was started with.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let family = rustix::net::getsockname(fd.as_fd())
            .map_err(io::Error::from)
            .context("cannot use an inherited socket")?
            .address_family();
        let what = "cannot use an inherited socket";
        if family == rustix::net::AddressFamily::UNIX {
            let listener = StdUnixListener::from(fd);
            listener.set_nonblocking(true).context(what)?;
            return Ok(Self::Unix(
                UnixListener::from_std(listener).context(what)?,
                None,
            ));
        }
        let listener = std::net::TcpListener::from(fd);
        listener.set_nonblocking(true).context(what)?;
        TcpListener::from_std(listener).map(Self::Tcp).context(what)
    }

    /// Where it listens, for the log: `unix:///run/gantry.sock`, `tcp://127.0.0.1:2375`.
    pub fn address(&self) -> String {
        match self {
            Self::Unix(listener, _) => {
                let address = listener.local_addr().ok();
                let path = address
                    .as_ref()
                    .and_then(|a| a.as_pathname())
                    .unwrap_or(Path::new(""));
                match self {
                    Self::Unix(_, Some(file)) => format!("unix://{}", file.path.display()),
                    _ => format!("unix://{}", path.display()),
                }
            }
            Self::Tcp(listener) => listener.local_addr().map_or_else(
                |_| "tcp://".to_owned(),
                |address| format!("tcp://{address}"),
            ),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Stream> {
        let socket = match self {
            Self::Unix(listener, _) => {
                let stream = listener.accept().await?.0;
                // Only root may have it so large; others send in smaller steps.
                let _ = set_socket_send_buffer_size_force(&stream, SEND_BYTES);
                Socket::Unix(stream)
            }
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Socket::Tcp(stream)
            }
        };
        Ok(Stream {
            prefix: Bytes::new(),
            socket,
        })
    }
}

/// What a Unix socket holds for its client. The usual 200 KiB wake client and server for every piece of an archive.
const SEND_BYTES: usize = 512 << 10;

/// A client's connection.
#[derive(Debug)]
pub(crate) struct Stream {
    /// Read before anything from the socket.
    pub(crate) prefix: Bytes,
    pub(crate) socket: Socket,
}

/// A connected socket.
#[derive(Debug)]
pub(crate) enum Socket {
    Unix(UnixStream),
    Tcp(TcpStream),
}

/// How far ahead a request line is looked at.
const REQUEST_LINE_MAX: usize = 16 * 1024;

impl Stream {
    /// Waits for the first request, and encodes quotes in its query, which clients send as they are and the HTTP parser refuses.
    pub(crate) async fn mend_request_line(&mut self) -> io::Result<()> {
        let mut line = vec![0; REQUEST_LINE_MAX];
        let length = match &self.socket {
            Socket::Unix(socket) => {
                let peek = || peek(socket.as_fd(), &mut line);
                socket.async_io(Interest::READABLE, peek).await?
            }
            Socket::Tcp(socket) => socket.peek(&mut line).await?,
        };
        let end = line[..length].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.filter(|end| line[..*end].contains(&b'"')) else {
            return Ok(());
        };
        // What was looked at is in the socket's buffer, so that reading it does not wait.
        self.read_exact(&mut line[..=end]).await?;
        let mut mended = Vec::with_capacity(end + 64);
        for byte in &line[..=end] {
            match byte {
                b'"' => mended.extend_from_slice(b"%22"),
                byte => mended.push(*byte),
            }
        }
        self.prefix = mended.into();
        Ok(())
    }
}

fn peek(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    let (length, _) = rustix::net::recv(socket, buffer, rustix::net::RecvFlags::PEEK)?;
    Ok(length)
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.prefix.is_empty() {
            let length = buffer.remaining().min(this.prefix.len());
            buffer.put_slice(&this.prefix.split_to(length));
            return Poll::Ready(Ok(()));
        }
        match &mut this.socket {
            Socket::Unix(socket) => Pin::new(socket).poll_read(context, buffer),
            Socket::Tcp(socket) => Pin::new(socket).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write(context, bytes),
            Socket::Tcp(socket) => Pin::new(socket).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Unix(socket) => Pin::new(socket).poll_flush(context),
            Socket::Tcp(socket) => Pin::new(socket).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Unix(socket) => Pin::new(socket).poll_shutdown(context),
            Socket::Tcp(socket) => Pin::new(socket).poll_shutdown(context),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.get_mut().socket {
            Socket::Unix(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
            Socket::Tcp(socket) => Pin::new(socket).poll_write_vectored(context, pieces),
        }
    }
}
