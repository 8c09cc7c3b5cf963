//! The three messages after TLS, from both ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use quicraft_certs::{NodeId, PeerCertificate};
use quinn::{RecvStream, SendStream};
use tokio::time::{Instant, timeout};

use super::adopt::{adopt, start};
use super::connection::OwnCertificate;
use super::failure::{HandshakeFailure, bad_hello, refusal, wait_text};
use super::local::{LocalNode, lock};
use super::peer_state::PeerState;
use super::{probe, quic};
use crate::admission::{Candidate, Learned, PeerFacts, Rank, screen};
use crate::close::{CloseClass, CloseCode};
use crate::frame::{
    Confirm, HANDSHAKE_PREFIX_BYTES, Hello, Introduction, Lane, PROTOCOL_VERSION, Welcome,
    handshake_length,
};
use crate::life::LifeEvent;
use crate::limits::PROBE_LIMIT_MAX;

/// A connection whose TLS is done and whose peer is not proven yet.
pub(crate) struct Unproven {
    pub(crate) quic: quinn::Connection,
    pub(crate) certificate: PeerCertificate,
    pub(crate) begun: Begun,
}

/// What was true when a handshake began.
#[derive(Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) at: Instant,
    /// The certificate of ours that the peer is shown. Credentials that are replaced in between may
    /// be shown already; then the link is renewed once more than it has to.
    pub(crate) own_certificate: OwnCertificate,
}

impl Begun {
    pub(crate) fn now(local: &LocalNode) -> Self {
        Self {
            at: Instant::now(),
            own_certificate: local.own_certificate(),
        }
    }
}

impl Unproven {
    /// Reads the peer's certificate, which TLS has verified.
    pub(crate) fn new(quic: quinn::Connection, begun: Begun) -> Result<Self, HandshakeFailure> {
        let certificate = quic::peer_certificate(&quic)
            .map_err(|error| refusal(CloseCode::Untrusted, error.to_string()))?;
        Ok(Self {
            quic,
            certificate,
            begun,
        })
    }

    fn facts<'a>(
        &self,
        introduction: &'a Introduction,
        addressed: NodeId,
        wanted: Option<NodeId>,
        versions: (u16, u16),
    ) -> PeerFacts<'a> {
        PeerFacts {
            certified: self.certificate.identity().node(),
            key_hash: self.certificate.key_hash(),
            addressed,
            wanted,
            versions,
            introduction,
        }
    }
}

fn introduce(local: &LocalNode, generation: u64) -> Introduction {
    let facts = local.facts();
    Introduction {
        cluster: facts.cluster,
        cluster_uid: facts.cluster_uid,
        from: local.node,
        boot: local.boot,
        epoch: local.epoch,
        generation,
        features: 0,
        codec: facts.codec,
        raft_wire: facts.raft_wire,
        frame_bytes_max: u32::try_from(local.config.frame_bytes_max).unwrap_or(u32::MAX),
        entry_bytes_max: u32::try_from(local.config.entry_bytes_max).unwrap_or(u32::MAX),
    }
}

/// The dialer's side, from TLS to an adopted link. On a refusal the peer is told the code.
pub(crate) async fn dial_side(
    local: &Arc<LocalNode>,
    peer: &Arc<PeerState>,
    unproven: Unproven,
    generation: u64,
) -> Result<(), HandshakeFailure> {
    let quic = unproven.quic.clone();
    let result = dial_messages(local, peer, unproven, generation).await;
    let result = result.map_err(|failure| failure.unless_forged(&quic));
    close_refused(&quic, &result);
    result
}

async fn dial_messages(
    local: &Arc<LocalNode>,
    peer: &Arc<PeerState>,
    unproven: Unproven,
    generation: u64,
) -> Result<(), HandshakeFailure> {
    let quic = unproven.quic.clone();
    let limit = local.config.hello_limit;
    let opened = timeout(limit, quic.open_bi()).await;
    let (mut send, mut recv) = opened
        .map_err(|_| refusal(CloseCode::HelloTimeout, "no stream for the hello"))?
        .map_err(|error| HandshakeFailure::ended(&error))?;
    drop(send.set_priority(Lane::Control.priority()));
    let hello = Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        to: peer.node,
        introduction: introduce(local, generation),
    };
    // H5: each message has its limit.
    write(&quic, &mut send, hello.encode(), limit).await?;
    // The acceptor may have to probe an incumbent before it answers.
    let probed = limit + PROBE_LIMIT_MAX;
    let fields = read(&quic, &mut recv, Welcome::KIND, probed).await?;
    let welcome = Welcome::decode(&fields).map_err(|error| bad_hello(&error))?;
    let said = &welcome.introduction;
    let versions = (welcome.version, welcome.version);
    let facts = unproven.facts(said, welcome.you, Some(peer.node), versions);
    let proven = screen(
        &local.facts(),
        &facts,
        local.roster.standing(facts.certified),
    )?;
    let candidate = candidate(local, said, generation, true);
    probe::judge(local, peer, &candidate).await?;
    // H6: the dialer adopts at Welcome, the acceptor at Confirm.
    let link = adopt(local, peer, unproven, proven, candidate, said, true)?;
    let mut confirmed = send;
    let confirm = Confirm::new(generation).encode();
    if let Err(error) = write(&quic, &mut confirmed, confirm, limit).await {
        link.link.close(CloseCode::ProtocolError, "");
        return Err(error);
    }
    start(link, confirmed, recv);
    Ok(())
}

/// The acceptor's side, from TLS to an adopted link. On a refusal the peer is told the code.
pub(crate) async fn accept_side(
    local: &Arc<LocalNode>,
    unproven: Unproven,
) -> Result<(), HandshakeFailure> {
    let quic = unproven.quic.clone();
    let certified = unproven.certificate.identity().node();
    let result = accept_messages(local, unproven).await;
    match &result {
        Err(HandshakeFailure::Refused(refusal)) => {
            let address = quic.remote_address();
            match local.known_peer(certified) {
                Some(peer) => peer.was_refused(local, address, refusal),
                None => local.events.refused(certified, address, refusal),
            }
        }
        // It was let in, and then refused us. Its own dials are told the code in turn.
        Err(HandshakeFailure::ByPeer { code, .. }) => {
            if let Some(peer) = local.known_peer(certified) {
                peer.refused_us(local, *code);
            }
        }
        Err(HandshakeFailure::Certificate(_) | HandshakeFailure::Lost { .. }) | Ok(()) => {}
    }
    close_refused(&quic, &result);
    result
}

async fn accept_messages(
    local: &Arc<LocalNode>,
    unproven: Unproven,
) -> Result<(), HandshakeFailure> {
    let quic = unproven.quic.clone();
    let limit = local.config.hello_limit;
    let accepted = timeout(limit, quic.accept_bi()).await;
    let (mut send, mut recv) = accepted
        .map_err(|_| refusal(CloseCode::HelloTimeout, "no stream for the hello"))?
        .map_err(|error| HandshakeFailure::ended(&error))?;
    drop(send.set_priority(Lane::Control.priority()));
    let fields = read(&quic, &mut recv, Hello::KIND, limit).await?;
    let hello = Hello::decode(&fields).map_err(|error| bad_hello(&error))?;
    let said = &hello.introduction;
    let versions = (hello.version_min, hello.version_max);
    let facts = unproven.facts(said, hello.to, None, versions);
    let proven = screen(
        &local.facts(),
        &facts,
        local.roster.standing(facts.certified),
    )?;
    let peer = local.peer(proven.node());
    let generation = said.generation;
    peer.handshakes.fetch_add(1, Ordering::Relaxed);
    let _approach = Approach::new(local, &peer);
    lock(&peer.life).observe(said.boot, generation);
    let candidate = candidate(local, said, generation, false);
    let judged = tokio::select! {
        judged = probe::judge(local, &peer, &candidate) => judged,
        // A newcomer that hangs up ends its own probe.
        error = quic.closed() => return Err(HandshakeFailure::ended(&error)),
    };
    judged?;
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        you: proven.node(),
        introduction: introduce(local, generation),
    };
    write(&quic, &mut send, welcome.encode(), limit).await?;
    let fields = read(&quic, &mut recv, Confirm::KIND, limit).await?;
    let confirm = Confirm::decode(&fields).map_err(|error| bad_hello(&error))?;
    if confirm.generation != generation {
        return Err(refusal(
            CloseCode::BadHello,
            "the confirm is of another hello",
        ));
    }
    let link = adopt(local, &peer, unproven, proven, candidate, said, false)?;
    local.found(peer.node, Learned::Linked, [quic.remote_address()]);
    start(link, send, recv);
    Ok(())
}

/// Tells the peer's life that a dial of the peer is near, until it has ended.
struct Approach<'a> {
    local: &'a Arc<LocalNode>,
    peer: Arc<PeerState>,
}

impl<'a> Approach<'a> {
    fn new(local: &'a Arc<LocalNode>, peer: &Arc<PeerState>) -> Self {
        peer.feed(local, LifeEvent::Approached);
        let peer = Arc::clone(peer);
        Self { local, peer }
    }
}

impl Drop for Approach<'_> {
    fn drop(&mut self) {
        self.peer.feed(self.local, LifeEvent::Receded);
    }
}

fn candidate(local: &LocalNode, said: &Introduction, generation: u64, dialled: bool) -> Candidate {
    let dialer_is_smaller = dialled == (local.node < said.from);
    Candidate {
        connection: local.next_connection(),
        boot: said.boot,
        epoch: said.epoch,
        rank: Rank {
            generation,
            dialer_is_smaller,
        },
    }
}

fn close_refused(quic: &quinn::Connection, result: &Result<(), HandshakeFailure>) {
    if let Err(HandshakeFailure::Refused(refusal)) = result {
        // C4: a coarse text.
        // The code is exact, so that both operators see it; the words stay here.
        let text = match refusal.code.class() {
            CloseClass::RetryAfter => wait_text(refusal.retry_after),
            CloseClass::Retry | CloseClass::Fatal => String::new(),
        };
        quic.close(refusal.code.varint(), text.as_bytes());
    }
}

async fn write(
    quic: &quinn::Connection,
    send: &mut SendStream,
    message: BytesMut,
    limit: Duration,
) -> Result<(), HandshakeFailure> {
    match timeout(limit, send.write_all(&message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(HandshakeFailure::broken(quic, &error)),
        Err(_) => Err(refusal(
            CloseCode::HelloTimeout,
            "a handshake message could not be sent",
        )),
    }
}

/// Reads one message: its prefix, then, once its length is known to be allowed, the rest.
async fn read(
    quic: &quinn::Connection,
    recv: &mut RecvStream,
    kind: u8,
    limit: Duration,
) -> Result<Vec<u8>, HandshakeFailure> {
    let reading = async {
        let mut prefix = [0; HANDSHAKE_PREFIX_BYTES];
        let broken = |error| HandshakeFailure::broken(quic, &error);
        recv.read_exact(&mut prefix).await.map_err(broken)?;
        let size = handshake_length(prefix, kind).map_err(|error| bad_hello(&error))?;
        let mut fields = vec![0; size];
        recv.read_exact(&mut fields).await.map_err(broken)?;
        Ok(fields)
    };
    match timeout(limit, reading).await {
        Ok(result) => result,
        Err(_) => Err(refusal(
            CloseCode::HelloTimeout,
            "a handshake message did not come",
        )),
    }
}
