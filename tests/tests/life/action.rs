//! What the explorer may do next.

use std::fmt;

use super::connection::DIALER;
use super::world::{NAMES, World};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// The next Control message of an end arrives; `later` if a second after the last probe.
    Deliver {
        slot: usize,
        from: usize,
        later: bool,
    },
    /// A call or an answer arrives.
    DeliverData {
        slot: usize,
        from: usize,
        index: usize,
    },
    /// A close arrives, before whatever else is under way.
    DeliverClose {
        slot: usize,
        from: usize,
    },
    /// A close is lost for good.
    LoseClose {
        slot: usize,
        from: usize,
    },
    /// An end gives up on another that it does not hear.
    TimeOut {
        slot: usize,
        end: usize,
    },
    /// The window of a probe is over, or an incumbent has answered.
    EndProbe {
        slot: usize,
        end: usize,
    },
    /// The task that dialled tells the machine that it has adopted.
    ReportDial {
        place: usize,
    },
    /// A dial that had to wait begins.
    StartDial {
        place: usize,
    },
    /// The first timer fires, or (`last`) that of the draining connections.
    Due {
        place: usize,
        last: bool,
    },
    /// A call is sent on the link.
    SendCall {
        call: usize,
    },
    /// A call has no link and asks for one.
    Want {
        place: usize,
    },
    /// The link is to be replaced.
    Renew {
        place: usize,
    },
    /// An address has changed.
    Change {
        place: usize,
    },
    /// No group needs the peer any more, or one does again.
    Need {
        place: usize,
        eager: bool,
    },
    Crash {
        place: usize,
    },
    Start {
        place: usize,
    },
    Pause {
        place: usize,
    },
    Continue {
        place: usize,
    },
    Partition,
    Heal,
    /// It says that it goes.
    Stop {
        place: usize,
    },
    /// It closes everything and is gone.
    Exit {
        place: usize,
    },
    Bar {
        place: usize,
    },
    Admit {
        place: usize,
    },
}

impl Action {
    /// The step in words. `world` is the one before it.
    pub(crate) fn told(self, world: &World) -> String {
        Told {
            action: self,
            world,
        }
        .to_string()
    }
}

struct Told<'a> {
    action: Action,
    world: &'a World,
}

impl Told<'_> {
    /// Connection 2 of generation 3, seen from one of its ends.
    fn connection(&self, slot: usize, end: usize) -> (String, &'static str) {
        let connection = self.world.connection(slot);
        let dialer = NAMES[connection.places[DIALER]];
        let generation = connection.generation;
        let place = NAMES[connection.places[end]];
        (
            format!("#{slot} (dialled by {dialer}, generation {generation})"),
            place,
        )
    }
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |place: usize| NAMES[place];
        match self.action {
            Action::Deliver { slot, from, later } => {
                let (connection, to) = self.connection(slot, 1 - from);
                let message = self.world.connection(slot).wires[from].control[0];
                let when = if later {
                    ", a second after its last probe"
                } else {
                    ""
                };
                write!(f, "{message:?} arrives at {to} on {connection}{when}")
            }
            Action::DeliverData { slot, from, index } => {
                let (connection, to) = self.connection(slot, 1 - from);
                let message = self.world.connection(slot).wires[from].data[index];
                write!(f, "{message:?} arrives at {to} on {connection}")
            }
            Action::DeliverClose { slot, from } => {
                let (connection, to) = self.connection(slot, 1 - from);
                let code = self.world.connection(slot).wires[from].close;
                write!(f, "close {code:?} arrives at {to} on {connection}")
            }
            Action::LoseClose { slot, from } => {
                let (connection, place) = self.connection(slot, from);
                write!(f, "the close from {place} on {connection} is lost")
            }
            Action::TimeOut { slot, end } => {
                let (connection, place) = self.connection(slot, end);
                write!(f, "{place} gives up {connection}, which is silent or reset")
            }
            Action::EndProbe { slot, end } => {
                let (connection, place) = self.connection(slot, end);
                write!(f, "the probe of {place} for {connection} ends")
            }
            Action::ReportDial { place } => {
                write!(f, "{} hears that its dial is over", name(place))
            }
            Action::StartDial { place } => write!(f, "{} starts its dial", name(place)),
            Action::Due { place, last } => {
                let which = if last { "the drain limit" } else { "a timer" };
                write!(f, "{which} of {} fires", name(place))
            }
            Action::SendCall { call } => {
                let caller = name(self.world.calls[call].caller);
                write!(f, "{caller} sends call {call} on its link")
            }
            Action::Want { place } => write!(f, "a call of {} wants a link", name(place)),
            Action::Renew { place } => write!(f, "{} renews its link", name(place)),
            Action::Change { place } => write!(f, "{} learns of a change", name(place)),
            Action::Need { place, eager } => {
                let verb = if eager { "needs" } else { "no longer needs" };
                write!(f, "{} {verb} its peer", name(place))
            }
            Action::Crash { place } => write!(f, "{} crashes", name(place)),
            Action::Start { place } => write!(f, "{} starts again", name(place)),
            Action::Pause { place } => write!(f, "{} is paused", name(place)),
            Action::Continue { place } => write!(f, "{} is continued", name(place)),
            Action::Partition => write!(f, "the network is cut"),
            Action::Heal => write!(f, "the network heals"),
            Action::Stop { place } => write!(f, "{} begins to stop", name(place)),
            Action::Exit { place } => write!(f, "{} has stopped", name(place)),
            Action::Bar { place } => write!(f, "the roster of {} bars its peer", name(place)),
            Action::Admit { place } => write!(f, "the roster of {} admits its peer", name(place)),
        }
    }
}
