//! Faults of a bad day, drawn from a seed, and how they are done to a cluster.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::{Instant, sleep_until};

use super::callers::Callers;
use super::cluster::SimCluster;
use super::faults::name_of;
use super::home::node_id;
use super::spec::MS;
use crate::switch::address;

/// Something that is done to a cluster, or undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Nothing passes between two nodes.
    Cut(u64, u64),
    /// Nothing passes from the first to the second.
    CutOneWay(u64, u64),
    /// Ends either.
    Mend(u64, u64),
    /// SIGSTOP.
    Pause(u64),
    /// SIGCONT.
    Resume(u64),
    /// `kill -9`.
    Crash(u64),
    /// The end in order.
    Stop(u64),
    /// A start, where it was bound.
    Restart(u64),
    /// A start, at an address that nobody knows yet.
    RestartElsewhere(u64),
    /// A new address under the live socket.
    Rebind(u64),
    /// The name of a node follows it to its address.
    Rename(u64),
    /// The first node bars the second, for a drill.
    SuspendPeer(u64, u64),
    /// The end of the drill.
    ResumePeer(u64, u64),
    /// New credentials.
    Renew(u64),
}

/// Steps in the order of their times.
#[derive(Clone, PartialEq, Eq)]
pub struct Schedule {
    steps: Vec<(Duration, Step)>,
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in &self.steps {
            writeln!(f, "  {at:>9?}  {step:?}")?;
        }
        Ok(())
    }
}

/// Draws faults one after the other, so that two of one kind do not meet at one node or pair.
struct Draw {
    rng: StdRng,
    nodes: u64,
    pace: u64,
    now: Duration,
    steps: Vec<(Duration, Step)>,
    node_free: BTreeMap<u64, Duration>,
    pair_free: BTreeMap<(u64, u64), Duration>,
}

impl Draw {
    /// Milliseconds, at the pace of the day.
    fn between(&mut self, from: u64, to: u64) -> Duration {
        let (from, to) = (from / self.pace, to / self.pace);
        Duration::from_millis(self.rng.random_range(from..=to))
    }

    fn pair(&mut self) -> (u64, u64) {
        let a = self.rng.random_range(1..=self.nodes);
        let b = self.rng.random_range(1..self.nodes);
        (a, if b < a { b } else { b + 1 })
    }

    fn step(&mut self, after: Duration, step: Step) {
        self.steps.push((self.now + after, step));
    }

    /// Whether a pair has no other fault until then, and takes it if so.
    fn take_pair(&mut self, a: u64, b: u64, lasts: Duration) -> bool {
        let free = self.pair_free.entry((a.min(b), a.max(b))).or_default();
        let taken = *free <= self.now;
        if taken {
            *free = self.now + lasts + MS;
        }
        taken
    }

    fn take_node(&mut self, node: u64, lasts: Duration) -> bool {
        let free = self.node_free.entry(node).or_default();
        let taken = *free <= self.now;
        if taken {
            *free = self.now + lasts + MS;
        }
        taken
    }

    /// One fault that begins now; false if its place is taken.
    fn fault(&mut self) -> bool {
        let (a, b) = self.pair();
        match self.rng.random_range(0..9) {
            kind @ (0 | 1) => {
                let lasts = self.between(100, 6_000);
                if !self.take_pair(a, b, lasts) {
                    return false;
                }
                let cut = if kind == 0 {
                    Step::Cut
                } else {
                    Step::CutOneWay
                };
                self.step(Duration::ZERO, cut(a, b));
                self.step(lasts, Step::Mend(a, b));
            }
            2 => {
                let lasts = self.between(50, 5_000);
                if !self.take_node(a, lasts) {
                    return false;
                }
                self.step(Duration::ZERO, Step::Pause(a));
                self.step(lasts, Step::Resume(a));
            }
            kind @ (3..=5) => {
                let lasts = self.between(0, 4_000);
                let renamed = lasts + self.between(0, 2_000);
                if !self.take_node(a, renamed) {
                    return false;
                }
                let end = if kind == 5 { Step::Stop } else { Step::Crash };
                self.step(Duration::ZERO, end(a));
                let start = if kind == 4 {
                    Step::RestartElsewhere
                } else {
                    Step::Restart
                };
                self.step(lasts, start(a));
                self.step(renamed, Step::Rename(a));
            }
            6 => {
                let renamed = self.between(0, 2_000);
                if !self.take_node(a, renamed) {
                    return false;
                }
                self.step(Duration::ZERO, Step::Rebind(a));
                self.step(renamed, Step::Rename(a));
            }
            7 => {
                let lasts = self.between(50, 3_000);
                if !self.take_pair(a, b, lasts) {
                    return false;
                }
                self.step(Duration::ZERO, Step::SuspendPeer(a, b));
                self.step(lasts, Step::ResumePeer(a, b));
            }
            _ => self.step(Duration::ZERO, Step::Renew(a)),
        }
        true
    }
}

impl Schedule {
    /// So many faults, a few of them at the same time. At a `pace` of 1 they last for up to six
    /// seconds; at 20 most are about as long as a handshake takes.
    ///
    /// # Panics
    ///
    /// For a pace of 0.
    #[must_use]
    pub fn draw(seed: u64, nodes: u64, faults: usize, pace: u64) -> Self {
        assert!(pace > 0, "a day without an end");
        let mut draw = Draw {
            rng: StdRng::seed_from_u64(seed),
            nodes,
            pace,
            now: Duration::from_millis(500 / pace),
            steps: Vec::new(),
            node_free: BTreeMap::new(),
            pair_free: BTreeMap::new(),
        };
        let mut drawn = 0;
        while drawn < faults {
            drawn += usize::from(draw.fault());
            let pause = draw.between(0, 2_000);
            draw.now += pause;
        }
        let mut steps = draw.steps;
        steps.sort_by_key(|(at, _)| *at);
        Self { steps }
    }

    /// A schedule written by hand, to play a part of one that was drawn.
    #[must_use]
    pub const fn of(steps: Vec<(Duration, Step)>) -> Self {
        Self { steps }
    }

    /// Does all steps to a cluster, each at its time from now, and returns the time of the last.
    pub async fn play(&self, cluster: &mut SimCluster, callers: &Callers) -> Instant {
        let start = Instant::now();
        let mut stage = Stage {
            cluster,
            callers,
            cuts: BTreeMap::new(),
            moves: 100,
        };
        for (at, step) in &self.steps {
            sleep_until(start + *at).await;
            stage.play(*step).await;
        }
        Instant::now()
    }
}

/// A cluster to which steps are done.
struct Stage<'a> {
    cluster: &'a mut SimCluster,
    callers: &'a Callers,
    /// Which hosts each pair had when it was cut: it may have moved before it is mended.
    cuts: BTreeMap<(u64, u64), Vec<(IpAddr, IpAddr)>>,
    /// The number of the last address that somebody moved to; each is used once.
    moves: u8,
}

impl Stage<'_> {
    async fn play(&mut self, step: Step) {
        let cluster = &mut *self.cluster;
        match step {
            Step::Cut(a, b) | Step::CutOneWay(a, b) => {
                let hosts = (cluster.address(a).ip(), cluster.address(b).ip());
                self.cuts.entry((a, b)).or_default().push(hosts);
                match step {
                    Step::Cut(..) => cluster.cut(a, b),
                    _ => cluster.cut_one_way(a, b),
                }
            }
            Step::Mend(a, b) => {
                for (a, b) in self.cuts.remove(&(a, b)).unwrap_or_default() {
                    cluster.switch.unblock(a, b);
                }
            }
            Step::Pause(node) => cluster.pause(node),
            Step::Resume(node) => cluster.resume(node),
            Step::Crash(node) => {
                never_two_links(cluster, node);
                self.callers.leave(node);
                cluster.crash(node).await;
            }
            Step::Stop(node) => {
                never_two_links(cluster, node);
                let report = cluster.stop(node, 500 * MS).await;
                assert!(report.tasks_ended, "node {node}: {report:?}");
                self.callers.leave(node);
            }
            Step::Restart(node) => cluster.restart(node).await,
            Step::RestartElsewhere(node) => {
                self.moves += 1;
                cluster.restart_at(node, address(self.moves)).await;
            }
            Step::Rebind(node) => {
                self.moves += 1;
                cluster.rebind(node, address(self.moves));
            }
            Step::Rename(node) => {
                let now = cluster.address(node);
                cluster.names.set(&name_of(node).0, vec![now]);
            }
            Step::SuspendPeer(at, peer) => self.drill(at, |roster| roster.suspend(node_id(peer))),
            Step::ResumePeer(at, peer) => self.drill(at, |roster| roster.resume(node_id(peer))),
            Step::Renew(node) => cluster.renew(node),
        }
        if let Step::Restart(_) | Step::RestartElsewhere(_) = step {
            self.callers.follow(self.cluster);
        }
    }

    /// Changes the roster of a node, if it runs.
    fn drill(&self, at: u64, change: impl FnOnce(&quicraft_transport::Roster) -> bool) {
        if let Some(node) = self.cluster.nodes().find(|node| node.id == at) {
            assert!(
                change(node.transport.roster()),
                "the roster knows all nodes"
            );
        }
    }
}

/// Looks at the counts of a node that is about to end, and they with it.
fn never_two_links(cluster: &SimCluster, node: u64) {
    for link in cluster.node(node).transport.status() {
        assert!(link.links_max <= 1, "node {node}: {link:#?}");
    }
}
