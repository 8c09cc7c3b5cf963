//! What is measured side by side: Quicraft, what a user would pick instead, and the ceiling.
//!
//! Each is a pair of nodes in this process, on loopback, with mutual TLS 1.3 and the same
//! certificates, made as fast as we know how. What is asked of them is not known here.

pub(crate) mod bare;
pub(crate) mod credentials;
pub(crate) mod framed;
pub(crate) mod frames;
pub(crate) mod own;
pub(crate) mod tls;
pub(crate) mod tonic;

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;

/// Why a call failed; it may cross tasks.
pub(crate) type PeerFailure = Box<dyn Error + Send + Sync>;

/// The bytes that every call brings and every reply takes back.
pub(crate) const REQUEST: Bytes = Bytes::from_static(&[7; 256]);
/// See [`REQUEST`].
pub(crate) const REPLY: Bytes = Bytes::from_static(&[9; 64]);

/// No call takes this long unless something hangs.
pub(crate) const CALL_LIMIT: Duration = Duration::from_secs(20);

/// Whoever is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum PeerName {
    /// Ours.
    Quicraft,
    /// gRPC over one channel.
    Tonic,
    /// Frames over TLS over TCP, one connection.
    Tls,
    /// The same frames as ours over quinn: the ceiling.
    Bare,
}

impl PeerName {
    pub(crate) const ALL: [Self; 4] = [Self::Quicraft, Self::Tonic, Self::Tls, Self::Bare];

    /// The name in keys.
    pub(crate) const fn key(self) -> &'static str {
        match self {
            Self::Quicraft => "quicraft",
            Self::Tonic => "tonic",
            Self::Tls => "tls",
            Self::Bare => "bare",
        }
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quicraft => "Quicraft",
            Self::Tonic => "tonic gRPC",
            Self::Tls => "TLS over TCP",
            Self::Bare => "bare quinn",
        })
    }
}

/// One of many callers of a connection.
pub(crate) trait Caller: Clone + Send + 'static {
    /// One call and its reply.
    fn call(&mut self, request: Bytes) -> impl Future<Output = Result<Bytes, PeerFailure>> + Send;
}

/// Compares what the other end says that it has with what was sent.
pub(crate) fn arrived(sent: u64, told: &[u8]) -> Result<(), PeerFailure> {
    let told = u64::from_be_bytes(told.try_into()?);
    if told != sent {
        return Err(format!("{told} of {sent} bytes have arrived").into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_did_not_arrive_are_an_error() {
        assert!(arrived(9, &9_u64.to_be_bytes()).is_ok());
        assert!(arrived(9, &8_u64.to_be_bytes()).is_err());
        assert!(arrived(9, b"nine").is_err());
    }
}
