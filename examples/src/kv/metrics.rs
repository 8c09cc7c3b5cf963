//! Everything that is counted and measured in this process, as Prometheus reads it.

use std::sync::OnceLock;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// There is one recorder in a process, whoever put it there first.
static RECORDER: OnceLock<Option<PrometheusHandle>> = OnceLock::new();

/// Counts from now on. Does nothing if the process counts already.
pub fn start() {
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().ok());
}

/// What was counted since [`start`]; nothing if somebody else counts.
#[must_use]
pub fn text() -> Option<String> {
    let recorder = RECORDER.get()?.as_ref()?;
    // Whatever nobody asks for would be kept one by one.
    recorder.run_upkeep();
    Some(recorder.render())
}
