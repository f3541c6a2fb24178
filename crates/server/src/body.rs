//! Bodies of answers, and the two crossings between bodies and synchronous code: a body read by a blocking thread, and a blocking
//! thread that writes one. Both hold a bounded number of pieces, so neither side runs ahead of the other.

use crate::hijack::BoxFuture;
use crate::request::Received;
use bytes::Bytes;
use gantry_engine::image::types::{ArchiveSink, Piece};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Pieces in flight between a body and a blocking thread.
const PIECES_MAX: usize = 16;
/// How much a writer gathers before it hands on a piece.
const PIECE_BYTES: usize = 128 * 1024;

/// The body of an answer.
pub(crate) enum Body {
    /// Nothing.
    Empty,
    /// A whole document.
    Full(Bytes),
    /// Pieces, sent as they come. An error breaks the connection, so that the client sees that the answer is not whole.
    Stream(Box<Streaming>),
}

/// The way into a body that is sent in pieces.
pub(crate) type Pieces = mpsc::Sender<io::Result<Bytes>>;

/// A bounded channel for pieces.
pub(crate) fn pieces() -> (Pieces, mpsc::Receiver<io::Result<Bytes>>) {
    mpsc::channel(PIECES_MAX)
}

/// A body that is sent in pieces.
pub(crate) struct Streaming {
    first: Option<io::Result<Bytes>>,
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    driver: Option<BoxFuture<()>>,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Body {
    /// A body whose pieces `drive` sends. It runs while the client takes the answer, and is dropped with it.
    pub(crate) fn driven<F>(drive: impl FnOnce(Pieces) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, pieces) = pieces();
        Self::continued(None, pieces, drive(sender))
    }

    /// A body whose `first` piece was waited for already, as an error before it has a status of its own.
    pub(crate) fn continued(
        first: Option<io::Result<Bytes>>,
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        driver: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let driver: Option<BoxFuture<()>> = Some(Box::pin(driver));
        Self::Stream(Box::new(Streaming {
            first,
            pieces,
            driver,
            stop: None,
        }))
    }

    /// The same body, ended when the server stops.
    #[must_use]
    pub(crate) fn until(mut self, stop: &CancellationToken) -> Self {
        if let Self::Stream(streaming) = &mut self {
            streaming.stop = Some(Box::pin(stop.clone().cancelled_owned()));
        }
        self
    }
}

impl Streaming {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if let Some(stop) = &mut self.stop
            && stop.as_mut().poll(context).is_ready()
        {
            return Poll::Ready(None);
        }
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(context).is_ready()
        {
            self.driver = None;
        }
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first.map(Frame::data)));
        }
        self.pieces
            .poll_recv(context)
            .map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(streaming) => streaming.poll(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => SizeHint::default(),
        }
    }
}

/// A request's body for a blocking thread. The second part moves the bytes and must be polled beside the work.
pub(crate) fn reader(body: Option<Received>) -> (BodyReader, impl Future<Output = ()>) {
    let (sender, pieces) = mpsc::channel(PIECES_MAX);
    (
        BodyReader {
            pieces,
            current: Bytes::new(),
        },
        pump(body, sender),
    )
}

async fn pump(body: Option<Received>, sender: mpsc::Sender<io::Result<Bytes>>) {
    let Some(mut body) = body else { return };
    while let Some(frame) = body.frame().await {
        let piece = match frame {
            Ok(frame) => match frame.into_data() {
                Ok(bytes) => Ok(bytes),
                Err(_) => continue,
            },
            Err(error) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, error)),
        };
        let failed = piece.is_err();
        if sender.send(piece).await.is_err() || failed {
            return;
        }
    }
}

/// See [`reader`].
#[derive(Debug)]
pub(crate) struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
}

impl io::Read for BodyReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.current.len());
        buffer[..length].copy_from_slice(&self.current.split_to(length));
        Ok(length)
    }
}

/// The answer's body as a blocking thread writes it. What is left is sent when it is dropped.
#[derive(Debug)]
pub(crate) struct BodyWriter {
    sender: Pieces,
    gathered: Vec<u8>,
}

impl BodyWriter {
    /// A writer into a channel of [`pieces`].
    pub(crate) fn new(sender: Pieces) -> Self {
        Self {
            sender,
            gathered: Vec::new(),
        }
    }

    fn send(&self, piece: Bytes) -> io::Result<()> {
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the client is gone");
        self.sender.blocking_send(Ok(piece)).map_err(gone)
    }
}

impl Drop for BodyWriter {
    fn drop(&mut self) {
        // A client that is gone wants no rest.
        let _ = io::Write::flush(self);
    }
}

impl io::Write for BodyWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.gathered.capacity() == 0 {
            self.gathered.reserve(PIECE_BYTES);
        }
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.gathered));
        self.send(piece)
    }
}

impl ArchiveSink for BodyWriter {
    fn write_piece(&mut self, piece: &Piece) -> io::Result<()> {
        io::Write::flush(self)?;
        self.send(Bytes::from_owner(piece.clone()))
    }
}

/// Runs the work, and the pump for as long as it takes.
pub(crate) async fn beside<T>(pump: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
    tokio::pin!(pump, work);
    tokio::select! {
        result = &mut work => result,
        () = &mut pump => work.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    #[test]
    fn a_written_body_arrives_whole_and_in_pieces() {
        let (sender, mut pieces) = mpsc::channel(PIECES_MAX);
        let writer = std::thread::spawn(move || {
            let mut writer = BodyWriter::new(sender);
            for _ in 0..1000 {
                writer.write_all(&[7; 1000]).expect("the reader is there");
            }
        });
        let mut total = 0;
        while let Some(piece) = pieces.blocking_recv() {
            let length = piece.expect("no error was sent").len();
            assert!(length <= PIECE_BYTES + 1000);
            total += length;
        }
        writer.join().expect("did not panic");
        assert_eq!(total, 1_000_000);
    }

    #[tokio::test]
    async fn a_driven_body_ends_with_its_driver_or_with_the_server() {
        let body = Body::driven(|pieces| async move {
            for text in ["a", "b"] {
                pieces
                    .send(Ok(Bytes::from(text)))
                    .await
                    .expect("body is read");
            }
        });
        assert_eq!(body.collect().await.expect("is whole").to_bytes(), "ab");
        let stop = CancellationToken::new();
        let endless = Body::driven(|pieces| async move {
            pieces
                .send(Ok(Bytes::from_static(b"c")))
                .await
                .expect("body is read");
            std::future::pending::<()>().await;
        });
        let mut endless = endless.until(&stop);
        let first = endless.frame().await.expect("has one").expect("is data");
        assert_eq!(first.into_data().expect("is data"), "c");
        stop.cancel();
        assert!(endless.frame().await.is_none());
    }

    #[test]
    fn a_reader_sees_the_end_and_errors() {
        let (sender, pieces) = mpsc::channel(4);
        let mut reader = BodyReader {
            pieces,
            current: Bytes::new(),
        };
        sender
            .try_send(Ok(Bytes::from_static(b"ab")))
            .expect("has room");
        sender.try_send(Ok(Bytes::new())).expect("has room");
        sender
            .try_send(Err(io::ErrorKind::UnexpectedEof.into()))
            .expect("has room");
        drop(sender);
        let mut text = String::new();
        let error = reader
            .read_to_string(&mut text)
            .expect_err("an error was sent");
        assert_eq!(
            (text.as_str(), error.kind()),
            ("ab", io::ErrorKind::UnexpectedEof)
        );
    }
}
