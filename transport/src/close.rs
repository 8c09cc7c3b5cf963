//! Every reason a link ends, its number on the wire, and what the dialer does about it.
//!
//! The numbers are QUIC application close codes (PROTOCOL.md, C clauses). They are exact, so that
//! operators at both ends see the reason; the text beside them is coarse. Only these codes can be
//! fatal: a TLS alert or a transport error can be forged by anyone on the path.

use std::fmt;

use quinn::VarInt;

/// What the dialer does after a refusal or the loss of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseClass {
    /// Dial again with the ordinary backoff.
    Retry,
    /// Dial again, but not before a wait that the code asks for.
    RetryAfter,
    /// Park the peer: dialling again cannot help until an operator changed something.
    Fatal,
}

macro_rules! close_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $class:ident, $label:literal;)*) => {
        /// Why a link was closed or refused by one of its ends.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum CloseCode {
            $($(#[$doc])* $name,)*
        }

        impl CloseCode {
            /// All codes, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The number on the wire.
            #[must_use]
            pub const fn to_wire(self) -> u32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The code behind a number, if it is one of ours.
            #[must_use]
            pub const fn from_wire(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// What the dialer does about it.
            #[must_use]
            pub const fn class(self) -> CloseClass {
                match self { $(Self::$name => CloseClass::$class,)* }
            }

            /// The name that logs, metrics and documents use.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

close_codes! {
    /// The end of the process or of the transport, in order.
    Shutdown = 0x100, Retry, "SHUTDOWN";
    /// A connection of the same boots with a higher rank exists.
    Superseded = 0x101, Retry, "SUPERSEDED";
    /// A newer incarnation of this node took its place while it was silent.
    Replaced = 0x102, Fatal, "REPLACED";
    /// A replaced connection whose calls have all ended.
    Retired = 0x103, Retry, "RETIRED";
    /// The link was not used for longer than the setting allows.
    Idle = 0x104, Retry, "IDLE";
    /// The peer was suspended by its operator.
    Suspended = 0x105, RetryAfter, "SUSPENDED";
    /// A handshake message that cannot be read.
    BadHello = 0x110, Fatal, "BAD_HELLO";
    /// A handshake message did not come in time.
    HelloTimeout = 0x111, Retry, "HELLO_TIMEOUT";
    /// No common version of the protocol.
    VersionMismatch = 0x112, Fatal, "VERSION_MISMATCH";
    /// Another cluster, or another founding of a cluster of the same name.
    WrongCluster = 0x113, Fatal, "WRONG_CLUSTER";
    /// The dialer wanted another node than the one that it reached.
    WrongTarget = 0x114, RetryAfter, "WRONG_TARGET";
    /// The hello names another node than the certificate.
    IdMismatch = 0x115, Fatal, "ID_MISMATCH";
    /// No common codec.
    CodecMismatch = 0x116, Fatal, "CODEC_MISMATCH";
    /// Another version of the Raft messages.
    RaftWireMismatch = 0x117, Fatal, "RAFT_WIRE_MISMATCH";
    /// The roster does not know this node (yet).
    NotMember = 0x120, RetryAfter, "NOT_MEMBER";
    /// This node was removed from the cluster.
    Removed = 0x121, Fatal, "REMOVED";
    /// The certificate was revoked.
    Revoked = 0x122, Fatal, "REVOKED";
    /// The certificate has expired.
    CertificateExpired = 0x123, Fatal, "CERTIFICATE_EXPIRED";
    /// Another key than the one that the roster pins for this node.
    KeyNotPinned = 0x124, Fatal, "KEY_NOT_PINNED";
    /// The chain is not trusted any more.
    Untrusted = 0x125, Fatal, "UNTRUSTED";
    /// Another process with this node's identity is alive and answers.
    DuplicateNode = 0x130, RetryAfter, "DUPLICATE_NODE";
    /// An older incarnation of this node than one that was already seen.
    StaleIncarnation = 0x131, Fatal, "STALE_INCARNATION";
    /// The peer shows our own identity.
    SelfId = 0x132, Fatal, "SELF_ID";
    /// Another newcomer is being judged; come back.
    Busy = 0x133, RetryAfter, "BUSY";
    /// A bound on links or handshakes is reached.
    Overloaded = 0x140, RetryAfter, "OVERLOADED";
    /// A message that the protocol does not allow here.
    ProtocolError = 0x150, RetryAfter, "PROTOCOL_ERROR";
    /// A frame over the limit on the Control lane.
    FrameTooLarge = 0x151, RetryAfter, "FRAME_TOO_LARGE";
}

impl CloseCode {
    pub(crate) fn varint(self) -> VarInt {
        VarInt::from_u32(self.to_wire())
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Codes with which one stream is reset or stopped; the link lives on (PROTOCOL.md, S clauses).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamCode {
    /// The caller dropped the call, or the receiver has no more use for it.
    Cancelled,
    /// A frame or a body that the protocol does not allow on this stream.
    Malformed,
    /// A frame over the limit.
    TooLarge,
}

impl StreamCode {
    pub(crate) fn varint(self) -> VarInt {
        // S1: the numbers.
        VarInt::from_u32(match self {
            Self::Cancelled => 0x200,
            Self::Malformed => 0x201,
            Self::TooLarge => 0x202,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_unique_and_survive_the_wire() {
        let mut numbers: Vec<_> = CloseCode::ALL.iter().map(|code| code.to_wire()).collect();
        numbers.dedup();
        assert_eq!(numbers.len(), CloseCode::ALL.len());
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_wire(u64::from(code.to_wire())), Some(*code));
        }
        assert_eq!(CloseCode::from_wire(0), None);
        assert_eq!(CloseCode::from_wire(u64::MAX), None);
    }

    /// C2: the classes.
    #[test]
    fn what_only_an_operator_can_mend_is_fatal() {
        assert_eq!(CloseCode::Removed.class(), CloseClass::Fatal);
        assert_eq!(CloseCode::StaleIncarnation.class(), CloseClass::Fatal);
        // A lagging node may not know a new member yet, and a duplicate may go away.
        assert_eq!(CloseCode::NotMember.class(), CloseClass::RetryAfter);
        assert_eq!(CloseCode::DuplicateNode.class(), CloseClass::RetryAfter);
    }
}
