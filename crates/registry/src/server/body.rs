//! Bodies of responses: nothing, a few bytes, or a part of a file that is read as fast as the client takes it.

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use std::fs::File;
use std::future::Future as _;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// What the server answers with.
pub(crate) type Response = hyper::Response<Body>;

/// One read of a file. Two of them are held for each client that downloads.
pub(crate) const CHUNK_BYTES: u64 = 128 << 10;

/// A response's body.
pub(crate) enum Body {
    Empty,
    Full(Bytes),
    File(FileBody),
    /// Chunks from a task, which have this length together.
    Channel(tokio::sync::mpsc::Receiver<io::Result<Bytes>>, u64),
}

/// A part of a file. The next chunk is read while the last one is sent.
pub(crate) struct FileBody {
    file: Arc<File>,
    next: u64,
    end: u64,
    reading: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Body {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::Full(bytes.into())
    }
    /// The bytes from `start` to before `end`.
    pub(crate) fn file(file: File, start: u64, end: u64) -> Self {
        Self::File(FileBody {
            file: Arc::new(file),
            next: start,
            end,
            reading: None,
        })
    }
}

impl FileBody {
    fn begin_read(&mut self) {
        let start = self.next;
        let length = (self.end - start).min(CHUNK_BYTES);
        if length == 0 {
            return;
        }
        self.next += length;
        let file = self.file.clone();
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let length = usize::try_from(length).map_err(io::Error::other)?;
            let mut chunk = vec![0; length];
            file.read_exact_at(&mut chunk, start)?;
            Ok(chunk.into())
        }));
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if self.reading.is_none() {
            self.begin_read();
        }
        let Some(reading) = &mut self.reading else {
            return Poll::Ready(None);
        };
        let chunk = ready!(Pin::new(reading).poll(context)).map_err(io::Error::other);
        self.reading = None;
        let chunk = chunk.flatten();
        if chunk.is_ok() {
            self.begin_read();
        } else {
            self.next = self.end;
        }
        Poll::Ready(Some(chunk))
    }

    fn remaining(&self) -> u64 {
        self.end - self.next + u64::from(self.reading.is_some())
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let chunk = match self.get_mut() {
            Self::Empty => None,
            body @ Self::Full(_) => {
                let Self::Full(bytes) = std::mem::replace(body, Self::Empty) else {
                    return Poll::Ready(None);
                };
                (!bytes.is_empty()).then_some(Ok(bytes))
            }
            Self::File(file) => ready!(file.poll(context)),
            Self::Channel(chunks, _) => ready!(chunks.poll_recv(context)),
        };
        Poll::Ready(chunk.map(|chunk| chunk.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::File(file) => file.remaining() == 0,
            Self::Channel(..) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            // Asked for before the first read only.
            Self::File(file) if file.reading.is_none() => {
                SizeHint::with_exact(file.end - file.next)
            }
            Self::Channel(_, length) => SizeHint::with_exact(*length),
            Self::File(_) => SizeHint::new(),
        }
    }
}
