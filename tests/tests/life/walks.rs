//! Long random orders of events with every fault together, on three nodes: three pairs, whose
//! machines know nothing of each other, and whose nodes crash, pause and stop in all their pairs.

use super::action::Action;
use super::scenario::pair;
use super::settle::Order;
use super::world::{CLONE, Rules, World};

/// The nodes of the pairs, the smaller first.
const PAIRS: [[usize; 2]; 3] = [[0, 1], [0, 2], [1, 2]];
/// More than any walk is long.
const ENOUGH: u8 = 250;

/// A random number from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((word ^ (word >> 31)) % bound as u64) as usize
    }
}

/// A step of the node at a place.
type OfNode = fn(usize) -> Action;

/// What a step of one pair is for the node in it, if it happens to the node and not to the pair.
fn of_node(action: Action) -> Option<(usize, OfNode)> {
    match action {
        Action::Crash { place } => Some((place, |place| Action::Crash { place })),
        Action::Start { place } => Some((place, |place| Action::Start { place })),
        Action::Pause { place } => Some((place, |place| Action::Pause { place })),
        Action::Continue { place } => Some((place, |place| Action::Continue { place })),
        Action::Stop { place } => Some((place, |place| Action::Stop { place })),
        Action::Exit { place } => Some((place, |place| Action::Exit { place })),
        _ => None,
    }
}

struct Walk {
    rules: Rules,
    pairs: [World; 3],
    random: Random,
    /// One step in so many is a fault, where one is possible.
    calm: usize,
    trace: Option<Vec<String>>,
}

impl Walk {
    fn new(rules: &Rules, seed: u64, traced: bool) -> Self {
        let mut random = Random(seed);
        let mut rules = rules.clone();
        rules.stood = random.below(2) == 0;
        rules.ordered = random.below(4) > 0;
        rules.idle = random.below(3) == 0;
        rules.eager = match random.below(4) {
            0 if rules.idle => [true, false],
            1 if rules.idle => [false; 2],
            _ => [true; 2],
        };
        // A node that was once seen with an epoch is not let in without one.
        rules.clone = rules
            .clone
            .map(|epoch| if rules.ordered { epoch } else { 0 });
        let world = World::new(&rules);
        Self {
            pairs: [world.clone(), world.clone(), world],
            calm: 3 + random.below(20),
            trace: traced.then(Vec::new),
            rules,
            random,
        }
    }

    /// Takes some steps, and then lets every pair come to rest.
    fn walk(&mut self, steps_max: usize) -> Result<(), String> {
        let steps = self.random.below(steps_max);
        for _ in 0..steps {
            let pair = self.random.below(PAIRS.len());
            let Some(action) = self.choose(pair) else {
                continue;
            };
            self.take(pair, action)?;
            if let Some((place, at)) = of_node(action).filter(|(place, _)| *place < CLONE) {
                let node = PAIRS[pair][place];
                let others = (0..PAIRS.len()).filter(|other| *other != pair);
                for other in others.collect::<Vec<_>>() {
                    if let Some(place) = PAIRS[other].iter().position(|known| *known == node) {
                        self.take(other, at(place))?;
                    }
                }
            }
        }
        for order in [Order::First, Order::Last] {
            for world in self.pairs.clone() {
                let (told, broken) = world.settle(&self.rules, order);
                if let Some(broken) = broken {
                    if let Some(trace) = &mut self.trace {
                        trace.push(format!("-- the faults end (schedule: {order:?}) --"));
                        trace.extend(told);
                    }
                    return Err(broken);
                }
            }
        }
        Ok(())
    }

    fn choose(&mut self, pair: usize) -> Option<Action> {
        let world = &self.pairs[pair];
        let mut natural = Vec::new();
        world.natural(&mut natural);
        let mut all = world.steps(&self.rules);
        let quiet = self.random.below(self.calm) > 0;
        if quiet && !natural.is_empty() {
            all.retain(|action| natural.iter().any(|(_, known)| known == action));
        }
        if all.is_empty() {
            return None;
        }
        Some(all[self.random.below(all.len())])
    }

    fn take(&mut self, pair: usize, action: Action) -> Result<(), String> {
        let world = &mut self.pairs[pair];
        if let Some(trace) = &mut self.trace {
            trace.push(format!("pair {:?}: {}", PAIRS[pair], action.told(world)));
        }
        let before = world.clone();
        world.apply(&self.rules, action);
        let broken = world
            .broken(&self.rules)
            .or_else(|| world.broken_since(&before));
        broken.map_or(Ok(()), Err)
    }
}

/// Walks, one for each seed. A broken promise is told with its seed and its steps.
fn walk_all(rules: &Rules, seeds: std::ops::Range<u64>, steps_max: usize) {
    for seed in seeds {
        if Walk::new(rules, seed, false).walk(steps_max).is_err() {
            let mut walk = Walk::new(rules, seed, true);
            let broken = walk.walk(steps_max).expect_err("the same again");
            let trace = walk.trace.unwrap_or_default().join("\n");
            panic!("{}, seed {seed}: {broken}\n{trace}", rules.name);
        }
    }
}

fn faultless() -> Rules {
    pair("walks without a fault", [ENOUGH; 2], |b| {
        (b.renewals, b.changes, b.lulls, b.looks) = (ENOUGH, ENOUGH, ENOUGH, ENOUGH);
    })
    .calls([4, 4])
}

fn faulty() -> Rules {
    let mut rules = faultless();
    rules.name = "walks with every fault";
    let b = &mut rules.budget;
    (b.lost_closes, b.crashes, b.pauses) = (ENOUGH, ENOUGH, ENOUGH);
    (b.partitions, b.stops, b.bars) = (ENOUGH, ENOUGH, ENOUGH);
    rules.slow()
}

/// With another process of the larger node.
fn cloned() -> Rules {
    let mut rules = faulty();
    rules.name = "walks with a clone";
    rules.cloned(1, ENOUGH)
}

#[test]
fn no_call_fails_in_2_000_orders_without_a_fault() {
    walk_all(&faultless(), 0..2_000, 60);
}

#[test]
fn promises_hold_in_7_000_orders_with_every_fault() {
    walk_all(&faulty(), 0..7_000, 60);
}

#[test]
fn promises_hold_in_1_000_orders_with_a_clone() {
    walk_all(&cloned(), 0..1_000, 60);
}

#[test]
#[ignore = "minutes"]
fn promises_hold_in_30_000_long_orders() {
    walk_all(&faultless(), 0..10_000, 240);
    walk_all(&faulty(), 0..10_000, 240);
    walk_all(&cloned(), 0..10_000, 240);
}
