//! The whole state of a pair: the processes, the connections between them, the calls, and which
//! faults are left.

use std::sync::LazyLock;
use std::time::Duration;

use quicraft_transport::admission::ConnectionId;
use quicraft_transport::life::{LifeEvent, LifeSettings, PeerLife};
use tokio::time::Instant;

use super::connection::{ACCEPTOR, Connection, Control, DIALER, Data, Stage, Wire};

/// The process with the smaller id.
pub(crate) const SMALLER: usize = 0;
/// The one with the larger id.
pub(crate) const LARGER: usize = 1;
/// Another process with the larger id.
pub(crate) const CLONE: usize = 2;
/// The names of the places in a trace.
pub(crate) const NAMES: [&str; 3] = ["A", "B", "B'"];

/// Time stands still at this moment, except where a timer fires.
pub(crate) static BASE: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Timers that are armed at the base fire in the order of these; the explorer chooses when.
pub(crate) const PARKED: Duration = Duration::from_secs(20);
pub(crate) const HANDOVER: Duration = Duration::from_secs(100);
pub(crate) const IDLE: Duration = Duration::from_secs(1_000);
/// From here on a timer is that of draining.
pub(crate) const DRAIN: Duration = Duration::from_secs(10_000);

/// Where the task that dials has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum DialTask {
    None,
    /// It was started, and has not dialled yet: no dial is left, or none was free.
    Queued,
    /// It dials this connection.
    Running(usize),
    /// It has adopted a connection and not told the machine that it is over.
    Linked,
}

/// A run of a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) boot: u8,
    pub(crate) epoch: u8,
    pub(crate) life: PeerLife,
    pub(crate) dial: DialTask,
    pub(crate) paused: bool,
    pub(crate) stopping: bool,
    /// Whether its roster lets the peer in.
    pub(crate) admits: bool,
    pub(crate) eager: bool,
}

/// What became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    /// It was not sent yet.
    Waiting,
    /// It is in flight on this connection.
    Sent(usize),
    Answered,
    Failed,
}

/// A call, from its caller's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Call {
    pub(crate) caller: usize,
    pub(crate) outcome: Outcome,
    pub(crate) served: u8,
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Budget {
    pub(crate) dials: [u8; 3],
    pub(crate) renewals: u8,
    pub(crate) changes: u8,
    pub(crate) lost_closes: u8,
    pub(crate) crashes: u8,
    pub(crate) pauses: u8,
    pub(crate) partitions: u8,
    pub(crate) stops: u8,
    pub(crate) bars: u8,
    pub(crate) lulls: u8,
    /// Looks at the use of a link.
    pub(crate) looks: u8,
}

/// What does not change while a scenario is explored.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) name: &'static str,
    /// Whether restarts count up the epoch; else it is 0.
    pub(crate) ordered: bool,
    /// Whether a link that ends has always stood.
    pub(crate) stood: bool,
    pub(crate) eager: [bool; 2],
    pub(crate) idle: bool,
    /// The epoch of a clone of the larger node, which dials too.
    pub(crate) clone: Option<u8>,
    /// Whether a connection may drain for so long that its limit ends it.
    pub(crate) slow_drains: bool,
    pub(crate) calls: [u8; 2],
    pub(crate) budget: Budget,
}

impl Rules {
    pub(crate) fn settings(&self, place: usize) -> LifeSettings {
        LifeSettings {
            dials_first: place == SMALLER,
            grace: Duration::ZERO,
            backoff_min: Duration::ZERO,
            backoff_max: Duration::from_nanos(u64::from(!self.stood)),
            idle: self.idle.then_some(IDLE * 4),
            drain: DRAIN,
            handover: HANDOVER,
            parked: PARKED,
        }
    }

    /// Whether nothing that happens here may cost a call.
    pub(crate) fn is_faultless(&self) -> bool {
        let Budget {
            lost_closes,
            crashes,
            pauses,
            partitions,
            stops,
            bars,
            ..
        } = self.budget;
        let faults = [lost_closes, crashes, pauses, partitions, stops, bars];
        faults.iter().all(|count| *count == 0) && self.clone.is_none() && !self.slow_drains
    }
}

/// Everything that there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) processes: [Option<Process>; 3],
    /// How many runs each place has seen.
    pub(crate) runs: [u8; 3],
    pub(crate) connections: Vec<Option<Connection>>,
    pub(crate) partitioned: bool,
    pub(crate) calls: Vec<Call>,
    pub(crate) budget: Budget,
    /// More connections drained than may: the oldest was closed, and its calls with it.
    pub(crate) overflowed: bool,
}

impl World {
    /// Two nodes that have just started and know each other.
    pub(crate) fn new(rules: &Rules) -> Self {
        let calls = [SMALLER, LARGER].into_iter().flat_map(|caller| {
            let call = Call {
                caller,
                outcome: Outcome::Waiting,
                served: 0,
            };
            (0..rules.calls[caller]).map(move |_| call)
        });
        let mut world = Self {
            processes: [None, None, None],
            runs: [0; 3],
            connections: Vec::new(),
            partitioned: false,
            calls: calls.collect(),
            budget: rules.budget,
            overflowed: false,
        };
        world.start(rules, SMALLER);
        world.start(rules, LARGER);
        if rules.clone.is_some() {
            world.start(rules, CLONE);
        }
        world
    }

    /// Starts a run of the node at this place.
    pub(crate) fn start(&mut self, rules: &Rules, place: usize) {
        self.runs[place] += 1;
        let run = self.runs[place];
        let epoch = match rules.clone {
            Some(epoch) if place == CLONE => epoch,
            _ if rules.ordered => run,
            _ => 0,
        };
        // The clone is as eager as the node whose name it bears.
        let eager = rules.eager[place.min(LARGER)];
        self.processes[place] = Some(Process {
            boot: run + 10 * u8::try_from(place + 1).expect("three places"),
            epoch,
            life: PeerLife::new(rules.settings(place)),
            dial: DialTask::None,
            paused: false,
            stopping: false,
            admits: true,
            eager,
        });
        self.feed(place, LifeEvent::Admitted);
        self.feed(place, LifeEvent::Eager(eager));
    }

    pub(crate) fn process(&self, place: usize) -> &Process {
        self.processes[place].as_ref().expect("it runs")
    }

    pub(crate) fn process_mut(&mut self, place: usize) -> &mut Process {
        self.processes[place].as_mut().expect("it runs")
    }

    pub(crate) fn connection(&self, slot: usize) -> &Connection {
        self.connections[slot].as_ref().expect("it is there")
    }

    pub(crate) fn connection_mut(&mut self, slot: usize) -> &mut Connection {
        self.connections[slot].as_mut().expect("it is there")
    }

    /// The connections, with their slots.
    pub(crate) fn known(&self) -> impl Iterator<Item = (usize, &Connection)> {
        let slots = self.connections.iter().enumerate();
        slots.filter_map(|(slot, connection)| Some((slot, connection.as_ref()?)))
    }

    /// The process at this place runs and takes events.
    pub(crate) fn acts(&self, place: usize) -> bool {
        self.processes[place]
            .as_ref()
            .is_some_and(|process| !process.paused)
    }

    /// The link of the process at this place.
    pub(crate) fn link(&self, place: usize) -> Option<usize> {
        let id = self.processes[place].as_ref()?.life.record().link()?;
        self.known()
            .map(|(slot, _)| slot)
            .find(|slot| number(*slot) == id)
    }

    /// Whether both ends of a connection could hear each other now.
    pub(crate) fn is_reached(&self, slot: usize) -> bool {
        let places = self.connections[slot]
            .as_ref()
            .map(|connection| connection.places);
        places.is_some_and(|places| places.iter().all(|place| self.acts(*place)))
            && !self.partitioned
    }

    /// Whether a ping on a connection would be answered now.
    pub(crate) fn is_answered(&self, slot: usize) -> bool {
        let stages = self.connections[slot]
            .as_ref()
            .map(|connection| connection.stages);
        stages.is_some_and(|stages| stages.iter().all(|stage| stage.is_adopted()))
            && self.is_reached(slot)
    }

    /// Starts a dial in the first free slot.
    pub(crate) fn dial(&mut self, place: usize) {
        if self.budget.dials[place] == 0 {
            self.process_mut(place).dial = DialTask::Queued;
            return;
        }
        self.budget.dials[place] -= 1;
        let slot = self.connections.iter().position(Option::is_none);
        let slot = slot.unwrap_or_else(|| {
            self.connections.push(None);
            self.connections.len() - 1
        });
        // The address of the larger node leads to its clone when it is gone itself.
        let cloned = self.processes[LARGER].is_none() && self.processes[CLONE].is_some();
        let acceptor = match place {
            SMALLER if cloned => CLONE,
            SMALLER => LARGER,
            _ => SMALLER,
        };
        let process = self.process_mut(place);
        process.dial = DialTask::Running(slot);
        let mut hello = Wire::default();
        hello.control.push(Control::Hello);
        self.connections[slot] = Some(Connection {
            boots: [process.boot, 0],
            epochs: [process.epoch, 0],
            generation: process.life.next_generation(),
            places: [place, acceptor],
            stages: [Stage::Waiting; 2],
            wires: [hello, Wire::default()],
        });
    }

    /// Forgets what can have no effect any more, so that equal worlds look equal.
    pub(crate) fn tidy(&mut self) {
        for slot in 0..self.connections.len() {
            let Some(connection) = &mut self.connections[slot] else {
                continue;
            };
            for end in [DIALER, ACCEPTOR] {
                if connection.stages[1 - end] == Stage::Closed {
                    connection.wires[end].clear();
                }
                connection.wires[end].data.sort_unstable();
            }
            if connection.stages == [Stage::Closed; 2] {
                self.connections[slot] = None;
                self.forget_incumbent(slot);
            }
        }
        while let Some(None) = self.connections.last() {
            self.connections.pop();
        }
    }

    fn forget_incumbent(&mut self, slot: usize) {
        for connection in self.connections.iter_mut().flatten() {
            for stage in &mut connection.stages {
                if let Stage::Probing { incumbents } = stage {
                    *incumbents &= !(1 << slot);
                }
            }
        }
    }

    /// The calls of one end on one connection.
    pub(crate) fn calls_on(&self, slot: usize, place: usize) -> bool {
        self.calls
            .iter()
            .any(|call| call.caller == place && call.outcome == Outcome::Sent(slot))
    }

    pub(crate) fn send(&mut self, slot: usize, end: usize, message: Control) {
        let connection = self.connection_mut(slot);
        connection.wires[end].control.push(message);
    }

    pub(crate) fn send_data(&mut self, slot: usize, end: usize, message: Data) {
        let connection = self.connection_mut(slot);
        connection.wires[end].data.push(message);
    }
}

/// The number of the connection in a slot, as both machines know it.
pub(crate) fn number(slot: usize) -> ConnectionId {
    ConnectionId::new(slot as u64)
}
