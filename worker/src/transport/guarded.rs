//! A connection that was let in: it has to begin as one of ours does, and soon.
//!
//! Owns: the first bytes of a connection, which show whether it can be HTTP/2 or TLS at all. Leaves to others: everything
//! behind them (the library), how many connections there may be ([`super::door`]).

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::door::{Door, Entered};

/// What HTTP/2 begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The type of the record that TLS begins with.
const HANDSHAKE: &[u8] = &[22];

/// A connection of another worker, or of who knows whom.
pub(super) struct Guarded {
    stream: TcpStream,
    opening: Option<Opening>,
    _entered: Entered,
}

/// What has to come yet.
struct Opening {
    expected: &'static [u8],
    deadline: Pin<Box<Sleep>>,
    door: Arc<Door>,
}

impl Guarded {
    /// Lets a connection in; `None` if there are too many.
    pub(super) fn new(stream: TcpStream, door: &Arc<Door>, is_tls: bool) -> Option<Self> {
        let entered = door.enter_connection()?;
        let opening = Opening {
            expected: if is_tls { HANDSHAKE } else { PREFACE },
            // tidy: allow(sleep) the deadline of a connection
            deadline: Box::pin(sleep(door.patience())),
            door: Arc::clone(door),
        };
        Some(Self {
            stream,
            opening: Some(opening),
            _entered: entered,
        })
    }

    /// Where it comes from, if that is still known.
    pub(super) fn from(&self) -> Option<SocketAddr> {
        self.stream.peer_addr().ok()
    }
}

impl Opening {
    /// Whether what came is what has to come, and whether that is all.
    fn takes(&mut self, bytes: &[u8]) -> Result<bool> {
        let (now, later) = self.expected.split_at(bytes.len().min(self.expected.len()));
        if !bytes.starts_with(now) {
            self.door.count_connection();
            return Err(Error::new(
                ErrorKind::InvalidData,
                "a connection does not begin as one of a worker",
            ));
        }
        self.expected = later;
        Ok(later.is_empty())
    }
}

impl AsyncRead for Guarded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        if let Some(opening) = &mut this.opening
            && opening.deadline.as_mut().poll(context).is_ready()
        {
            opening.door.count_connection();
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        }
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        if let Some(opening) = &mut this.opening
            && opening.takes(&buffer.filled()[before..])?
        {
            this.opening = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
