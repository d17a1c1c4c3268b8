//! A connection as the gRPC server reads it: in the clear, or within TLS.
//!
//! Owns: the handshake of a caller, its deadline, what is said of one that fails. Leaves to others: what is checked
//! ([`super::tls`]), the first bytes and how many connections there may be ([`super::guarded`]).

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{Accept, TlsAcceptor};
use tonic::transport::server::Connected;

use super::door::Door;
use super::guarded::Guarded;
use super::tls::{self, Identity};

/// A connection of another worker, or of who knows whom.
pub(super) enum Secured {
    Plain(Guarded),
    Opening(Box<Opening>),
    Open(Box<TlsStream<Guarded>>),
    /// The handshake failed.
    Over,
}

/// A handshake on its way.
pub(super) struct Opening {
    accept: Accept<Guarded>,
    deadline: Pin<Box<Sleep>>,
    from: Option<SocketAddr>,
    door: Arc<Door>,
}

impl Secured {
    /// A connection that begins now.
    pub(super) fn new(connection: Guarded, identity: Option<&Identity>, door: &Arc<Door>) -> Self {
        let Some(identity) = identity else {
            return Self::Plain(connection);
        };
        let from = connection.from();
        Self::Opening(Box::new(Opening {
            accept: TlsAcceptor::from(Arc::clone(&identity.now().server)).accept(connection),
            // tidy: allow(sleep) the deadline of a handshake
            deadline: Box::pin(sleep(door.patience())),
            from,
            door: Arc::clone(door),
        }))
    }

    /// Gets on with the handshake. Ready when there is none any more.
    fn poll_open(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let opening = match self {
            Self::Opening(opening) => opening,
            Self::Over => return Poll::Ready(Err(ErrorKind::NotConnected.into())),
            Self::Plain(_) | Self::Open(_) => return Poll::Ready(Ok(())),
        };
        let outcome = match Pin::new(&mut opening.accept).poll(context) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending if opening.deadline.as_mut().poll(context).is_ready() => {
                opening.door.count_connection();
                Err(ErrorKind::TimedOut.into())
            }
            Poll::Pending => return Poll::Pending,
        };
        match outcome {
            Ok(stream) => {
                *self = Self::Open(Box::new(stream));
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                opening.tell(&error);
                *self = Self::Over;
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Opening {
    /// Says why there is no connection, where somebody is to be told. One that breaks off is nobody's fault.
    fn tell(&self, error: &Error) {
        let from = self.from.map(tracing::field::display);
        match tls::fault(error) {
            Some(rustls::Error::AlertReceived(alert)) => {
                tracing::warn!(from, ?alert, "a caller does not take this worker's certificate");
            }
            Some(fault) => {
                self.door.count_connection();
                tracing::warn!(from, reason = %fault, "refused a connection: the caller does not show that it is of this topology");
            }
            None => tracing::debug!(from, %error, "a connection ended before it was secured"),
        }
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        ready!(self.poll_open(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Open(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Opening(_) | Self::Over => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Secured {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        ready!(self.poll_open(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Open(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Opening(_) | Self::Over => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Open(stream) => Pin::new(stream).poll_flush(context),
            // Nothing was written yet.
            Self::Opening(_) | Self::Over => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Open(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Opening(_) | Self::Over => Poll::Ready(Ok(())),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        ready!(self.poll_open(context))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Self::Open(stream) => Pin::new(stream).poll_write_vectored(context, bytes),
            Self::Opening(_) | Self::Over => Poll::Ready(Err(ErrorKind::NotConnected.into())),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Opening(_) | Self::Open(_) | Self::Over => true,
        }
    }
}

impl Connected for Secured {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
