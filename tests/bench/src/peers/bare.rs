//! The same frames as ours over quinn and nothing else, with the best settings that we know: the
//! ceiling. No admission, no deadlines, no budgets, no counters.

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use quicraft_certs::{client_config, server_config, server_name};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::udp::{RecvMeta, Transmit, UdpSocketState};
use quinn::{
    AckFrequencyConfig, AsyncUdpSocket, Endpoint, EndpointConfig, MtuDiscoveryConfig, RecvStream,
    Runtime, SendStream, TokioRuntime, TransportConfig, UdpPoller, VarInt,
};
use tokio::io::AsyncReadExt;
use tokio::task::JoinSet;

use super::credentials::Nodes;
use super::framed::{FramedCaller, Pending, Queue, queue, replies};
use super::frames::Incoming;
use super::{PeerFailure, REPLY, arrived};
use crate::pair::Failure;

/// As long as Quicraft's.
const HEADER: usize = 32;

const READ_BYTES: usize = 64 * 1024;
const SOCKET_BUFFER_BYTES: usize = 4 * 1024 * 1024;
const LINK_WINDOW_BYTES: u32 = 32 * 1024 * 1024;
const STREAM_WINDOW_BYTES: u32 = 8 * 1024 * 1024;
const INITIAL_WINDOW_BYTES: u64 = 128 * 1024;

/// What a UDP datagram can hold; a send with segmentation offload is one until it is cut.
const UDP_PAYLOAD_BYTES_MAX: usize = 65_507;

/// A connection between the two nodes. Dropping it ends its tasks.
pub(crate) struct Bare {
    caller: FramedCaller,
    connection: quinn::Connection,
    _endpoints: [Endpoint; 2],
    _tasks: JoinSet<()>,
}

impl Bare {
    /// Connects with datagrams of at most `datagram_bytes_max` where the path allows it.
    pub(crate) async fn start(nodes: &Nodes, datagram_bytes_max: u16) -> Result<Self, Failure> {
        let (asks, answers) = (nodes.store(&nodes.asks)?, nodes.store(&nodes.answers)?);
        let transport = Arc::new(settings(datagram_bytes_max));
        let tls = QuicServerConfig::try_from(server_config(&answers)?)?;
        let mut server = quinn::ServerConfig::with_crypto(Arc::new(tls));
        server.transport_config(Arc::clone(&transport));
        let accepting = endpoint(Some(server), datagram_bytes_max)?;
        let tls = QuicClientConfig::try_from(client_config(&asks)?)?;
        let mut client = quinn::ClientConfig::new(Arc::new(tls));
        client.transport_config(transport);
        let dialling = endpoint(None, datagram_bytes_max)?;
        let identity = answers.identity();
        let name = server_name(identity.cluster(), identity.node());
        let (name, address) = (name.to_str(), accepting.local_addr()?);
        let dialled = dialling.connect_with(client, address, &name)?;
        let accepted = async {
            accepting
                .accept()
                .await
                .ok_or("no connection")?
                .await
                .map_err(Failure::from)
        };
        let dialled = async { dialled.await.map_err(Failure::from) };
        let (connection, accepted) = tokio::try_join!(dialled, accepted)?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { report("answers", serve(accepted).await) });
        let pending = Pending::default();
        let (caller, queue) = queue(&pending);
        let (to_server, from_server) = connection.open_bi().await?;
        let ends = pending.clone();
        tasks.spawn(async move {
            let ended = tokio::select! {
                ended = write(queue, to_server) => ended,
                ended = read(&ends, from_server) => ended,
            };
            ends.close();
            report("asks", ended);
        });
        Ok(Self {
            caller,
            connection,
            _endpoints: [dialling, accepting],
            _tasks: tasks,
        })
    }

    pub(crate) fn caller(&self) -> FramedCaller {
        self.caller.clone()
    }
}

/// What was fastest, of all that quinn lets one set.
fn settings(datagram_bytes_max: u16) -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .receive_window(VarInt::from_u32(LINK_WINDOW_BYTES))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .send_window(u64::from(LINK_WINDOW_BYTES))
        .initial_rtt(Duration::from_millis(50))
        .keep_alive_interval(Some(Duration::from_millis(500)))
        .datagram_receive_buffer_size(None)
        .allow_spin(false);
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(datagram_bytes_max);
    transport.mtu_discovery_config(Some(discovery));
    let mut frequency = AckFrequencyConfig::default();
    frequency.ack_eliciting_threshold(VarInt::from_u32(10));
    transport.ack_frequency_config(Some(frequency));
    let mut cubic = quinn::congestion::CubicConfig::default();
    cubic.initial_window(INITIAL_WINDOW_BYTES);
    transport.congestion_controller_factory(Arc::new(cubic));
    transport
}

fn endpoint(
    server: Option<quinn::ServerConfig>,
    datagram_bytes_max: u16,
) -> Result<Endpoint, Failure> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let state = UdpSocketState::new((&socket).into())?;
    state.set_send_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES)?;
    state.set_recv_buffer_size((&socket).into(), SOCKET_BUFFER_BYTES)?;
    let inner = TokioRuntime.wrap_udp_socket(socket)?;
    let fitting = UDP_PAYLOAD_BYTES_MAX / usize::from(datagram_bytes_max);
    let segments_max = inner.max_transmit_segments().min(fitting).max(1);
    let capped = Capped {
        inner,
        segments_max,
    };
    let (mut config, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
    // A node takes 1,472 bytes unless it says more, and the other end looks for no larger size.
    let taken = datagram_bytes_max.max(1_472);
    config.max_udp_payload_size(taken)?;
    let endpoint = Endpoint::new_with_abstract_socket(config, server, Arc::new(capped), runtime)?;
    Ok(endpoint)
}

fn report(who: &str, ended: Result<(), PeerFailure>) {
    if let Err(error) = ended {
        eprintln!("bare quinn: the node that {who}: {error}");
    }
}

async fn write(mut queue: Queue, mut stream: SendStream) -> Result<(), PeerFailure> {
    while let Some(batch) = queue.gather::<HEADER>().await {
        stream.write_chunk(batch.joined.freeze()).await?;
        if let Some(bulk) = batch.bulk {
            stream.write_chunk(bulk).await?;
        }
    }
    Ok(())
}

async fn read(pending: &Pending, mut stream: RecvStream) -> Result<(), PeerFailure> {
    let mut incoming = Incoming::<HEADER>::default();
    loop {
        incoming.buffer.reserve(READ_BYTES);
        if stream.read_buf(&mut incoming.buffer).await? == 0 {
            return Ok(());
        }
        pending.answer(&mut incoming)?;
    }
}

/// The first stream carries calls, each later one bulk.
async fn serve(connection: quinn::Connection) -> Result<(), PeerFailure> {
    let (send, recv) = connection.accept_bi().await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(serve_calls(send, recv));
    loop {
        tokio::select! {
            opened = connection.accept_bi() => {
                let (send, recv) = opened?;
                tasks.spawn(discard(send, recv));
            }
            Some(ended) = tasks.join_next() => ended??,
        }
    }
}

/// Answers in the task that reads.
async fn serve_calls(mut send: SendStream, mut recv: RecvStream) -> Result<(), PeerFailure> {
    let mut incoming = Incoming::<HEADER>::default();
    let mut answers = BytesMut::new();
    loop {
        incoming.buffer.reserve(READ_BYTES);
        if recv.read_buf(&mut incoming.buffer).await? == 0 {
            return Ok(());
        }
        replies(&mut incoming, &REPLY, &mut answers)?;
        if !answers.is_empty() {
            send.write_chunk(answers.split().freeze()).await?;
        }
    }
}

// --- Bulk -----------------------------------------------------------------------------------------

/// Chunks that one read takes at most.
const READ_CHUNKS: usize = 64;

impl Bare {
    /// Sends `count` chunks on a stream of their own, and waits until the other end has all of them.
    pub(crate) async fn bulk(&self, chunk: Bytes, count: u64) -> Result<(), PeerFailure> {
        let (mut send, mut recv) = self.connection.open_bi().await?;
        for _ in 0..count {
            send.write_chunk(chunk.clone()).await?;
        }
        send.finish()?;
        let told = recv.read_to_end(8).await?;
        arrived(chunk.len() as u64 * count, &told)
    }

    /// The largest datagram that the path has taken so far.
    pub(crate) fn datagram_bytes(&self) -> u16 {
        self.connection.stats().path.current_mtu
    }
}

async fn discard(mut send: SendStream, mut recv: RecvStream) -> Result<(), PeerFailure> {
    let mut chunks = [const { Bytes::new() }; READ_CHUNKS];
    let mut taken = 0_u64;
    while let Some(count) = recv.read_chunks(&mut chunks).await? {
        for chunk in &mut chunks[..count] {
            taken += std::mem::take(chunk).len() as u64;
        }
    }
    send.write_all(&taken.to_be_bytes()).await?;
    send.finish()?;
    Ok(())
}

// --- The socket -----------------------------------------------------------------------------------

/// A socket that never sends more at once than one UDP payload can hold: above that each large send
/// fails, and quinn takes the path for one that drops large packets.
#[derive(Debug)]
struct Capped {
    inner: Arc<dyn AsyncUdpSocket>,
    segments_max: usize,
}

impl AsyncUdpSocket for Capped {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.segments_max
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
