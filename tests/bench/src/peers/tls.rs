//! Frames over TLS over TCP on one connection: what an expert writes who wants no framework.

use std::sync::Arc;

use bytes::BytesMut;
use quicraft_certs::{client_config, server_config, server_name};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, ReadHalf, WriteHalf, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::credentials::Nodes;
use super::framed::{FramedCaller, Pending, Queue, queue, replies};
use super::frames::Incoming;
use super::{PeerFailure, REPLY};
use crate::pair::Failure;

/// Length, kind and id, nothing else.
const HEADER: usize = 16;

/// Room for what one read may bring.
const READ_BYTES: usize = 64 * 1024;

/// rustls reads 4 KiB at a time; without this each of them is a system call.
type Stream = TlsStream<BufReader<TcpStream>>;

/// A connection between the two nodes. Dropping it ends its tasks.
pub(crate) struct Tls {
    caller: FramedCaller,
    _tasks: JoinSet<()>,
}

impl Tls {
    pub(crate) async fn start(nodes: &Nodes) -> Result<Self, Failure> {
        let (asks, answers) = (nodes.store(&nodes.asks)?, nodes.store(&nodes.answers)?);
        let connector = TlsConnector::from(Arc::new(client_config(&asks)?));
        let acceptor = TlsAcceptor::from(Arc::new(server_config(&answers)?));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let name = server_name(answers.identity().cluster(), answers.identity().node());
        let dialling = async {
            let tcp = buffered(TcpStream::connect(address).await?)?;
            Ok::<_, Failure>(connector.connect(name, tcp).await?)
        };
        let accepting = async {
            let tcp = buffered(listener.accept().await?.0)?;
            Ok::<_, Failure>(acceptor.accept(tcp).await?)
        };
        let (dialled, accepted) = tokio::try_join!(dialling, accepting)?;
        let pending = Pending::default();
        let (caller, queue) = queue(&pending);
        let (from_server, to_server) = split(TlsStream::from(dialled));
        let mut tasks = JoinSet::new();
        let ends = pending.clone();
        tasks.spawn(async move {
            let ended = tokio::select! {
                ended = write(queue, to_server) => ended,
                ended = read(&ends, from_server) => ended,
            };
            ends.close();
            report("asks", ended);
        });
        tasks.spawn(async move { report("answers", serve(TlsStream::from(accepted)).await) });
        Ok(Self {
            caller,
            _tasks: tasks,
        })
    }

    pub(crate) fn caller(&self) -> FramedCaller {
        self.caller.clone()
    }
}

fn buffered(tcp: TcpStream) -> Result<BufReader<TcpStream>, Failure> {
    tcp.set_nodelay(true)?;
    Ok(BufReader::with_capacity(READ_BYTES, tcp))
}

fn report(who: &str, ended: Result<(), PeerFailure>) {
    if let Err(error) = ended {
        eprintln!("TLS over TCP: the node that {who}: {error}");
    }
}

async fn write(mut queue: Queue, mut stream: WriteHalf<Stream>) -> Result<(), PeerFailure> {
    while let Some(batch) = queue.gather::<HEADER>().await {
        stream.write_all(&batch.joined).await?;
        if let Some(bulk) = batch.bulk {
            stream.write_all(&bulk).await?;
        }
        stream.flush().await?;
    }
    Ok(())
}

async fn read(pending: &Pending, mut stream: ReadHalf<Stream>) -> Result<(), PeerFailure> {
    let mut incoming = Incoming::<HEADER>::default();
    loop {
        incoming.buffer.reserve(READ_BYTES);
        if stream.read_buf(&mut incoming.buffer).await? == 0 {
            return Ok(());
        }
        pending.answer(&mut incoming)?;
    }
}

/// Answers in the task that reads.
async fn serve(mut stream: Stream) -> Result<(), PeerFailure> {
    let mut incoming = Incoming::<HEADER>::default();
    let mut answers = BytesMut::new();
    loop {
        incoming.buffer.reserve(READ_BYTES);
        if stream.read_buf(&mut incoming.buffer).await? == 0 {
            return Ok(());
        }
        replies(&mut incoming, &REPLY, &mut answers)?;
        send(&mut stream, &mut answers).await?;
    }
}

async fn send(
    stream: &mut (impl AsyncWrite + Unpin),
    bytes: &mut BytesMut,
) -> Result<(), PeerFailure> {
    if bytes.is_empty() {
        return Ok(());
    }
    stream.write_all(bytes).await?;
    stream.flush().await?;
    bytes.clear();
    Ok(())
}
