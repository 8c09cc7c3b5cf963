//! The codec seam: a value to bytes and back.
//!
//! This room must not know which messages exist; it is the only one that names bincode. Bytes come
//! from a peer: they must never panic, never allocate far beyond their own length, and never leave a
//! rest behind.
//!
//! Two traps cannot be closed here, because they lie in the types that a host gives to openraft:
//!
//! - **A collection of elements of no size** (`Vec<()>`, `Vec<Unit>`) costs nothing on the wire
//!   whatever its length, so no limit on bytes bounds the time that decoding it takes. Such a type
//!   must not stand in a host's `D`, `R` or `Node`.
//! - **A recursive type** is decoded recursively; some ten thousand levels, a byte each, overflow
//!   the stack. A host whose `D` is recursive must bound the depth in its own `Deserialize`.
//!
//! And one that bites only the careless: bincode accepts a number in a longer form than it would
//! write, so equal values may have unequal bytes. Encodings are never compared or hashed.

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::{CODEC_CLAIM_FACTOR, CODEC_INPUT_BYTES_MAX};

/// Turns values into bytes and back.
///
/// Which codec a node uses is told to its peers in the handshake ([`Codec::ID`]); a peer with
/// another one is refused there.
pub trait Codec: Send + Sync + 'static {
    /// The number of this codec on the wire. 0 is never used.
    const ID: u8;

    /// Appends the encoding of `value` to `into`.
    ///
    /// # Errors
    ///
    /// When the value does not want to be encoded, or is longer than [`CODEC_INPUT_BYTES_MAX`]. Then
    /// `into` is as long as before.
    fn encode<T: Serialize + ?Sized>(value: &T, into: &mut BytesMut) -> Result<(), CodecError>;

    /// The value that `bytes` encode, all of them.
    ///
    /// # Errors
    ///
    /// When there are more bytes than [`CODEC_INPUT_BYTES_MAX`] or more than the value needs, when
    /// they would claim memory out of proportion, or when they are not an encoding of a `T`.
    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError>;
}

/// Why a value could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// The value is longer than a codec takes.
    #[error("a value of {size} bytes is over the codec's limit of {limit}")]
    TooLong {
        /// Bytes of the value.
        size: usize,
        /// Bytes that are taken.
        limit: usize,
    },
    /// The value does not want to be encoded.
    #[error("the value could not be encoded")]
    Encode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The bytes are not an encoding of such a value.
    #[error("the bytes do not decode")]
    Decode(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The value ended before its bytes did.
    #[error("{rest} bytes are left over after the value")]
    Trailing {
        /// Bytes left over.
        rest: usize,
    },
}

/// The codec of this build; its id travels in the handshake.
pub type RaftCodec = BincodeCodec;

/// bincode 2.0.1 in its `standard()` configuration: little-endian, numbers as varints.
///
/// bincode is complete but no longer maintained (RUSTSEC-2025-0141), so its version is pinned.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct BincodeCodec;

/// Inputs up to this length are decoded under the smallest limit: votes, heartbeats, most entries.
const SMALL_INPUT: usize = 4 << 10;
/// Inputs up to this length are decoded under the middle limit.
const MIDDLE_INPUT: usize = 256 << 10;

impl Codec for BincodeCodec {
    const ID: u8 = 1;

    fn encode<T: Serialize + ?Sized>(value: &T, into: &mut BytesMut) -> Result<(), CodecError> {
        let before = into.len();
        let result = bincode::serde::encode_into_std_write(
            value,
            &mut into.writer(),
            bincode::config::standard(),
        );
        let size = into.len() - before;
        let error = match result {
            Ok(_) if size <= CODEC_INPUT_BYTES_MAX => return Ok(()),
            Ok(_) => CodecError::TooLong {
                size,
                limit: CODEC_INPUT_BYTES_MAX,
            },
            Err(source) => CodecError::Encode(Box::new(source)),
        };
        into.truncate(before);
        Err(error)
    }

    fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
        // bincode's limit is a constant of the type; three of them keep what a short input may
        // claim in proportion to its length.
        let size = bytes.len();
        if size <= SMALL_INPUT {
            decode_within::<T, { SMALL_INPUT * CODEC_CLAIM_FACTOR }>(bytes)
        } else if size <= MIDDLE_INPUT {
            decode_within::<T, { MIDDLE_INPUT * CODEC_CLAIM_FACTOR }>(bytes)
        } else if size <= CODEC_INPUT_BYTES_MAX {
            decode_within::<T, { CODEC_INPUT_BYTES_MAX * CODEC_CLAIM_FACTOR }>(bytes)
        } else {
            Err(CodecError::TooLong {
                size,
                limit: CODEC_INPUT_BYTES_MAX,
            })
        }
    }
}

fn decode_within<T: DeserializeOwned, const LIMIT: usize>(bytes: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    let (value, used) = bincode::serde::decode_from_slice(bytes, config)
        .map_err(|source| CodecError::Decode(Box::new(source)))?;
    if used == bytes.len() {
        Ok(value)
    } else {
        Err(CodecError::Trailing {
            rest: bytes.len() - used,
        })
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde::Deserialize;

    use super::*;

    fn encoded<T: Serialize>(value: &T) -> BytesMut {
        let mut bytes = BytesMut::new();
        BincodeCodec::encode(value, &mut bytes).unwrap();
        bytes
    }

    /// A length of 2^40 as bincode writes it: marker of a u64, then little-endian.
    const LENGTH_2_POW_40: [u8; 9] = [253, 0, 0, 0, 0, 0, 1, 0, 0];

    #[test]
    fn a_value_comes_back() {
        let value = (7_u64, Some("seven".to_owned()), vec![1_u8, 2, 3]);
        let back: (u64, Option<String>, Vec<u8>) = BincodeCodec::decode(&encoded(&value)).unwrap();
        assert_eq!(back, value);
    }

    #[test]
    fn encoding_appends() {
        let mut bytes = BytesMut::from(&b"before"[..]);
        BincodeCodec::encode(&1_u8, &mut bytes).unwrap();
        assert_eq!(&bytes[..], b"before\x01");
    }

    #[test]
    fn a_length_of_a_tebibyte_is_refused_without_allocating_it() {
        assert!(matches!(
            BincodeCodec::decode::<String>(&LENGTH_2_POW_40),
            Err(CodecError::Decode(_))
        ));
        assert!(matches!(
            BincodeCodec::decode::<Vec<u64>>(&LENGTH_2_POW_40),
            Err(CodecError::Decode(_))
        ));
        assert!(matches!(
            BincodeCodec::decode::<Bytes>(&LENGTH_2_POW_40),
            Err(CodecError::Decode(_))
        ));
    }

    /// R5: memory in proportion to the input.
    #[test]
    fn a_short_input_cannot_claim_more_than_its_share() {
        // One byte over what a small input may claim, in a string of which nothing follows: the
        // error must be the limit, not the missing bytes, or the memory was already taken.
        let length = u32::try_from(SMALL_INPUT * CODEC_CLAIM_FACTOR + 1).unwrap();
        let mut bytes = vec![252];
        bytes.extend_from_slice(&length.to_le_bytes());
        let Err(CodecError::Decode(source)) = BincodeCodec::decode::<String>(&bytes) else {
            panic!("must not decode")
        };
        assert_eq!(
            source.to_string(),
            bincode::error::DecodeError::LimitExceeded.to_string()
        );
    }

    #[test]
    fn honest_numbers_are_never_over_the_limit() {
        // The widest number in its shortest form, as many as fit: the worst that is honest.
        for length in [SMALL_INPUT, MIDDLE_INPUT] {
            let value = vec![1_u128; length - 5];
            let bytes = encoded(&value);
            assert!(bytes.len() <= length);
            assert_eq!(BincodeCodec::decode::<Vec<u128>>(&bytes).unwrap(), value);
        }
    }

    /// R5: every byte is used.
    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = encoded(&7_u64);
        bytes.put_u8(0);
        assert!(matches!(
            BincodeCodec::decode::<u64>(&bytes),
            Err(CodecError::Trailing { rest: 1 })
        ));
    }

    #[test]
    fn every_truncation_is_refused() {
        let bytes = encoded(&(300_u64, "text".to_owned(), Some(9_u32)));
        for end in 0..bytes.len() {
            assert!(BincodeCodec::decode::<(u64, String, Option<u32>)>(&bytes[..end]).is_err());
        }
    }

    /// R5: at most 16 MiB.
    #[test]
    fn the_length_limit_holds_at_the_limit_and_one_past_it() {
        // 5 bytes of length stand before the text.
        let at = Bytes::from(vec![b'x'; CODEC_INPUT_BYTES_MAX - 5]);
        let bytes = encoded(&at);
        assert_eq!(bytes.len(), CODEC_INPUT_BYTES_MAX);
        assert_eq!(BincodeCodec::decode::<Bytes>(&bytes).unwrap(), at);

        let past = Bytes::from(vec![b'x'; CODEC_INPUT_BYTES_MAX - 4]);
        let mut into = BytesMut::from(&b"kept"[..]);
        assert!(matches!(
            BincodeCodec::encode(&past, &mut into),
            Err(CodecError::TooLong { size, .. }) if size == CODEC_INPUT_BYTES_MAX + 1
        ));
        assert_eq!(&into[..], b"kept");
        assert!(matches!(
            BincodeCodec::decode::<Bytes>(&vec![0; CODEC_INPUT_BYTES_MAX + 1]),
            Err(CodecError::TooLong { .. })
        ));
    }

    #[derive(Deserialize)]
    struct Nested {
        #[serde(default)]
        inner: Option<Box<Self>>,
    }

    #[test]
    fn a_thousand_levels_are_no_overflow() {
        // Depth is the host's to bound (see above); what is usual must work.
        let mut bytes = vec![1_u8; 1_000];
        bytes.push(0);
        let mut level: Nested = BincodeCodec::decode(&bytes).unwrap();
        let mut depth = 0;
        while let Some(inner) = level.inner {
            level = *inner;
            depth += 1;
        }
        assert_eq!(depth, 1_000);
    }

    #[test]
    fn elements_of_no_size_escape_every_limit() {
        // Documents the trap: 100,000 elements out of 5 bytes. If bincode ever bounds it, the
        // warning above can go.
        let units: Vec<()> = BincodeCodec::decode(&[252, 0xa0, 0x86, 1, 0]).unwrap();
        assert_eq!(units.len(), 100_000);
    }

    #[test]
    fn a_value_that_does_not_want_to_be_encoded_is_an_error() {
        struct Unwilling;
        impl Serialize for Unwilling {
            fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
                Err(serde::ser::Error::custom("unwilling"))
            }
        }
        let mut into = BytesMut::new();
        assert!(matches!(
            BincodeCodec::encode(&(1_u8, Unwilling), &mut into),
            Err(CodecError::Encode(_))
        ));
        assert!(into.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            drop(BincodeCodec::decode::<(u64, Option<String>, Vec<(u32, Bytes)>)>(&bytes));
        }
    }
}
