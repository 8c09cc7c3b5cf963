//! Hello, Welcome and Confirm: fixed layouts that no codec touches, so that codecs can be
//! negotiated for ever (PROTOCOL.md, H clauses).

use bytes::{BufMut, BytesMut};
use quicraft_certs::{ClusterName, NodeId};

use super::reader::Reader;
use crate::limits::{CONTROL_BODY_BYTES_MAX, HELLO_BYTES_MAX};

/// The version of the protocol that this code speaks, and the only one. 2: sessions are reported on
/// (L7). 3: calls share a stream (L6). There was no release of 1 and 2.
pub const PROTOCOL_VERSION: u16 = 3;

const MAGIC: [u8; 4] = *b"QCFT";
const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const CONFIRM: u8 = 3;

/// Magic, kind, a reserved zero byte and the length of what follows.
pub(crate) const HANDSHAKE_PREFIX_BYTES: usize = 8;

/// From here on a count of dials is none: no end comes so far, and one that began here could reach
/// the last number, above which no dial ranks.
const GENERATION_END: u64 = 1 << 63;

/// Why bytes are not the handshake message that is due.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// Not this protocol.
    #[error("the message does not start with the magic of this protocol")]
    Magic,
    /// Another message than the one that is due.
    #[error("message kind {found} where {expected} is due")]
    Kind {
        /// What came.
        found: u8,
        /// What is due.
        expected: u8,
    },
    /// Longer than a handshake message may be.
    #[error("a handshake message of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Bytes announced.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// The message ends before its last field.
    #[error("the message ends inside the field {0}")]
    Short(&'static str),
    /// A field has a value that it can never have.
    #[error("the field {0} has a value that it cannot have")]
    Field(&'static str),
}

/// What both ends say about themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Introduction {
    /// The trust domain.
    pub cluster: ClusterName,
    /// The 128-bit uid drawn when the cluster was founded; 0 before.
    pub cluster_uid: u128,
    /// Who speaks.
    pub from: NodeId,
    /// Random per start of the process.
    pub boot: u128,
    /// Persisted counter of starts; 0 where nothing is persisted.
    pub epoch: u64,
    /// The dialer's count of dials; the acceptor echoes it.
    pub generation: u64,
    /// Optional abilities, one bit each; both ends use what both have.
    pub features: u64,
    /// The codec of message bodies.
    pub codec: u8,
    /// The version of the Raft messages.
    pub raft_wire: u16,
    /// The largest frame body that the speaker takes.
    pub frame_bytes_max: u32,
    /// The largest log entry that the speaker takes.
    pub entry_bytes_max: u32,
}

/// The dialer's first message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Hello {
    /// The lowest version that the dialer speaks.
    pub version_min: u16,
    /// The highest version that the dialer speaks.
    pub version_max: u16,
    /// Whom it wants.
    pub to: NodeId,
    /// Who it is.
    pub introduction: Introduction,
}

/// The acceptor's answer: the dialer was judged and may enter.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Welcome {
    /// The version that both will speak.
    pub version: u16,
    /// The node id that the acceptor read from the dialer's certificate.
    pub you: NodeId,
    /// Who the acceptor is.
    pub introduction: Introduction,
}

/// The dialer has adopted the connection; from here on calls flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confirm {
    /// The generation of the hello.
    pub generation: u64,
}

/// Reads the prefix of a message and says how many bytes follow it.
///
/// # Errors
///
/// [`HandshakeError`] for another magic, another kind, or a length over the limit; nothing has been
/// allocated for the rest then.
pub(crate) fn handshake_length(
    prefix: [u8; HANDSHAKE_PREFIX_BYTES],
    expected: u8,
) -> Result<usize, HandshakeError> {
    if prefix[..4] != MAGIC {
        return Err(HandshakeError::Magic);
    }
    if prefix[4] != expected {
        return Err(HandshakeError::Kind {
            found: prefix[4],
            expected,
        });
    }
    if prefix[5] != 0 {
        return Err(HandshakeError::Field("reserved"));
    }
    let size = usize::from(u16::from_be_bytes([prefix[6], prefix[7]]));
    let limit = HELLO_BYTES_MAX - HANDSHAKE_PREFIX_BYTES;
    if size > limit {
        return Err(HandshakeError::TooLarge { size, limit });
    }
    Ok(size)
}

fn sealed(kind: u8, fields: &BytesMut) -> BytesMut {
    let mut message = BytesMut::with_capacity(HANDSHAKE_PREFIX_BYTES + fields.len());
    message.put_slice(&MAGIC);
    message.put_u8(kind);
    message.put_u8(0);
    // The fields are fixed but for the cluster name, which has at most 180 bytes.
    message.put_u16(u16::try_from(fields.len()).unwrap_or(u16::MAX));
    message.put_slice(fields);
    message
}

impl Introduction {
    fn encode(&self, fields: &mut BytesMut) {
        fields.put_u128(self.cluster_uid);
        fields.put_u64(self.from.get());
        fields.put_u128(self.boot);
        fields.put_u64(self.epoch);
        fields.put_u64(self.generation);
        fields.put_u64(self.features);
        fields.put_u8(self.codec);
        fields.put_u16(self.raft_wire);
        fields.put_u32(self.frame_bytes_max);
        fields.put_u32(self.entry_bytes_max);
        let name = self.cluster.as_str().as_bytes();
        fields.put_u8(u8::try_from(name.len()).unwrap_or(u8::MAX));
        fields.put_slice(name);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, HandshakeError> {
        let short = HandshakeError::Short;
        let cluster_uid = reader.u128().ok_or_else(|| short("cluster uid"))?;
        let from = node_id(reader, "from")?;
        let boot = reader.u128().ok_or_else(|| short("boot"))?;
        let epoch = reader.u64().ok_or_else(|| short("epoch"))?;
        let generation = reader.u64().ok_or_else(|| short("generation"))?;
        if generation >= GENERATION_END {
            return Err(HandshakeError::Field("generation"));
        }
        let features = reader.u64().ok_or_else(|| short("features"))?;
        let codec = reader.u8().ok_or_else(|| short("codec"))?;
        let raft_wire = reader.u16().ok_or_else(|| short("raft wire"))?;
        let frame_bytes_max = reader.u32().ok_or_else(|| short("frame limit"))?;
        let entry_bytes_max = reader.u32().ok_or_else(|| short("entry limit"))?;
        if (frame_bytes_max as usize) < CONTROL_BODY_BYTES_MAX {
            return Err(HandshakeError::Field("frame limit"));
        }
        if entry_bytes_max == 0 {
            return Err(HandshakeError::Field("entry limit"));
        }
        let length = reader.u8().ok_or_else(|| short("cluster"))?;
        let name = reader
            .take(usize::from(length))
            .ok_or_else(|| short("cluster"))?;
        let cluster = std::str::from_utf8(name)
            .ok()
            .and_then(|name| ClusterName::new(name).ok())
            .ok_or(HandshakeError::Field("cluster"))?;
        Ok(Self {
            cluster,
            cluster_uid,
            from,
            boot,
            epoch,
            generation,
            features,
            codec,
            raft_wire,
            frame_bytes_max,
            entry_bytes_max,
        })
    }
}

fn node_id(reader: &mut Reader<'_>, field: &'static str) -> Result<NodeId, HandshakeError> {
    let id = reader.u64().ok_or(HandshakeError::Short(field))?;
    NodeId::new(id).map_err(|_| HandshakeError::Field(field))
}

impl Hello {
    /// Its kind on the wire.
    pub(crate) const KIND: u8 = HELLO;

    /// The message in bytes, prefix included.
    #[must_use]
    pub fn encode(&self) -> BytesMut {
        let mut fields = BytesMut::with_capacity(HELLO_BYTES_MAX);
        fields.put_u16(self.version_min);
        fields.put_u16(self.version_max);
        fields.put_u64(self.to.get());
        self.introduction.encode(&mut fields);
        sealed(HELLO, &fields)
    }

    /// Reads what follows the prefix. Bytes behind the last known field belong to a later version
    /// and are skipped.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] naming the field that is short or impossible.
    pub fn decode(fields: &[u8]) -> Result<Self, HandshakeError> {
        let mut reader = Reader::new(fields);
        let version_min = reader.u16().ok_or(HandshakeError::Short("version min"))?;
        let version_max = reader.u16().ok_or(HandshakeError::Short("version max"))?;
        let to = node_id(&mut reader, "to")?;
        let introduction = Introduction::decode(&mut reader)?;
        Ok(Self {
            version_min,
            version_max,
            to,
            introduction,
        })
    }
}

impl Welcome {
    /// Its kind on the wire.
    pub(crate) const KIND: u8 = WELCOME;

    /// The message in bytes, prefix included.
    #[must_use]
    pub fn encode(&self) -> BytesMut {
        let mut fields = BytesMut::with_capacity(HELLO_BYTES_MAX);
        fields.put_u16(self.version);
        fields.put_u64(self.you.get());
        self.introduction.encode(&mut fields);
        sealed(WELCOME, &fields)
    }

    /// Reads what follows the prefix; later fields are skipped.
    ///
    /// # Errors
    ///
    /// [`HandshakeError`] naming the field that is short or impossible.
    pub fn decode(fields: &[u8]) -> Result<Self, HandshakeError> {
        let mut reader = Reader::new(fields);
        let version = reader.u16().ok_or(HandshakeError::Short("version"))?;
        let you = node_id(&mut reader, "you")?;
        let introduction = Introduction::decode(&mut reader)?;
        Ok(Self {
            version,
            you,
            introduction,
        })
    }
}

impl Confirm {
    /// Its kind on the wire.
    pub(crate) const KIND: u8 = CONFIRM;

    /// A confirm for the hello of this generation.
    #[must_use]
    pub const fn new(generation: u64) -> Self {
        Self { generation }
    }

    /// The message in bytes, prefix included.
    #[must_use]
    pub fn encode(&self) -> BytesMut {
        let mut fields = BytesMut::with_capacity(8);
        fields.put_u64(self.generation);
        sealed(CONFIRM, &fields)
    }

    /// Reads what follows the prefix; later fields are skipped.
    ///
    /// # Errors
    ///
    /// [`HandshakeError::Short`] if the generation is missing.
    pub fn decode(fields: &[u8]) -> Result<Self, HandshakeError> {
        let generation = Reader::new(fields)
            .u64()
            .ok_or(HandshakeError::Short("generation"))?;
        Ok(Self { generation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn introduction() -> Introduction {
        Introduction {
            cluster: ClusterName::new("prod.example").unwrap(),
            cluster_uid: 1,
            from: NodeId::new(2).unwrap(),
            boot: 3,
            epoch: 4,
            generation: 5,
            features: 6,
            codec: 7,
            raft_wire: 8,
            frame_bytes_max: 65_545,
            entry_bytes_max: 10,
        }
    }

    fn hello() -> Hello {
        let to = NodeId::new(11).unwrap();
        Hello {
            version_min: 1,
            version_max: 2,
            to,
            introduction: introduction(),
        }
    }

    fn fields(message: &[u8], kind: u8) -> Vec<u8> {
        let prefix = message[..HANDSHAKE_PREFIX_BYTES].try_into().unwrap();
        let size = handshake_length(prefix, kind).unwrap();
        assert_eq!(message.len(), HANDSHAKE_PREFIX_BYTES + size);
        message[HANDSHAKE_PREFIX_BYTES..].to_vec()
    }

    /// V1: these golden bytes, those of the frames, and what follows which frame are this version's.
    #[test]
    fn golden_version() {
        assert_eq!(PROTOCOL_VERSION, 3);
    }

    /// H1: every field of the hello, in order.
    #[test]
    fn golden_hello() {
        let message = hello().encode();
        let mut golden = b"QCFT\x01\x00".to_vec();
        golden.extend([0, 0]);
        golden.extend([0, 1, 0, 2]);
        golden.extend(11_u64.to_be_bytes());
        golden.extend(1_u128.to_be_bytes());
        golden.extend(2_u64.to_be_bytes());
        golden.extend(3_u128.to_be_bytes());
        golden.extend(4_u64.to_be_bytes());
        golden.extend(5_u64.to_be_bytes());
        golden.extend(6_u64.to_be_bytes());
        golden.push(7);
        golden.extend(8_u16.to_be_bytes());
        golden.extend(65_545_u32.to_be_bytes());
        golden.extend(10_u32.to_be_bytes());
        golden.push(12);
        golden.extend(b"prod.example");
        let size = golden.len() - HANDSHAKE_PREFIX_BYTES;
        golden[6..8].copy_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
        assert_eq!(message.to_vec(), golden);
    }

    #[test]
    fn messages_survive_the_wire() {
        let hello = hello();
        assert_eq!(Hello::decode(&fields(&hello.encode(), HELLO)), Ok(hello));
        let you = NodeId::new(9).unwrap();
        let welcome = Welcome {
            version: 1,
            you,
            introduction: introduction(),
        };
        assert_eq!(
            Welcome::decode(&fields(&welcome.encode(), WELCOME)),
            Ok(welcome)
        );
        let confirm = Confirm::new(77);
        assert_eq!(
            Confirm::decode(&fields(&confirm.encode(), CONFIRM)),
            Ok(confirm)
        );
    }

    /// H4, V2: a later version may append fields.
    #[test]
    fn later_fields_are_skipped() {
        let hello = hello();
        let mut bytes = fields(&hello.encode(), HELLO);
        bytes.extend([1, 2, 3]);
        assert_eq!(Hello::decode(&bytes), Ok(hello));
    }

    #[test]
    fn every_short_hello_names_its_field() {
        let bytes = fields(&hello().encode(), HELLO);
        for end in 0..bytes.len() {
            assert!(matches!(
                Hello::decode(&bytes[..end]),
                Err(HandshakeError::Short(_))
            ));
        }
    }

    /// H2: the limit is checked on the prefix, before the rest is read.
    #[test]
    fn length_at_the_limit_and_one_past_it() {
        let limit = HELLO_BYTES_MAX - HANDSHAKE_PREFIX_BYTES;
        let prefix = |size: usize| {
            let mut prefix = *b"QCFT\x01\x00\x00\x00";
            prefix[6..].copy_from_slice(&u16::try_from(size).unwrap().to_be_bytes());
            handshake_length(prefix, HELLO)
        };
        assert_eq!(prefix(limit), Ok(limit));
        assert_eq!(
            prefix(limit + 1),
            Err(HandshakeError::TooLarge {
                size: limit + 1,
                limit
            })
        );
    }

    /// H2, H4: what can never be.
    #[test]
    fn id_zero_and_a_foreign_magic_are_refused() {
        let mut bytes = fields(&hello().encode(), HELLO);
        bytes[4..12].fill(0);
        assert_eq!(Hello::decode(&bytes), Err(HandshakeError::Field("to")));
        assert_eq!(
            handshake_length(*b"HTTP/1.1", HELLO),
            Err(HandshakeError::Magic)
        );
        let kind = handshake_length(*b"QCFT\x02\x00\x00\x00", HELLO);
        assert_eq!(
            kind,
            Err(HandshakeError::Kind {
                found: 2,
                expected: 1
            })
        );
    }

    /// H4: a count of dials at its end would leave no rank for another dial.
    #[test]
    fn a_generation_at_its_end_is_refused_and_one_before_it_passes() {
        let decoded = |generation: u64| {
            let mut hello = hello();
            hello.introduction.generation = generation;
            Hello::decode(&fields(&hello.encode(), HELLO))
                .map(|hello| hello.introduction.generation)
        };
        assert_eq!(decoded(GENERATION_END - 1), Ok(GENERATION_END - 1));
        for generation in [GENERATION_END, u64::MAX] {
            assert_eq!(
                decoded(generation),
                Err(HandshakeError::Field("generation"))
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            drop(Hello::decode(&bytes));
            drop(Welcome::decode(&bytes));
            drop(Confirm::decode(&bytes));
        }
    }
}
