//! What a request carries: nothing, bytes, or a stream of unknown length.

use bytes::{Bytes, BytesMut};
use hyper::body::Frame;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, ReadBuf};

const CHUNK_BYTES: usize = 64 * 1024;

/// The body of a request.
pub enum Body {
    /// None.
    Empty,
    /// All of it, with a known length.
    Full(Bytes),
    /// Read as it is sent, in chunks.
    Stream(Pin<Box<dyn AsyncRead + Send>>),
}

impl Body {
    /// A body that is read from `reader` while it is sent.
    pub fn from_reader(reader: impl AsyncRead + Send + 'static) -> Self {
        Self::Stream(Box::pin(reader))
    }
    pub(super) fn is_streamed(&self) -> bool {
        matches!(self, Self::Stream(_))
    }
    /// The same body once more, where it can be sent twice.
    pub(super) fn duplicate(&self) -> Option<Self> {
        match self {
            Self::Empty => Some(Self::Empty),
            Self::Full(bytes) => Some(Self::Full(bytes.clone())),
            Self::Stream(_) => None,
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        let this = self.get_mut();
        match this {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *this = Self::Empty;
                if bytes.is_empty() {
                    Poll::Ready(None)
                } else {
                    Poll::Ready(Some(Ok(Frame::data(bytes))))
                }
            }
            Self::Stream(reader) => {
                let mut chunk = BytesMut::zeroed(CHUNK_BYTES);
                let mut buffer = ReadBuf::new(&mut chunk);
                match reader.as_mut().poll_read(context, &mut buffer) {
                    Poll::Pending => Poll::Pending,
                    Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
                    Poll::Ready(Ok(())) => {
                        let filled = buffer.filled().len();
                        if filled == 0 {
                            return Poll::Ready(None);
                        }
                        chunk.truncate(filled);
                        Poll::Ready(Some(Ok(Frame::data(chunk.freeze()))))
                    }
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(bytes) => bytes.is_empty(),
            Self::Stream(_) => false,
        }
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Empty => hyper::body::SizeHint::with_exact(0),
            Self::Full(bytes) => hyper::body::SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(_) => hyper::body::SizeHint::default(),
        }
    }
}
