//! What can happen to the link to a peer, and what is to be done about it.

use std::time::Duration;

use tokio::time::Instant;

use crate::admission::ConnectionId;
use crate::close::CloseCode;

/// Something that happened. Adopting and judging are functions of their own, because their callers
/// need an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the machine has to know every event"
)]
pub enum LifeEvent {
    /// A call needs the link.
    Wanted,
    /// Whether a link is kept also while no call needs it.
    Eager(bool),
    /// The roster lets the peer in.
    Admitted,
    /// The roster does not let the peer in any more; what it still has is closed with this code.
    Barred(CloseCode),
    /// An address, a pin, our credentials or an operator's word changed: dialling may help now.
    Changed,
    /// A new connection is wanted in the place of the link, which lives on until then.
    Renew,
    /// A dial has ended.
    DialEnded(DialEnd),
    /// An adopted connection is gone.
    Lost {
        /// Which.
        connection: ConnectionId,
        /// How it ended.
        ending: Ending,
    },
    /// A dial of the peer has come to its Hello: a link may be near, and ours would only cross it.
    Approached,
    /// That dial has ended, whatever became of it.
    Receded,
    /// The peer said `GoingAway`.
    Leaving(ConnectionId),
    /// The peer said `Done`.
    PeerDone(ConnectionId),
    /// No call of this end is in flight on a draining connection any more.
    Rested(ConnectionId),
    /// The answer to [`LifeAction::CheckUse`]: the link carries no call now, and has carried none
    /// since then.
    Quiet {
        /// The link.
        connection: ConnectionId,
        /// When it was used last.
        since: Instant,
    },
    /// The time of [`PeerLife::next_due`](super::PeerLife::next_due) has come.
    Due,
    /// This node stops: nothing is dialled any more.
    Stop,
}

/// How a dial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a dial ends in one of these ways")]
pub enum DialEnd {
    /// A connection was adopted.
    Linked,
    /// Nothing came of it.
    Failed(Setback),
}

/// What a failed dial means for the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the machine has to know every setback"
)]
pub enum Setback {
    /// Nobody answered, or the path broke.
    Retry,
    /// The peer holds a connection of a higher rank, which reaches us soon if it lives.
    Superseded,
    /// The peer asked for a wait.
    RetryAfter(Duration),
    /// TLS or the transport refused; anyone on the path can forge that.
    Forgeable,
    /// The peer said that dialling again cannot help.
    Fatal(CloseCode),
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a connection ends in one of these ways"
)]
pub enum Ending {
    /// It was silent, was reset, or broke.
    Lost,
    /// The peer closed it.
    ByPeer(CloseCode),
    /// This end closed it.
    Ours(CloseCode),
}

/// What is to be done, in the order given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the link has to do every action")]
pub enum LifeAction {
    /// Dial the peer, all its addresses; then feed [`LifeEvent::DialEnded`].
    Dial,
    /// Start no new call on the connection; when no call of this end is in flight on it, feed
    /// [`LifeEvent::Rested`].
    Drain(ConnectionId),
    /// Say `Done` on the connection.
    SayDone(ConnectionId),
    /// Close the connection.
    Close(ConnectionId, CloseCode),
    /// Find out when the link was used last; then feed [`LifeEvent::Quiet`].
    CheckUse(ConnectionId),
}
