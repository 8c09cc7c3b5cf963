//! What the managers and transports of a test's thread have recorded, of all nodes together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, LocalRecorderGuard,
    Metadata, Recorder, SharedString, Unit,
};

/// All values that a series was given, in order; of a counter, its sums.
#[derive(Debug, Default)]
struct Series(Mutex<Vec<f64>>);

impl Series {
    fn values(&self) -> Vec<f64> {
        self.0.lock().expect("whole").clone()
    }

    fn push(&self, next: impl FnOnce(f64) -> f64) {
        let mut values = self.0.lock().expect("whole");
        let last = values.last().copied().unwrap_or_default();
        values.push(next(last));
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.push(|last| last + value as f64);
    }

    fn absolute(&self, value: u64) {
        self.push(|_| value as f64);
    }
}

impl GaugeFn for Series {
    fn increment(&self, value: f64) {
        self.push(|last| last + value);
    }

    fn decrement(&self, value: f64) {
        self.push(|last| last - value);
    }

    fn set(&self, value: f64) {
        self.push(|_| value);
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.push(|_| value);
    }
}

/// The name of a metric and its labels.
type Labels = (String, Vec<String>);

/// Series by name and labels. Clones are the same series.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorded {
    series: Arc<Mutex<BTreeMap<String, Arc<Series>>>>,
    labels: Arc<Mutex<BTreeSet<Labels>>>,
}

impl Recorded {
    /// From now on this thread's series are these, as long as the guard is held.
    pub(crate) fn here() -> (Self, LocalRecorderGuard<'static>) {
        let recorded = Self::default();
        // As long as the test's thread.
        let recorder: &'static Self = Box::leak(Box::new(recorded.clone()));
        (recorded, metrics::set_default_local_recorder(recorder))
    }

    /// All values of one series, by its name and labels as `name{label=value,...}`.
    pub(crate) fn values(&self, series: &str) -> Vec<f64> {
        let all = self.series.lock().expect("whole");
        all.get(series).map_or_else(Vec::new, |it| it.values())
    }

    /// Its last value; 0 if there is none.
    pub(crate) fn last(&self, series: &str) -> f64 {
        self.values(series).last().copied().unwrap_or_default()
    }

    /// The metrics that have series, and the labels of each series.
    pub(crate) fn labels(&self) -> BTreeSet<(String, Vec<String>)> {
        self.labels.lock().expect("whole").clone()
    }

    fn of(&self, key: &Key) -> Arc<Series> {
        let labels = || key.labels().map(|label| label.key().to_owned()).collect();
        let named = (key.name().to_owned(), labels());
        self.labels.lock().expect("whole").insert(named);
        let labels = key.labels();
        let labels = labels.map(|label| format!("{}={}", label.key(), label.value()));
        let labels = labels.collect::<Vec<_>>().join(",");
        let name = if labels.is_empty() {
            key.name().to_owned()
        } else {
            format!("{}{{{labels}}}", key.name())
        };
        let mut all = self.series.lock().expect("whole");
        Arc::clone(all.entry(name).or_default())
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.of(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.of(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.of(key))
    }
}
