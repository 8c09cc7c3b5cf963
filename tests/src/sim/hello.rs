//! The first messages of a link, written by hand from PROTOCOL.md, so that a test can send what the
//! transport never would.

use bytes::{BufMut, Bytes, BytesMut};
use quicraft_transport::frame::PROTOCOL_VERSION;
use quicraft_transport::raft::{Codec, RAFT_WIRE_VERSION, RaftCodec};

/// The fields of a hello. [`RawHello::new`] makes one that is let in.
#[derive(Debug, Clone)]
pub struct RawHello {
    /// The lowest version that is spoken.
    pub version_min: u16,
    /// The highest version that is spoken.
    pub version_max: u16,
    /// Who is wanted.
    pub to: u64,
    /// The uid of the founded cluster.
    pub cluster_uid: u128,
    /// Who speaks.
    pub from: u64,
    /// Its boot.
    pub boot: u128,
    /// Its epoch.
    pub epoch: u64,
    /// Its count of dials.
    pub generation: u64,
    /// Optional abilities.
    pub features: u64,
    /// The codec of bodies.
    pub codec: u8,
    /// The version of the Raft messages.
    pub raft_wire: u16,
    /// The largest frame body that it takes.
    pub frame_bytes_max: u32,
    /// The largest log entry that it takes.
    pub entry_bytes_max: u32,
    /// The name of the cluster.
    pub cluster: String,
}

impl RawHello {
    /// What an honest node would say at its first dial.
    #[must_use]
    pub fn new(from: u64, to: u64) -> Self {
        Self {
            version_min: PROTOCOL_VERSION,
            version_max: PROTOCOL_VERSION,
            to,
            cluster_uid: 0,
            from,
            boot: 0x5eed,
            epoch: 0,
            generation: 1,
            features: 0,
            codec: RaftCodec::ID,
            raft_wire: RAFT_WIRE_VERSION,
            frame_bytes_max: 8 << 20,
            entry_bytes_max: 4 << 20,
            cluster: "sim.example".to_owned(),
        }
    }

    /// The message in bytes.
    ///
    /// # Panics
    ///
    /// If the cluster's name is over 255 bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut fields = BytesMut::new();
        fields.put_u16(self.version_min);
        fields.put_u16(self.version_max);
        fields.put_u64(self.to);
        self.introduce(&mut fields);
        message(1, &fields)
    }

    /// The same fields as a welcome: `version_max` is the version that was chosen, and `to` is whom
    /// the acceptor read from the dialer's certificate.
    ///
    /// # Panics
    ///
    /// If the cluster's name is over 255 bytes.
    #[must_use]
    pub fn encode_welcome(&self) -> Bytes {
        let mut fields = BytesMut::new();
        fields.put_u16(self.version_max);
        fields.put_u64(self.to);
        self.introduce(&mut fields);
        message(2, &fields)
    }

    fn introduce(&self, fields: &mut BytesMut) {
        fields.put_u128(self.cluster_uid);
        fields.put_u64(self.from);
        fields.put_u128(self.boot);
        fields.put_u64(self.epoch);
        fields.put_u64(self.generation);
        fields.put_u64(self.features);
        fields.put_u8(self.codec);
        fields.put_u16(self.raft_wire);
        fields.put_u32(self.frame_bytes_max);
        fields.put_u32(self.entry_bytes_max);
        let Ok(length) = u8::try_from(self.cluster.len()) else {
            panic!("a cluster's name has one byte of length");
        };
        fields.put_u8(length);
        fields.put_slice(self.cluster.as_bytes());
    }
}

/// The confirm of a hello of this generation.
#[must_use]
pub fn confirm(generation: u64) -> Bytes {
    message(3, &generation.to_be_bytes())
}

fn message(kind: u8, fields: &[u8]) -> Bytes {
    let mut message = BytesMut::new();
    message.put_slice(b"QCFT");
    message.put_u8(kind);
    message.put_u8(0);
    let Ok(length) = u16::try_from(fields.len()) else {
        panic!("a handshake message has two bytes of length");
    };
    message.put_u16(length);
    message.put_slice(fields);
    message.freeze()
}
