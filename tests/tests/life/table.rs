//! The table of ARCHITECTURE.md: what each state does with each event, as the machine has it.

use std::time::Duration;

use quicraft_transport::admission::{Candidate, ConnectionId, Rank};
use quicraft_transport::close::CloseCode;
use quicraft_transport::life::{
    Adoption, DialEnd, Ending, LifeAction, LifeEvent, LifeSettings, LifeState, PeerLife, Setback,
};
use tokio::time::Instant;

const MS: Duration = Duration::from_millis(1);

/// A machine of a peer that is needed, and the time.
struct Sample {
    life: PeerLife,
    now: Instant,
}

impl Sample {
    fn new(dials_first: bool) -> Self {
        let life = PeerLife::new(LifeSettings {
            dials_first,
            grace: 250 * MS,
            backoff_min: 50 * MS,
            backoff_max: 500 * MS,
            idle: None,
            drain: 5_000 * MS,
            handover: 1_000 * MS,
            parked: 300_000 * MS,
        });
        let mut sample = Self {
            life,
            now: Instant::now(),
        };
        sample.feed(LifeEvent::Eager(true));
        sample
    }

    fn feed(&mut self, event: LifeEvent) -> Vec<LifeAction> {
        self.life.handle(event, self.now, 1.0)
    }

    fn due(&mut self) -> Vec<LifeAction> {
        self.now = self.life.next_due().unwrap_or(self.now);
        self.feed(LifeEvent::Due)
    }

    fn adopt(&mut self, number: u64) -> Vec<LifeAction> {
        let candidate = Candidate {
            connection: ConnectionId::new(number),
            boot: 1,
            epoch: 1,
            rank: Rank {
                generation: number,
                dialer_is_smaller: true,
            },
        };
        match self.life.adopt(&candidate, false, self.now) {
            Adoption::Link(actions) => actions,
            other => panic!("{other:?}"),
        }
    }

    /// A machine in the state of this name.
    fn at(state: &str) -> Self {
        let mut sample = Self::new(state != "Grace");
        if state == "Idle" {
            sample.feed(LifeEvent::Eager(false));
        }
        if state != "Barred" {
            sample.feed(LifeEvent::Admitted);
        }
        let failed = |setback| LifeEvent::DialEnded(DialEnd::Failed(setback));
        match state {
            "Redialling" => {
                sample.feed(failed(Setback::Retry));
                sample.due();
            }
            "Up" | "Leaving" => {
                sample.adopt(1);
                sample.feed(LifeEvent::DialEnded(DialEnd::Linked));
                if state == "Leaving" {
                    sample.feed(LifeEvent::Leaving(ConnectionId::new(1)));
                }
                // It has stood.
                sample.now += 500 * MS;
            }
            "Down" => drop(sample.feed(failed(Setback::Retry))),
            "Parked" => drop(sample.feed(failed(Setback::Fatal(CloseCode::Removed)))),
            "Stopped" => drop(sample.feed(LifeEvent::Stop)),
            _ => {}
        }
        assert_eq!(name(&sample.life), state);
        sample
    }
}

/// Every state, in the order of the table. A new state does not compile without a row.
fn name(life: &PeerLife) -> &'static str {
    match life.state() {
        LifeState::Barred => "Barred",
        LifeState::Idle => "Idle",
        LifeState::Grace { .. } => "Grace",
        LifeState::Dialling => "Dialling",
        LifeState::Redialling => "Redialling",
        LifeState::Up { .. } => "Up",
        LifeState::Leaving => "Leaving",
        LifeState::Down { .. } => "Down",
        LifeState::Parked { .. } => "Parked",
        LifeState::Stopped => "Stopped",
    }
}

const STATES: [&str; 10] = [
    "Barred",
    "Idle",
    "Grace",
    "Dialling",
    "Redialling",
    "Up",
    "Leaving",
    "Down",
    "Parked",
    "Stopped",
];

type Event = (&'static str, fn(&mut Sample) -> Vec<LifeAction>);

fn lost(sample: &mut Sample, ending: Ending) -> Vec<LifeAction> {
    let connection = ConnectionId::new(1);
    sample.feed(LifeEvent::Lost { connection, ending })
}

const EVENTS: [Event; 14] = [
    ("admitted", |s| s.feed(LifeEvent::Admitted)),
    ("barred", |s| {
        s.feed(LifeEvent::Barred(CloseCode::Suspended))
    }),
    ("wanted", |s| s.feed(LifeEvent::Wanted)),
    ("eager", |s| s.feed(LifeEvent::Eager(true))),
    ("changed", |s| s.feed(LifeEvent::Changed)),
    ("renew", |s| s.feed(LifeEvent::Renew)),
    ("due", Sample::due),
    ("adopted", |s| s.adopt(2)),
    ("dial failed", |s| {
        s.feed(LifeEvent::DialEnded(DialEnd::Failed(Setback::Retry)))
    }),
    ("superseded", |s| {
        s.feed(LifeEvent::DialEnded(DialEnd::Failed(Setback::Superseded)))
    }),
    ("lost", |s| lost(s, Ending::Lost)),
    ("`SHUTDOWN`", |s| {
        lost(s, Ending::ByPeer(CloseCode::Shutdown))
    }),
    ("fatal code", |s| {
        lost(s, Ending::ByPeer(CloseCode::Replaced))
    }),
    ("going away", |s| {
        s.feed(LifeEvent::Leaving(ConnectionId::new(1)))
    }),
];

/// What an event does: the new state where it is another, and the first thing that is done.
fn cell(state: &str, event: Event) -> String {
    let mut sample = Sample::at(state);
    let dials = sample.life.is_dialling();
    let actions = event.1(&mut sample);
    let mut parts = Vec::new();
    if name(&sample.life) != state {
        parts.push(name(&sample.life));
    }
    for action in actions {
        parts.push(match action {
            LifeAction::Dial => "*dial*",
            LifeAction::Drain(_) => "*drain*",
            LifeAction::SayDone(_) => "*done*",
            LifeAction::Close(..) => "*close*",
            LifeAction::CheckUse(_) => "*look*",
        });
    }
    assert!(!dials || !parts.contains(&"*dial*"), "two dials at once");
    parts.join(", ")
}

/// One row for each event: the states are the columns.
fn table() -> String {
    let mut lines = vec![
        format!("| event | {} |", STATES.join(" | ")),
        format!("|{}", " --- |".repeat(STATES.len() + 1)),
    ];
    for event in EVENTS {
        let cells = STATES.map(|state| cell(state, event));
        lines.push(format!("| {} | {} |", event.0, cells.join(" | ")));
    }
    lines.join("\n")
}

#[test]
fn architecture_shows_the_table_of_the_machine() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ARCHITECTURE.md");
    let document = std::fs::read_to_string(path).expect("it is there");
    let table = table();
    assert!(
        document.contains(&table),
        "ARCHITECTURE.md has another table than:\n{table}"
    );
}
