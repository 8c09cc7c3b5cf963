//! The three messages after TLS, from both ends, and the step that makes a connection the link.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use quicraft_certs::{NodeId, PeerCertificate};
use quinn::{RecvStream, SendStream};
use tokio::time::{Instant, timeout};

use super::connection::{Connection, Settled, close_code, describe, forget};
use super::control::{ControlLane, read_loop, write_loop};
use super::local::{LocalNode, lock};
use super::peer::PeerState;
use super::serve::accept_streams;
use super::stats::LinkState;
use super::{probe, quic};
use crate::admission::{AdmissionRefusal, Candidate, PeerFacts, ProvenNode, Rank, Verdict, screen};
use crate::close::{CloseClass, CloseCode};
use crate::event::Event;
use crate::frame::{
    Confirm, HANDSHAKE_PREFIX_BYTES, HandshakeError, Hello, Introduction, Lane, PROTOCOL_VERSION,
    Welcome, handshake_length,
};
use crate::limits::{HELLO_LIMIT, PROBE_LIMIT_MAX};

/// How a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeFailure {
    /// We refuse the peer.
    #[error("refused: {0}")]
    Refused(#[from] AdmissionRefusal),
    /// The peer refused us with a code.
    #[error("the peer refused us: {0}")]
    ByPeer(CloseCode),
    /// The connection ended without a code of ours; anyone on the path may have forged that.
    #[error("{text}")]
    Lost {
        /// In words.
        text: String,
        /// Whether TLS or the transport was refused, rather than lost.
        refused: bool,
    },
}

impl HandshakeFailure {
    /// What the dialer does about it.
    pub(crate) fn class(&self) -> CloseClass {
        match self {
            // Our own verdict about who answered at an address: it may be another node tomorrow.
            Self::Refused(refusal) => match refusal.code.class() {
                CloseClass::Fatal | CloseClass::RetryAfter => CloseClass::RetryAfter,
                CloseClass::Retry => CloseClass::Retry,
            },
            Self::ByPeer(code) => code.class(),
            Self::Lost { refused: true, .. } => CloseClass::RetryAfter,
            Self::Lost { refused: false, .. } => CloseClass::Retry,
        }
    }

    fn lost(connection: &quinn::Connection, otherwise: &dyn std::fmt::Display) -> Self {
        match connection.close_reason() {
            Some(error) => Self::ended(&error),
            None => Self::Lost {
                text: otherwise.to_string(),
                refused: false,
            },
        }
    }

    pub(crate) fn ended(error: &quinn::ConnectionError) -> Self {
        if let Some(code) = close_code(error) {
            return Self::ByPeer(code);
        }
        let refused = match error {
            // A node that stops or has no room refuses so; it is worth an ordinary retry.
            quinn::ConnectionError::ConnectionClosed(close) => {
                close.error_code != quinn::TransportErrorCode::CONNECTION_REFUSED
            }
            quinn::ConnectionError::TransportError(_) | quinn::ConnectionError::VersionMismatch => {
                true
            }
            quinn::ConnectionError::ApplicationClosed(_)
            | quinn::ConnectionError::Reset
            | quinn::ConnectionError::TimedOut
            | quinn::ConnectionError::LocallyClosed
            | quinn::ConnectionError::CidsExhausted => false,
        };
        Self::Lost {
            text: describe(error),
            refused,
        }
    }
}

fn refusal(code: CloseCode, detail: impl Into<String>) -> HandshakeFailure {
    HandshakeFailure::Refused(AdmissionRefusal::new(code, detail))
}

/// A message that does not decode.
fn bad_hello(error: &HandshakeError) -> HandshakeFailure {
    refusal(CloseCode::BadHello, error.to_string())
}

/// A connection whose TLS is done and whose peer is not proven yet.
pub(crate) struct Unproven {
    pub(crate) quic: quinn::Connection,
    pub(crate) certificate: PeerCertificate,
    pub(crate) started: Instant,
}

impl Unproven {
    /// Reads the peer's certificate, which TLS has verified.
    pub(crate) fn new(quic: quinn::Connection, started: Instant) -> Result<Self, HandshakeFailure> {
        let certificate = quic::peer_certificate(&quic)
            .map_err(|error| refusal(CloseCode::Untrusted, error.to_string()))?;
        Ok(Self {
            quic,
            certificate,
            started,
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
    let opened = timeout(HELLO_LIMIT, quic.open_bi()).await;
    let (mut send, mut recv) = opened
        .map_err(|_| HandshakeFailure::lost(&quic, &"no stream for the hello"))?
        .map_err(|error| HandshakeFailure::ended(&error))?;
    drop(send.set_priority(Lane::Control.priority()));
    let hello = Hello {
        version_min: PROTOCOL_VERSION,
        version_max: PROTOCOL_VERSION,
        to: peer.node,
        introduction: introduce(local, generation),
    };
    write(&quic, &mut send, hello.encode()).await?;
    // H5: each message has its limit.
    // The acceptor may have to probe an incumbent before it answers.
    let limit = HELLO_LIMIT + PROBE_LIMIT_MAX;
    let fields = read(&quic, &mut recv, Welcome::KIND, limit).await?;
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
    probe::judge(peer, &candidate).await?;
    // H6: the dialer adopts at Welcome, the acceptor at Confirm.
    let link = adopt(local, peer, unproven, proven, candidate, said, true)?;
    let mut confirmed = send;
    let confirm = Confirm::new(generation).encode();
    if let Err(error) = write(&quic, &mut confirmed, confirm).await {
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
    if let Err(HandshakeFailure::Refused(refusal)) = &result {
        let (code, detail) = (refusal.code, refusal.detail.clone());
        let address = quic.remote_address();
        if code == CloseCode::DuplicateNode {
            local.events.raise(Event::DuplicateNode {
                peer: certified,
                newcomer: address,
            });
        }
        local.events.raise(Event::Refused {
            peer: certified,
            address,
            code,
            detail,
        });
    }
    close_refused(&quic, &result);
    result
}

async fn accept_messages(
    local: &Arc<LocalNode>,
    unproven: Unproven,
) -> Result<(), HandshakeFailure> {
    let quic = unproven.quic.clone();
    let accepted = timeout(HELLO_LIMIT, quic.accept_bi()).await;
    let (mut send, mut recv) = accepted
        .map_err(|_| refusal(CloseCode::HelloTimeout, "no stream for the hello"))?
        .map_err(|error| HandshakeFailure::ended(&error))?;
    drop(send.set_priority(Lane::Control.priority()));
    let fields = read(&quic, &mut recv, Hello::KIND, HELLO_LIMIT).await?;
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
    lock(&peer.record).observe(said.boot, generation);
    let candidate = candidate(local, said, generation, false);
    let judged = tokio::select! {
        judged = probe::judge(&peer, &candidate) => judged,
        // A newcomer that hangs up ends its own probe.
        error = quic.closed() => return Err(HandshakeFailure::ended(&error)),
    };
    judged?;
    let welcome = Welcome {
        version: PROTOCOL_VERSION,
        you: proven.node(),
        introduction: introduce(local, generation),
    };
    write(&quic, &mut send, welcome.encode()).await?;
    let fields = read(&quic, &mut recv, Confirm::KIND, HELLO_LIMIT).await?;
    let confirm = Confirm::decode(&fields).map_err(|error| bad_hello(&error))?;
    if confirm.generation != generation {
        return Err(refusal(
            CloseCode::BadHello,
            "the confirm is of another hello",
        ));
    }
    let link = adopt(local, &peer, unproven, proven, candidate, said, false)?;
    start(link, send, recv);
    Ok(())
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
        let wait = refusal.retry_after.as_millis();
        let text = match refusal.code.class() {
            CloseClass::RetryAfter => format!("retry_after_ms={wait}"),
            CloseClass::Retry | CloseClass::Fatal => String::new(),
        };
        quic.close(refusal.code.varint(), text.as_bytes());
    }
}

async fn write(
    quic: &quinn::Connection,
    send: &mut SendStream,
    message: BytesMut,
) -> Result<(), HandshakeFailure> {
    match timeout(HELLO_LIMIT, send.write_all(&message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(HandshakeFailure::lost(quic, &error)),
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
        let broken = |error| HandshakeFailure::lost(quic, &error);
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

/// A connection that was adopted and whose tasks do not run yet.
struct Adopted {
    link: Arc<Connection>,
    queue: super::control::ControlQueue,
}

/// Makes a judged connection the link, under the lock of the peer's record.
fn adopt(
    local: &Arc<LocalNode>,
    peer: &Arc<PeerState>,
    unproven: Unproven,
    proven: ProvenNode,
    candidate: Candidate,
    said: &Introduction,
    dialled: bool,
) -> Result<Adopted, HandshakeFailure> {
    let now = Instant::now();
    let absent_since = lock(&peer.lost_at).unwrap_or(local.started);
    let settled = Settled {
        proven,
        candidate,
        dialled,
        frame_bytes_max: local
            .config
            .frame_bytes_max
            .min(said.frame_bytes_max as usize),
        entry_bytes_max: local
            .config
            .entry_bytes_max
            .min(said.entry_bytes_max as usize),
        certificate: unproven.certificate,
        handshake: now - unproven.started,
        established_in: now - absent_since,
    };
    let (control, queue) = ControlLane::new();
    let link = Connection::new(
        Arc::clone(local),
        Arc::clone(peer),
        unproven.quic.clone(),
        settled,
        control,
    );
    let mut record = lock(&peer.record);
    if local.stop.is_cancelled() {
        return Err(refusal(CloseCode::Shutdown, "this node stops"));
    }
    match record.judge(&candidate, now) {
        Verdict::Admit => {}
        Verdict::Refuse(refusal) => return Err(refusal.into()),
        Verdict::Probe { .. } => {
            // Another boot was adopted since this one was judged; it comes back and is probed for.
            drop(record.probe_ended(crate::admission::ProbeOutcome::Answered, now));
            return Err(refusal(CloseCode::Busy, "another boot came first"));
        }
    }
    let previous = record.adopt(&candidate);
    let overflow = record.overflow();
    let previous = {
        let mut connections = lock(&peer.connections);
        let previous = connections
            .iter()
            .find(|known| Some(known.id()) == previous)
            .cloned();
        if let Some(known) = connections
            .iter()
            .find(|known| Some(known.id()) == overflow)
        {
            known.close(CloseCode::Retired, "too many connections drain");
        }
        connections.push(Arc::clone(&link));
        previous
    };
    if let Some(previous) = previous {
        previous.drain();
    }
    peer.count_live();
    peer.link.store(Some(Arc::clone(&link)));
    drop(record);
    // From here on somebody counts it off again, whatever becomes of the handshake.
    drop(local.spawn(watch_end(Arc::clone(&link))));
    quic::open_windows(&unproven.quic);
    Ok(Adopted { link, queue })
}

/// Starts the tasks of an adopted connection; each ends with it.
fn start(adopted: Adopted, send: SendStream, recv: RecvStream) {
    let Adopted { link, queue } = adopted;
    let (local, peer) = (Arc::clone(&link.local), Arc::clone(&link.peer));
    *lock(&peer.address) = Some(link.address());
    peer.enter(LinkState::Up);
    // Whoever waits for this event finds the state that it tells of.
    local.events.raise(Event::LinkUp {
        peer: peer.node,
        address: link.address(),
        dialled: link.dialled(),
        boot: link.boot(),
        took: link.handshake(),
    });
    drop(local.spawn(write_loop(Arc::clone(&link), queue, send)));
    drop(local.spawn(read_loop(Arc::clone(&link), recv)));
    drop(local.spawn(accept_streams(link)));
}

/// Waits for the end of a connection and tells everybody who has to know.
async fn watch_end(link: Arc<Connection>) {
    let error = link.quic.closed().await;
    link.leave_live();
    link.control.fail_all();
    let (peer, local) = (&link.peer, &link.local);
    let was_link = lock(&peer.record).lost(link.id());
    forget(&peer.connections, link.id());
    let same = |current: &Option<Arc<Connection>>| {
        current
            .as_ref()
            .is_some_and(|current| current.id() == link.id())
    };
    if same(&peer.link.load_full()) {
        peer.link
            .rcu(|current| if same(current) { None } else { current.clone() });
    }
    let reason = describe(&error);
    peer.problem(&reason);
    let code = close_code(&error);
    if was_link || peer.link.load().is_none() {
        *lock(&peer.lost_at) = Some(Instant::now());
        if peer.link.load().is_none() {
            // A node that dials is about to try; one that is dialled has to wait for the peer.
            let dials = local.node < peer.node && local.roster.get(peer.node).is_some();
            let fatal = code.is_some_and(|code| code.class() == CloseClass::Fatal);
            match code {
                Some(code) if fatal && dials => peer.park(code, &local.events),
                _ if dials && !local.is_closing() => peer.enter(LinkState::Dialling),
                _ => peer.enter(LinkState::Down(reason.clone())),
            }
        }
        peer.redial.notify_one();
    }
    if peer.live.load(Ordering::Acquire) == 0 {
        let address = link.address();
        local.events.raise(Event::LinkDown {
            peer: peer.node,
            address,
            reason,
            code,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quinn::{ConnectionClose, ConnectionError, TransportErrorCode};

    fn class(error_code: TransportErrorCode) -> CloseClass {
        let close = ConnectionClose {
            error_code,
            frame_type: None,
            reason: bytes::Bytes::new(),
        };
        HandshakeFailure::ended(&ConnectionError::ConnectionClosed(close)).class()
    }

    /// What anyone on the path can forge never parks a peer.
    #[test]
    fn transport_errors_are_at_most_retry_after() {
        assert_eq!(
            class(TransportErrorCode::CONNECTION_REFUSED),
            CloseClass::Retry
        );
        assert_eq!(
            class(TransportErrorCode::crypto(49)),
            CloseClass::RetryAfter
        );
        assert_eq!(
            class(TransportErrorCode::PROTOCOL_VIOLATION),
            CloseClass::RetryAfter
        );
        let lost = |error| HandshakeFailure::ended(&error).class();
        assert_eq!(lost(ConnectionError::Reset), CloseClass::Retry);
        assert_eq!(lost(ConnectionError::TimedOut), CloseClass::Retry);
        assert_eq!(
            lost(ConnectionError::VersionMismatch),
            CloseClass::RetryAfter
        );
    }

    #[test]
    fn a_code_of_the_peer_keeps_its_class_and_our_own_verdict_parks_nobody() {
        let by_peer = HandshakeFailure::ByPeer(CloseCode::Removed);
        assert_eq!(by_peer.class(), CloseClass::Fatal);
        let ours = refusal(CloseCode::Removed, "we removed it");
        assert_eq!(ours.class(), CloseClass::RetryAfter);
    }
}
