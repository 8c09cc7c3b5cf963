//! gRPC as a user of tonic would build it who measures: one channel, bodies that no code generator
//! touches, no delay in TCP, windows and frames that bulk needs.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, BufMut, Bytes};
use futures_util::stream::{self, Stream, StreamExt};
use quicraft_certs::{Authority, IssuedNode};
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::client;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::{self, ClientStreamingService, UnaryService};
use tonic::transport::server::TcpIncoming;
use tonic::transport::{
    Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Server, ServerTlsConfig,
};
use tonic::{Request, Response, Status, Streaming};

use super::credentials::Nodes;
use super::{Caller, PeerFailure, REPLY, arrived};
use crate::pair::Failure;

const CALL: &str = "/quicraft.Bench/Call";
const TAKE: &str = "/quicraft.Bench/Take";

const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
/// Bytes of an HTTP/2 frame; the default of 16 KiB cuts a message of 1 MiB into 64.
const FRAME_BYTES_MAX: u32 = 1024 * 1024;
/// Calls at once; the default is 200.
const STREAMS_MAX: u32 = 4_096;

/// Bytes of a message; the default of 4 MiB refuses a large batch.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Bytes as they are. `reserve` is what a message takes, so that no buffer grows.
#[derive(Clone, Copy, Debug)]
struct Raw {
    reserve: usize,
}

/// Room for a small call and what frames it.
const SMALL: Raw = Raw { reserve: 512 };

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        into.put(item);
        Ok(())
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(self.reserve, 32 * 1024)
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(self.reserve, 32 * 1024)
    }
}

/// What every node answers with.
pub(crate) fn server(authority: &Authority, node: &IssuedNode) -> Result<Server, Failure> {
    // tonic asks the process for it; whoever was first has set the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(node.certificate_pem(), node.key_pem()))
        .client_ca_root(Certificate::from_pem(authority.root_pem()));
    Ok(Server::builder()
        .tls_config(tls)?
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAMS_MAX))
}

/// What a node asks another one through, which has this name in its certificate.
pub(crate) fn endpoint(
    authority: &Authority,
    node: &IssuedNode,
    address: SocketAddr,
    name: String,
) -> Result<Endpoint, Failure> {
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority.root_pem()))
        .identity(Identity::from_pem(node.certificate_pem(), node.key_pem()))
        .domain_name(name);
    Ok(Endpoint::from_shared(format!("https://{address}"))?
        .tls_config(tls)?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX))
}

// --- The node that answers ------------------------------------------------------------------------

#[derive(Clone, Copy, Debug)]
struct Answers;

impl UnaryService<Bytes> for Answers {
    type Response = Bytes;
    type Future = Ready<Result<Response<Bytes>, Status>>;

    fn call(&mut self, _: Request<Bytes>) -> Self::Future {
        ready(Ok(Response::new(REPLY)))
    }
}

impl ClientStreamingService<Bytes> for Answers {
    type Response = Bytes;
    type Future = BoxFuture<Response<Bytes>, Status>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(async move {
            let (mut messages, mut taken) = (request.into_inner(), 0_u64);
            while let Some(message) = messages.message().await? {
                taken += message.len() as u64;
            }
            let taken = Bytes::copy_from_slice(&taken.to_be_bytes());
            Ok(Response::new(taken))
        })
    }
}

/// What a code generator would write.
impl Service<http::Request<Body>> for Answers {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let answers = *self;
        match request.uri().path() {
            CALL => {
                Box::pin(async move { Ok(server::Grpc::new(SMALL).unary(answers, request).await) })
            }
            TAKE => Box::pin(async move {
                let mut grpc =
                    server::Grpc::new(SMALL).max_decoding_message_size(MESSAGE_BYTES_MAX);
                Ok(grpc.client_streaming(answers, request).await)
            }),
            path => {
                let status = Status::unimplemented(path.to_owned());
                Box::pin(async move { Ok(status.into_http()) })
            }
        }
    }
}

// --- The node that asks ---------------------------------------------------------------------------

/// A channel between the two nodes. Dropping it ends its tasks.
pub(crate) struct Tonic {
    channel: Channel,
    _tasks: JoinSet<()>,
}

impl Tonic {
    pub(crate) async fn start(nodes: &Nodes) -> Result<Self, Failure> {
        let incoming = TcpIncoming::bind((Ipv4Addr::LOCALHOST, 0).into())?.with_nodelay(Some(true));
        let address = incoming.local_addr()?;
        let server = server(&nodes.authority, &nodes.answers)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = server.serve_with_incoming(Answers, incoming).await {
                eprintln!("tonic: the node that answers: {error}");
            }
        });
        let channel = endpoint(&nodes.authority, &nodes.asks, address, Nodes::server_name())?
            .connect()
            .await?;
        Ok(Self {
            channel,
            _tasks: tasks,
        })
    }

    pub(crate) fn caller(&self) -> TonicCaller {
        TonicCaller(client::Grpc::new(self.channel.clone()))
    }
}

#[derive(Clone)]
pub(crate) struct TonicCaller(client::Grpc<Channel>);

impl Caller for TonicCaller {
    async fn call(&mut self, request: Bytes) -> Result<Bytes, PeerFailure> {
        self.0.ready().await?;
        let path = PathAndQuery::from_static(CALL);
        let reply = self.0.unary(Request::new(request), path, SMALL).await?;
        Ok(reply.into_inner())
    }
}

impl TonicCaller {
    /// Sends `count` messages in one call, each in memory of its own, and waits until the other end has
    /// all of them.
    pub(crate) async fn bulk(&self, message: Bytes, count: u64) -> Result<(), PeerFailure> {
        let (sent, size) = (message.len() as u64 * count, message.len());
        let read = move || Bytes::copy_from_slice(&message);
        let messages = stream::repeat_with(read).take(usize::try_from(count)?);
        arrived(sent, &self.stream(size, messages).await?)
    }

    /// Sends batches in one call until it is told to stop. Returns the bytes that the other end had.
    pub(crate) async fn append(
        &self,
        batch: Bytes,
        stop: Arc<AtomicBool>,
    ) -> Result<u64, PeerFailure> {
        let size = batch.len();
        let mut first = true;
        // One at least, so that there is a rate.
        let goes_on =
            move |_: &Bytes| ready(std::mem::take(&mut first) || !stop.load(Ordering::Relaxed));
        let told = self.stream(size, stream::repeat(batch).take_while(goes_on));
        Ok(u64::from_be_bytes(told.await?.as_ref().try_into()?))
    }

    async fn stream(
        &self,
        size: usize,
        messages: impl Stream<Item = Bytes> + Send + 'static,
    ) -> Result<Bytes, PeerFailure> {
        // Beside the message the five bytes that gRPC puts before it.
        let codec = Raw { reserve: size + 5 };
        let mut grpc = self.0.clone();
        grpc.ready().await?;
        let path = PathAndQuery::from_static(TAKE);
        let told = grpc.client_streaming(Request::new(messages), path, codec);
        Ok(told.await?.into_inner())
    }
}
