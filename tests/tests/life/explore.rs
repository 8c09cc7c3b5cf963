//! The explorer: every world that the steps lead to, breadth first, so that the trace to a broken
//! promise is as short as it can be.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::time::{Duration, Instant};

use super::action::Action;
use super::settle::Order;
use super::world::{Rules, World};

/// What was explored.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) depth: usize,
    /// Worlds from which the way to rest was walked.
    pub(crate) settled: usize,
    pub(crate) took: Duration,
}

/// How a world was found.
struct Found {
    parent: u32,
    depth: u32,
    action: Option<Action>,
}

/// Explores all that is possible within the budget of the rules.
///
/// One world in `settle_every`, and each in which no step is left, is run to rest.
pub(crate) fn explore(rules: &Rules, settle_every: usize) -> Explored {
    let started = Instant::now();
    let mut explorer = Explorer {
        rules,
        seen: HashMap::default(),
        found: Vec::new(),
        open: VecDeque::new(),
    };
    let mut report = Explored {
        states: 0,
        steps: 0,
        depth: 0,
        settled: 0,
        took: Duration::ZERO,
    };
    explorer.meet(World::new(rules), 0, None);
    while let Some((number, world)) = explorer.open.pop_front() {
        let actions = world.steps(rules);
        if actions.is_empty() || (number as usize).is_multiple_of(settle_every) {
            report.settled += 1;
            explorer.settle(number, &world);
        }
        for action in actions {
            report.steps += 1;
            let mut next = world.clone();
            next.apply(rules, action);
            let broken = next.broken(rules).or_else(|| next.broken_since(&world));
            if let Some(broken) = broken {
                let last = action.told(&world);
                explorer.fail(number, &[last], &next, &broken);
            }
            explorer.meet(next, number, Some(action));
        }
    }
    report.states = explorer.found.len();
    report.depth = explorer
        .found
        .last()
        .map_or(0, |found| found.depth as usize);
    report.took = started.elapsed();
    println!("{}: {report:?}", rules.name);
    report
}

struct Explorer<'a> {
    rules: &'a Rules,
    /// The fingerprints of the worlds. Two of 128 bits are never the same.
    seen: HashMap<u128, u32, BuildHasherDefault<Taken>>,
    found: Vec<Found>,
    open: VecDeque<(u32, World)>,
}

impl Explorer<'_> {
    fn meet(&mut self, world: World, parent: u32, action: Option<Action>) {
        let number = u32::try_from(self.found.len()).expect("fewer worlds");
        let mut fingerprint = Fingerprint::default();
        world.hash(&mut fingerprint);
        if self.seen.contains_key(&fingerprint.value()) {
            return;
        }
        self.seen.insert(fingerprint.value(), number);
        let depth = self
            .found
            .get(parent as usize)
            .map_or(0, |found| found.depth + 1);
        self.found.push(Found {
            parent,
            depth,
            action,
        });
        self.open.push_back((number, world));
    }

    fn settle(&self, number: u32, world: &World) {
        for order in [Order::First, Order::Last] {
            let (told, broken) = world.clone().settle(self.rules, order);
            if let Some(broken) = broken {
                let mut last = vec![format!("-- the faults end (schedule: {order:?}) --")];
                last.extend(told);
                self.fail(number, &last, world, &broken);
            }
        }
    }

    /// Tells how it came to this.
    fn fail(&self, number: u32, last: &[String], world: &World, broken: &str) -> ! {
        let mut actions = Vec::new();
        let mut at = number;
        while let Some(action) = self.found[at as usize].action {
            actions.push(action);
            at = self.found[at as usize].parent;
        }
        let mut before = World::new(self.rules);
        let mut trace = Vec::new();
        for action in actions.into_iter().rev() {
            trace.push(action.told(&before));
            before.apply(self.rules, action);
        }
        trace.extend_from_slice(last);
        let lines: Vec<_> = trace
            .iter()
            .enumerate()
            .map(|(number, line)| format!("{:3}. {line}", number + 1))
            .collect();
        panic!(
            "{}: {broken}\n{}\nworld: {world:#?}",
            self.rules.name,
            lines.join("\n"),
        );
    }
}

/// A hash of 128 bits that is cheap also where nothing is optimised.
#[derive(Clone, Copy, Debug)]
struct Fingerprint {
    one: u64,
    two: u64,
}

impl Default for Fingerprint {
    fn default() -> Self {
        Self {
            one: 0x243f_6a88_85a3_08d3,
            two: 0x1319_8a2e_0370_7344,
        }
    }
}

impl Fingerprint {
    fn value(self) -> u128 {
        let mix = |word: u64| {
            let word = (word ^ (word >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            word ^ (word >> 29)
        };
        (u128::from(mix(self.one)) << 64) | u128::from(mix(self.two))
    }

    fn take(&mut self, word: u64) {
        self.one = (self.one.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.two = (self.two ^ word)
            .wrapping_mul(0xc2b2_ae3d_27d4_eb4f)
            .rotate_left(31);
    }
}

impl Hasher for Fingerprint {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.take(u64::from(*byte) | 0x100);
        }
    }
    fn write_u8(&mut self, word: u8) {
        self.take(word.into());
    }
    fn write_u16(&mut self, word: u16) {
        self.take(word.into());
    }
    fn write_u32(&mut self, word: u32) {
        self.take(word.into());
    }
    fn write_u64(&mut self, word: u64) {
        self.take(word);
    }
    fn write_usize(&mut self, word: usize) {
        self.take(word as u64);
    }
    fn write_isize(&mut self, word: isize) {
        self.take(word as u64);
    }
    fn finish(&self) -> u64 {
        self.one
    }
}

/// Takes a fingerprint for what it is.
#[derive(Default)]
struct Taken(u64);

impl Hasher for Taken {
    fn write(&mut self, _: &[u8]) {}
    fn write_u128(&mut self, word: u128) {
        self.0 = word as u64;
    }
    fn finish(&self) -> u64 {
        self.0
    }
}
