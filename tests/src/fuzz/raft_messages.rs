//! The messages of the Raft wire, each from any bytes.

use quicraft_transport::fuzzing::{RaftMessage, encoded_again};

use crate::raft::TypeConfig;

/// Decodes a message. What is taken encodes to no more bytes than came, and is the same message
/// again: a codec that read too little, or an own encoding that nobody would take, is found so.
fn message(message: RaftMessage, data: &[u8]) -> bool {
    let again = |bytes| {
        encoded_again::<TypeConfig>(message, bytes)
            .unwrap_or_else(|error| panic!("{message:?} decoded and does not encode: {error}"))
    };
    let Some(once) = again(data) else {
        return false;
    };
    assert!(once.len() <= data.len(), "{message:?} grew");
    assert_eq!(again(&once), Some(once.clone()), "{message:?} changed");
    true
}

macro_rules! targets {
    ($($name:ident, $message:ident;)*) => {
        $(
            #[doc = concat!("Any bytes as `", stringify!($message), "`.")]
            ///
            /// # Panics
            ///
            /// If a promise is broken.
            #[must_use]
            pub fn $name(data: &[u8]) -> bool {
                message(RaftMessage::$message, data)
            }
        )*
    };
}

targets! {
    append, Append;
    append_reply, AppendReply;
    vote, Vote;
    vote_reply, VoteReply;
    leader_transfer, LeaderTransfer;
    leader_transfer_reply, LeaderTransferReply;
    snapshot_head, SnapshotHead;
    snapshot_reply, SnapshotReply;
    snapshot_offer, SnapshotOffer;
    snapshot_offer_reply, SnapshotOfferReply;
}
