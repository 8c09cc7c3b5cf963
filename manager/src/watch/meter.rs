//! Counts and times the commands of one group. Its handles are made once; a command costs two reads
//! of the clock and two additions.

use std::sync::OnceLock;

use metrics::{Counter, Histogram};
use tokio::time::Instant;

use crate::forward::method;
use crate::{GroupName, RequestError};

/// What a group is asked for, as metrics name it, by the method that travels.
const OPERATIONS: [(u16, &str); 5] = [
    (method::PROPOSE, "propose"),
    (method::READ_POINT, "read"),
    (method::CHANGE, "change"),
    (method::PROGRESS, "progress"),
    (method::TRANSFER, "transfer"),
];

/// What came of it, as metrics name it.
const OUTCOMES: [&str; 9] = [
    "done",
    "no_leader",
    "overloaded",
    "too_large",
    "unsendable",
    "stopped",
    "unknown",
    "failed",
    "dropped",
];

const DONE: usize = 0;
const DROPPED: usize = 8;

const fn outcome(error: &RequestError) -> usize {
    match error {
        RequestError::NoLeader { .. } => 1,
        RequestError::Overloaded { .. } => 2,
        RequestError::TooLarge { .. } => 3,
        RequestError::Unsendable { .. } => 4,
        RequestError::Stopped { .. } => 5,
        RequestError::Unknown { .. } => 6,
        RequestError::Failed { .. } => 7,
    }
}

/// The meters of a group.
#[derive(Debug)]
pub(crate) struct CommandMeter {
    group: String,
    operations: [OnceLock<OperationMeter>; OPERATIONS.len()],
}

#[derive(Debug)]
struct OperationMeter {
    operation: &'static str,
    seconds: Histogram,
    outcomes: [OnceLock<Counter>; OUTCOMES.len()],
}

impl CommandMeter {
    pub(crate) fn new(group: &GroupName) -> Self {
        Self {
            group: group.to_string(),
            operations: [const { OnceLock::new() }; OPERATIONS.len()],
        }
    }

    /// A command begins. Dropped before its end, it counts as `dropped`.
    pub(crate) fn begin(&self, method: u16) -> Measure<'_> {
        let known = OPERATIONS.iter().position(|&(known, _)| known == method);
        Measure {
            meter: self,
            operation: known.unwrap_or_default(),
            start: Instant::now(),
            outcome: DROPPED,
        }
    }

    fn record(&self, operation: usize, outcome: usize, start: Instant) {
        let meter = self.operations[operation].get_or_init(|| {
            let (group, (_, operation)) = (self.group.clone(), OPERATIONS[operation]);
            OperationMeter {
                operation,
                seconds: metrics::histogram!(
                    "quicraft_command_seconds", "group" => group, "operation" => operation
                ),
                outcomes: [const { OnceLock::new() }; OUTCOMES.len()],
            }
        });
        // What is refused at once would make the rest look fast.
        if outcome == DONE {
            meter.seconds.record(start.elapsed());
        }
        let counter = meter.outcomes[outcome].get_or_init(|| {
            metrics::counter!(
                "quicraft_commands_total",
                "group" => self.group.clone(),
                "operation" => meter.operation,
                "outcome" => OUTCOMES[outcome]
            )
        });
        counter.increment(1);
    }
}

/// A command under way.
#[derive(Debug)]
pub(crate) struct Measure<'a> {
    meter: &'a CommandMeter,
    operation: usize,
    start: Instant,
    outcome: usize,
}

impl Measure<'_> {
    /// It has ended.
    pub(crate) fn end(mut self, error: Option<&RequestError>) {
        self.outcome = error.map_or(DONE, outcome);
    }
}

impl Drop for Measure<'_> {
    fn drop(&mut self) {
        self.meter.record(self.operation, self.outcome, self.start);
    }
}
