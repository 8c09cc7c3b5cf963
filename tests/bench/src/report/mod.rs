//! What measurements have in common when they are told: spreads, ratios, processor time, latencies,
//! tables, and one JSON object as the last line. It must not know what was measured.

mod latency;
mod processor;
mod spread;
mod table;

pub(crate) use latency::Latencies;
pub(crate) use processor::processor_time;
pub(crate) use spread::{Spread, ratio};
pub(crate) use table::Table;
