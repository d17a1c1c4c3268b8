//! The streams between two workers, over gRPC.
//!
//! Owns: how a stream is opened and served, connections, their windows. Leaves to others: what goes over it
//! ([`super::outgoing`], [`super::incoming`]), which therefore run over other streams, too: over those of a simulation.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

use super::MAX_MESSAGE;
use super::guarded::Guarded;
use super::incoming::Incoming;
use super::proto::workers_client::WorkersClient;
use super::proto::workers_server::{Workers, WorkersServer};
use super::proto::{DataMessage, DataReply, LinkMessage, LinkReply, StatePart, StateRequest};
use super::secured::Secured;
use super::tls::{self, Identity};

const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;
/// Streams of one connection. A worker opens one.
const STREAMS_OF_A_CONNECTION: u32 = 4;

/// What the other end of a stream answers.
pub(crate) type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
/// A stream that is being opened.
pub(crate) type Opening<T> = Pin<Box<dyn Future<Output = Result<Replies<T>, String>> + Send>>;

/// Opens streams to other workers.
pub(crate) trait Dial: Send + Sync {
    /// Opens a link, on a connection of its own. An error says why there is none.
    fn link(&self, to: SocketAddr, messages: mpsc::Receiver<LinkMessage>) -> Opening<LinkReply>;
    /// Opens a stream for data; see [`Dial::link`].
    fn data(&self, to: SocketAddr, messages: mpsc::Receiver<DataMessage>) -> Opening<DataReply>;
    /// Asks for a state, in the clear if the other one knows nothing else; see [`Dial::link`].
    fn state(&self, to: SocketAddr, is_plain: bool, request: StateRequest) -> Opening<StatePart>;
}

/// Opens streams over gRPC.
pub(super) struct Grpc {
    pub(super) identity: Option<Arc<Identity>>,
}

impl Dial for Grpc {
    fn link(&self, to: SocketAddr, messages: mpsc::Receiver<LinkMessage>) -> Opening<LinkReply> {
        let identity = self.identity.clone();
        Box::pin(async move {
            let mut client = client(to, identity).await?;
            let replies = client.link(ReceiverStream::new(messages)).await;
            Ok(Box::pin(replies.map_err(|status| refused(&status))?.into_inner()) as _)
        })
    }

    fn data(&self, to: SocketAddr, messages: mpsc::Receiver<DataMessage>) -> Opening<DataReply> {
        let identity = self.identity.clone();
        Box::pin(async move {
            let mut client = client(to, identity).await?;
            let replies = client.data(ReceiverStream::new(messages)).await;
            Ok(Box::pin(replies.map_err(|status| refused(&status))?.into_inner()) as _)
        })
    }

    fn state(&self, to: SocketAddr, is_plain: bool, request: StateRequest) -> Opening<StatePart> {
        let identity = self.identity.clone().filter(|_| !is_plain);
        Box::pin(async move {
            let mut client = client(to, identity).await?;
            let parts = client.state(request).await;
            let described = |status: Status| format!("{}: {}", status.code(), status.message());
            Ok(Box::pin(parts.map_err(described)?.into_inner()) as _)
        })
    }
}

async fn client(
    address: SocketAddr,
    identity: Option<Arc<Identity>>,
) -> Result<WorkersClient<Channel>, String> {
    let scheme = if identity.is_some() { "https" } else { "http" };
    let endpoint =
        Endpoint::from_shared(format!("{scheme}://{address}")).map_err(|error| error.to_string())?;
    let mut endpoint = endpoint
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .tcp_nodelay(true)
        .connect_timeout(Duration::from_secs(2));
    if let Some(identity) = identity {
        let tls = identity.now().client.clone();
        endpoint = endpoint.tls_config(tls).map_err(|error| error.to_string())?;
    }
    let channel = endpoint.connect().await.map_err(|error| {
        if let Some(fault) = tls::fault(&error) {
            tracing::warn!(%address, reason = %fault, "no connection to a worker: the two do not take each other's certificates");
        }
        crate::worker::chain(&error)
    })?;
    Ok(WorkersClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE))
}

/// Why a peer ended a stream or refused it, in words.
pub(super) fn refused(status: &Status) -> String {
    if status.code() == tonic::Code::FailedPrecondition {
        tracing::warn!(reason = status.message(), "a worker refuses to talk");
    }
    format!("{}: {}", status.code(), status.message())
}

/// A server that waits for its port.
pub(super) fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(1 << 20)
        .max_concurrent_streams(Some(STREAMS_OF_A_CONNECTION))
        .http2_keepalive_interval(Some(Duration::from_secs(5)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
}

/// Serves streams until the listener fails.
pub(super) async fn serve(
    mut server: Server,
    listener: TcpListener,
    incoming: Arc<Incoming>,
    identity: Option<Arc<Identity>>,
) {
    let door = Arc::clone(&incoming.door);
    let service = WorkersServer::new(Service { incoming })
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    // Credit is small and must not wait for the peer's delayed acknowledgement.
    let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
    let connections = connections.filter_map(move |connection| match connection {
        Ok(connection) => {
            let connection = Guarded::new(connection, &door, identity.is_some())?;
            Some(Ok(Secured::new(connection, identity.as_deref(), &door)))
        }
        Err(error) => Some(Err(error)),
    });
    let serving = server.add_service(service).serve_with_incoming(connections);
    if let Err(error) = serving.await {
        tracing::error!(%error, "the transport stopped serving");
    }
}

/// The gRPC service.
struct Service {
    incoming: Arc<Incoming>,
}

#[tonic::async_trait]
impl Workers for Service {
    type DataStream = Replies<DataReply>;
    type LinkStream = Replies<LinkReply>;
    type StateStream = Replies<StatePart>;

    async fn data(
        &self,
        request: Request<Streaming<DataMessage>>,
    ) -> Result<Response<Self::DataStream>, Status> {
        let incoming = Arc::clone(&self.incoming);
        incoming.data(request.into_inner()).await.map(Response::new)
    }

    async fn link(
        &self,
        request: Request<Streaming<LinkMessage>>,
    ) -> Result<Response<Self::LinkStream>, Status> {
        let incoming = Arc::clone(&self.incoming);
        incoming.link(request.into_inner()).await.map(Response::new)
    }

    async fn state(&self, request: Request<StateRequest>) -> Result<Response<Self::StateStream>, Status> {
        self.incoming.state(&request.into_inner()).map(Response::new)
    }
}
