//! What a node counts, of all nodes of a test's thread together.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, Gauge, Histogram, Key, KeyName, LocalRecorderGuard, Metadata, Recorder, SharedString,
    Unit,
};

/// Counters by name and labels. Clones are the same counters.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts(Arc<Mutex<BTreeMap<String, Arc<AtomicU64>>>>);

thread_local! {
    static HERE: RefCell<Option<(Counts, LocalRecorderGuard<'static>)>> = const { RefCell::new(None) };
}

impl Counts {
    /// From now on the counters of this thread are these, and begin at 0.
    pub(super) fn here() -> Self {
        HERE.with_borrow_mut(|here| {
            let (counts, _) = here.get_or_insert_with(|| {
                let counts = Self::default();
                // As long as the thread, which is as long as the test.
                let recorder: &'static Self = Box::leak(Box::new(counts.clone()));
                (counts, metrics::set_default_local_recorder(recorder))
            });
            counts.0.lock().expect("whole").clear();
            counts.clone()
        })
    }

    /// Refusals by one of the two ends, `us` or `peer`, for a reason.
    pub(super) fn refusals(&self, by: &str, reason: &str) -> u64 {
        let counters = self.0.lock().expect("whole");
        let key = format!("quicraft_refusals_total,by={by},reason={reason}");
        let counter = counters.get(&key);
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels = key.labels();
        let labels = labels.map(|label| format!(",{}={}", label.key(), label.value()));
        let name = format!("{}{}", key.name(), labels.collect::<String>());
        let mut counters = self.0.lock().expect("whole");
        Counter::from_arc(Arc::clone(counters.entry(name).or_default()))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}
