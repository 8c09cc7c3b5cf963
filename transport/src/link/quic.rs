//! quinn as a cluster needs it: windows, timers and keys.

use std::fmt;
use std::sync::Arc;

use quicraft_certs::{CertificateRefusal, CredentialStore, PeerCertificate, RefusalNote};
use quinn::VarInt;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::rustls::pki_types::CertificateDer;

use super::window::BoundedCubic;
use crate::config::{Congestion, TransportConfig};
use crate::incarnation::Incarnation;
use crate::limits::{
    LINK_WINDOW_BYTES, RESET_INTERVAL, STREAM_WINDOW_BYTES, STREAMS_GRANTED_FIRST, STREAMS_MAX,
    UNPROVEN_WINDOW_BYTES,
};

/// Bytes of Initial packets that quinn keeps for one handshake and for all of them. A hello with a
/// post-quantum key share is two datagrams; 64 KiB leave room for repeats.
const INCOMING_BYTES: u64 = 64 * 1024;

/// First packets that quinn keeps until we say what becomes of them, which we do at once. It drops
/// more than that, unread; whoever dials says it again.
const INCOMING_MAX: usize = 256;

fn varint(value: usize) -> VarInt {
    u32::try_from(value).map_or(VarInt::MAX, VarInt::from_u32)
}

/// The certificate that TLS has verified.
pub(crate) fn peer_certificate(
    quic: &quinn::Connection,
) -> Result<PeerCertificate, CertificateRefusal> {
    let chain = quic
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .unwrap_or_default();
    PeerCertificate::from_chain(&chain)
}

/// Lifts the bounds of an unproven peer, once it is proven.
pub(crate) fn open_windows(quic: &quinn::Connection, dialled: bool) {
    // T5: what a proven peer may use.
    grant_streams(quic, dialled, STREAMS_GRANTED_FIRST);
    quic.set_receive_window(varint(LINK_WINDOW_BYTES));
}

/// Lets a proven peer have `streams` open at once, beside Control, which the dialer has opened.
fn grant_streams(quic: &quinn::Connection, dialled: bool, streams: usize) {
    let control = usize::from(!dialled);
    quic.set_max_concurrent_bi_streams(varint(streams + control));
}

/// What a proven peer is granted of streams: few, until it needs more.
#[derive(Debug)]
pub(crate) struct StreamGrant(usize);

impl StreamGrant {
    /// What [`open_windows`] has granted.
    pub(crate) const fn first() -> Self {
        Self(STREAMS_GRANTED_FIRST)
    }

    /// Grants more if the peer, which has `open` of them, comes near to what it was granted.
    pub(crate) fn follow(&mut self, quic: &quinn::Connection, dialled: bool, open: usize) {
        // L10: the sum of the lanes, for those who use them.
        if let Some(more) = self.more(open) {
            self.0 = more;
            grant_streams(quic, dialled, more);
        }
    }

    /// What to grant a peer that has `open`, if it is more.
    fn more(&self, open: usize) -> Option<usize> {
        let near = open > self.0 / 2 && self.0 < STREAMS_MAX;
        near.then_some((self.0 * 4).min(STREAMS_MAX))
    }
}

/// A number that both ends of a connection compute from its keys and nobody else can (RFC 5705).
pub(crate) fn link_id(quic: &quinn::Connection) -> u128 {
    let mut id = [0; 16];
    // It fails only for an output that is too long.
    drop(quic.export_keying_material(&mut id, b"EXPORTER-quicraft-link-id", b""));
    u128::from_be_bytes(id)
}

/// Why quinn does not take our settings.
#[derive(Debug, thiserror::Error)]
#[error("TLS for QUIC cannot be set up: {0}")]
pub(crate) struct QuicSetupError(String);

/// Packets that may come before one is acknowledged, or the acknowledgement's delay is over. With
/// quinn's 2, 16 small calls in flight cost a third more CPU each; acknowledgements are packets too.
const UNACKNOWLEDGED_PACKETS_MAX: u32 = 10;

fn transport(config: &TransportConfig, streams: u32) -> Arc<quinn::TransportConfig> {
    let mut transport = quinn::TransportConfig::default();
    let idle = VarInt::from_u32(u32::try_from(config.idle_timeout.as_millis()).unwrap_or(u32::MAX));
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(streams))
        // T4, T5: no unidirectional streams, and little before the peer is proven.
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .receive_window(varint(UNPROVEN_WINDOW_BYTES))
        .stream_receive_window(varint(STREAM_WINDOW_BYTES))
        .send_window(LINK_WINDOW_BYTES as u64)
        // Streams of one priority take turns: a group that floods does not starve the others.
        .send_fairness(true)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle.into()))
        .keep_alive_interval(Some(config.keep_alive))
        .initial_rtt(config.initial_rtt)
        .allow_spin(false);
    let mut discovery = quinn::MtuDiscoveryConfig::default();
    discovery.upper_bound(config.datagram_bytes_max);
    transport.mtu_discovery_config(Some(discovery));
    let mut acknowledging = quinn::AckFrequencyConfig::default();
    acknowledging.ack_eliciting_threshold(VarInt::from_u32(UNACKNOWLEDGED_PACKETS_MAX));
    transport.ack_frequency_config(Some(acknowledging));
    match config.congestion {
        Congestion::Cubic => {
            let cubic = BoundedCubic::new(config.initial_window_bytes);
            transport.congestion_controller_factory(Arc::new(cubic));
        }
        Congestion::Bbr => {
            let mut bbr = quinn::congestion::BbrConfig::default();
            bbr.initial_window(config.initial_window_bytes);
            transport.congestion_controller_factory(Arc::new(bbr));
        }
    }
    Arc::new(transport)
}

/// How this node dials and accepts. The credentials are read at each handshake, so they can be
/// replaced.
#[derive(Clone)]
pub(crate) struct QuicSetup {
    credentials: Arc<CredentialStore>,
    dialling: Arc<quinn::TransportConfig>,
    accepting: quinn::ServerConfig,
}

impl QuicSetup {
    pub(crate) fn new(
        credentials: &Arc<CredentialStore>,
        config: &TransportConfig,
    ) -> Result<Self, QuicSetupError> {
        // Whatever is wrong is found here, and not when the first peer comes.
        quicraft_certs::client_config(credentials).map_err(|error| failed(&error))?;
        quicraft_certs::server_config(credentials).map_err(|error| failed(&error))?;
        let note = RefusalNote::new();
        let mut accepting = quinn::ServerConfig::with_crypto(server_tls(credentials, &note)?);
        // T5: one stream and 64 KiB for a peer that is not proven yet.
        accepting
            .transport_config(transport(config, 1))
            // T4: a peer stays where it was, unless the host allows otherwise.
            .migration(config.migration)
            .max_incoming(INCOMING_MAX)
            .incoming_buffer_size(INCOMING_BYTES)
            .incoming_buffer_size_total(INCOMING_BYTES * 64);
        Ok(Self {
            credentials: Arc::clone(credentials),
            dialling: transport(config, 0),
            accepting,
        })
    }

    /// For one dial, with a note of why it refuses the other end.
    pub(crate) fn client(&self, note: &RefusalNote) -> Result<quinn::ClientConfig, QuicSetupError> {
        let tls = quicraft_certs::client_config_noting(&self.credentials, note)
            .map_err(|error| failed(&error))?;
        let tls = QuicClientConfig::try_from(tls).map_err(|error| failed(&error))?;
        let mut client = quinn::ClientConfig::new(Arc::new(tls));
        client.transport_config(Arc::clone(&self.dialling));
        Ok(client)
    }

    /// For the endpoint as a whole.
    pub(crate) fn endpoint_server(&self) -> quinn::ServerConfig {
        self.accepting.clone()
    }

    /// For one connection that comes in, with a note of why it refuses the dialer.
    pub(crate) fn server(
        &self,
        note: &RefusalNote,
    ) -> Result<Arc<quinn::ServerConfig>, QuicSetupError> {
        let mut server = self.accepting.clone();
        server.crypto = server_tls(&self.credentials, note)?;
        Ok(Arc::new(server))
    }
}

fn failed(error: &dyn fmt::Display) -> QuicSetupError {
    QuicSetupError(error.to_string())
}

fn server_tls(
    credentials: &Arc<CredentialStore>,
    note: &RefusalNote,
) -> Result<Arc<QuicServerConfig>, QuicSetupError> {
    let tls = quicraft_certs::server_config_noting(credentials, note);
    let tls = tls.map_err(|error| failed(&error))?;
    let tls = QuicServerConfig::try_from(tls).map_err(|error| failed(&error))?;
    Ok(Arc::new(tls))
}

/// The endpoint's keys. Both are the same in every run of a persisted incarnation, so that a peer
/// learns of our crash in one round trip: a packet for the old run is answered with a reset that the
/// peer can verify. With the reset key alone the packet would be dropped as one with a foreign id.
pub(crate) fn endpoint_config(
    incarnation: &Incarnation,
    config: &TransportConfig,
) -> quinn::EndpointConfig {
    // T7: both keys come from the secret that outlives the run.
    let reset = ResetKey(incarnation.key("quicraft 2026-11 stateless reset"));
    let ids = incarnation.key("quicraft 2026-11 connection ids");
    let ids = ids
        .iter()
        .take(8)
        .fold(0_u64, |key, byte| key << 8 | u64::from(*byte));
    let mut endpoint = quinn::EndpointConfig::new(Arc::new(reset));
    endpoint
        .cid_generator(move || Box::new(quinn_proto::HashedConnectionIdGenerator::from_key(ids)))
        // T1: QUIC version 1 alone.
        .supported_versions(vec![1])
        .min_reset_interval(RESET_INTERVAL);
    // What we take, which bounds what the peer's path MTU discovery looks for: quinn's default of
    // 1,472 would make a larger `datagram_bytes_max` a setting without effect. It fails only below
    // 1,200.
    drop(endpoint.max_udp_payload_size(config.datagram_bytes_max.max(1_472)));
    endpoint
}

/// Signs stateless reset tokens with keyed BLAKE3.
struct ResetKey([u8; 32]);

impl quinn::crypto::HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(data);
        hasher.finalize_xof().fill(signature_out);
    }

    fn signature_len(&self) -> usize {
        32
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), quinn::crypto::CryptoError> {
        let mut expected = vec![0; signature.len()];
        self.sign(data, &mut expected);
        // Constant time, as `blake3::Hash` compares; other lengths are never signed.
        let (Ok(expected), Ok(found)) = (
            <[u8; 32]>::try_from(expected),
            <[u8; 32]>::try_from(signature),
        ) else {
            return Err(quinn::crypto::CryptoError);
        };
        if blake3::Hash::from_bytes(expected) == blake3::Hash::from_bytes(found) {
            Ok(())
        } else {
            Err(quinn::crypto::CryptoError)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// L10: up to the sum of the lanes, and not one more.
    #[test]
    fn streams_are_granted_to_those_who_use_them() {
        let mut grant = StreamGrant::first();
        assert_eq!(grant.more(0), None);
        assert_eq!(grant.more(STREAMS_GRANTED_FIRST / 2), None);
        let more = grant.more(STREAMS_GRANTED_FIRST / 2 + 1);
        assert_eq!(more, Some(STREAMS_GRANTED_FIRST * 4));
        grant.0 = STREAMS_GRANTED_FIRST * 4;
        assert_eq!(grant.more(STREAMS_GRANTED_FIRST * 2 + 1), Some(STREAMS_MAX));
        grant.0 = STREAMS_MAX;
        assert_eq!(grant.more(STREAMS_MAX), None);
    }
}
