//! One connection between two processes, as QUIC keeps it: its two ends and what is under way.

use quicraft_transport::close::CloseCode;

/// The dialer's end of a connection.
pub(crate) const DIALER: usize = 0;
/// The acceptor's end.
pub(crate) const ACCEPTOR: usize = 1;

/// What one end has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    /// The dialer has sent its Hello, or the acceptor has not seen it yet.
    Waiting,
    /// The candidate is judged, and its incumbents (a bit for each slot) are probed.
    Probing { incumbents: u16 },
    /// The acceptor has sent its Welcome.
    Welcomed,
    /// It was adopted, and takes calls.
    Adopted,
    /// It takes no new calls.
    Draining { rested: bool },
    /// This end is gone.
    Closed,
}

impl Stage {
    pub(crate) fn is_adopted(self) -> bool {
        matches!(self, Self::Adopted | Self::Draining { .. })
    }
}

/// A message on the first stream, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Control {
    Hello,
    Welcome,
    Confirm,
    Done,
    GoingAway,
}

/// A message on a stream of its own; streams have no order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Data {
    Call(usize),
    Answer(usize),
}

/// What is under way from one end to the other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Wire {
    pub(crate) control: Vec<Control>,
    pub(crate) data: Vec<Data>,
    /// A close may overtake everything else.
    pub(crate) close: Option<CloseCode>,
}

impl Wire {
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A connection. What belongs to an end stands at the end's place: dialer first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    /// The places of the two processes.
    pub(crate) places: [usize; 2],
    /// Their boots; 0 for an acceptor that has seen nothing yet.
    pub(crate) boots: [u8; 2],
    /// Their epochs.
    pub(crate) epochs: [u8; 2],
    pub(crate) generation: u64,
    pub(crate) stages: [Stage; 2],
    /// What each end has sent.
    pub(crate) wires: [Wire; 2],
}

impl Connection {
    /// The end of the process at this place.
    pub(crate) fn end_of(&self, place: usize) -> Option<usize> {
        self.places.iter().position(|at| *at == place)
    }
}
