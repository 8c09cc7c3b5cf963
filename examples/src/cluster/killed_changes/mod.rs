//! Changes whose driver dies: nodes are added and removed under load, the node that was asked for it
//! kills itself at a drawn step of a drawn group, and another one that is asked the same ends it.
//!
//! The invariant: every change is made in the end, every group has the members that it is to have,
//! and nothing acknowledged is lost.

mod membership;
pub mod options;
pub mod plan;
pub mod report;

use std::process::ExitStatus;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use self::options::{FOUNDERS, KilledChangesOptions};
use self::plan::{Change, Pair, Plan};
use self::report::{Findings, KilledChangesReport, PairReport};
use super::change::Site;
use super::change::operator::{Attempt, Request};
use super::client::Backoff;
use super::error::ClusterError;
use super::limits::{CHANGE, KILL, READERS, START};
use super::load::Load;
use super::nodes::Nodes;
use super::observed::Observed;
use super::readback::{read_back, settle};
use super::start::start;
use super::wait::{Look, until};
use super::workload::Workload;

/// Makes the changes and looks at what they leave.
///
/// # Errors
///
/// [`ClusterError`], when a change does not come to its end or a node does not come back; what is
/// wrong with the cluster is in the report.
pub async fn killed_changes(
    options: &KilledChangesOptions,
    nodes: &mut Nodes,
) -> Result<KilledChangesReport, ClusterError> {
    let started = Instant::now();
    let mut observed = Observed::default();
    let workload = Workload::new(options.seed, options.groups, options.value_bytes);
    let clients = start(nodes, workload, options.clients, &mut observed).await?;
    // At any node, so that none keeps writes from the nodes that come.
    clients.spread();
    let load = Load::endless(&clients, options.clients, 0, options.pace());
    let site = Site {
        nodes: &mut *nodes,
        clients: &clients,
        observed: &mut observed,
        faults: Vec::new(),
    };
    let mut drill = Drill {
        site,
        plan: Plan::new(options.seed, options.groups)?,
        members: (1..=FOUNDERS).collect(),
    };
    let pairs = drill.make_all(options.pairs).await?;
    let (members, faults) = (drill.members, drill.site.faults);
    let written = load.enough();
    let finished = load.finish(&[]).await?;
    let digests_differ = settle(nodes, &clients, &mut observed).await?;
    let members_wrong = membership::wrong(&clients, &members, options.groups).await?;
    let readback = read_back(&clients, nodes.len(), written, READERS).await?;
    if let Some(example) = &readback.example {
        eprintln!("kv-cluster: {example}");
    }
    let findings = Findings {
        took: started.elapsed(),
        pairs,
        members,
        members_wrong,
        written,
        totals: &finished.totals,
        observed: &observed,
        digests_differ,
        readback: &readback,
        faults,
    };
    Ok(KilledChangesReport::new(options, findings))
}

/// The cluster that is changed, and what it is by now.
struct Drill<'a> {
    site: Site<'a>,
    plan: Plan,
    /// The ids of all members, in their order.
    members: Vec<u64>,
}

impl Drill<'_> {
    /// Makes changes until so many nodes have died in one. A change that nobody died in is made as
    /// well; there may be as many of them again.
    async fn make_all(&mut self, kills: usize) -> Result<Vec<PairReport>, ClusterError> {
        let mut pairs: Vec<PairReport> = Vec::new();
        let mut left = kills;
        while left > 0 && pairs.len() < 2 * kills {
            let pair = self.plan.next(&self.members);
            let made = self.make(pairs.len() + 1, &pair).await?;
            if made.met {
                left -= 1;
            } else {
                self.plan.take_back(&pair);
            }
            pairs.push(made);
        }
        Ok(pairs)
    }

    /// One change: asked of a node that dies in it, and then of another one.
    async fn make(&mut self, number: usize, pair: &Pair) -> Result<PairReport, ClusterError> {
        let node = self.prepare(pair).await?;
        let mut made = PairReport::new(number, pair, node);
        eprintln!("kv-cluster: {made}");
        let started = Instant::now();
        let request = match pair.change {
            Change::Add => Request::to_add(self.site.nodes, node),
            Change::Remove(_) => Request::to_remove(node),
        };
        let killed = self.place(pair.killed)?;
        if let Some(status) = self.die(&request.clone().dying(&pair.at), killed).await? {
            made.met = true;
            made.killed_seconds = seconds(started.elapsed());
            if !is_abort(status) {
                let fault = format!("{made}: it ended in another way ({status})");
                self.site.faults.push(fault);
            }
            let other = self.place(pair.other)?;
            let all_but = (0..self.site.nodes.len()).filter(|&place| place != other);
            let request = request.clone().except(all_but);
            request.ask(self.site.clients).await?;
        }
        // Whoever did not hear the answer asks again, anywhere, and finds it done.
        let changed = self.site.nodes.place(node);
        let gone = made.met.then_some(killed);
        let request = request.except(gone.into_iter().chain(changed));
        let again = request.ask(self.site.clients).await?;
        if again.get("changed").and_then(Value::as_u64) != Some(0) {
            let fault = format!("{made}: it was said to be done and was not ({again})");
            self.site.faults.push(fault);
        }
        made.finished_seconds = seconds(started.elapsed());
        self.conclude(pair, node).await?;
        made.seconds = seconds(started.elapsed());
        Ok(made)
    }

    /// What comes before the change: a process for a new node, or the lead of a group that a node is
    /// to hand over. Returns the id of the node that is changed.
    async fn prepare(&mut self, pair: &Pair) -> Result<u64, ClusterError> {
        let node = match pair.change {
            Change::Add => {
                let place = self.site.nodes.add()?;
                self.site.nodes.start(place)?;
                return Ok(self.site.nodes.id(place));
            }
            Change::Remove(node) => node,
        };
        if let Some(group) = pair.at.group_to_hand_over() {
            let to_lead = Request::post("/admin/transfer", json!({ "group": group, "to": node }));
            let asked = self.place(pair.killed)?;
            until("a leader that can hand over", START, async || {
                self.site.nodes.check()?;
                Ok(match to_lead.attempt(self.site.clients, asked).await {
                    Attempt::Done(_) => Look::There(()),
                    Attempt::Again(why) | Attempt::Refused(why) => Look::Missing(why),
                })
            })
            .await?;
        }
        Ok(node)
    }

    /// Asks the node at place `killed` until it dies. Returns how it ended, or nothing if the change
    /// was made without coming to where it was to die.
    async fn die(
        &mut self,
        request: &Request,
        killed: usize,
    ) -> Result<Option<ExitStatus>, ClusterError> {
        let started = Instant::now();
        let mut backoff = Backoff::new();
        loop {
            let why = match request.attempt(self.site.clients, killed).await {
                Attempt::Done(_) => return Ok(None),
                Attempt::Refused(answer) => {
                    let what = "a change in which a node dies".to_owned();
                    return Err(ClusterError::Refused { what, answer });
                }
                Attempt::Again(why) => why,
            };
            // No answer is the end of the process, unless it was too busy to give one: then it is
            // asked again, and so it is looked at here without closing its standard input.
            let id = self.site.nodes.id(killed);
            let dead = until("the death of a node", KILL, async || {
                match self.site.nodes.check() {
                    Ok(()) => Ok(Look::Missing(format!("the end of node {id} ({why})"))),
                    Err(ClusterError::NodeEnded { node, status }) if node == id => {
                        Ok(Look::There(status))
                    }
                    Err(error) => Err(error),
                }
            });
            match dead.await {
                Ok(status) => return Ok(Some(status)),
                Err(ClusterError::NotInTime { .. }) if started.elapsed() < CHANGE => {}
                Err(error) => return Err(error),
            }
            backoff.wait().await;
        }
    }

    /// What comes after the change: the node that is removed stops, the one that died comes back, and
    /// all get their share of the leaders again.
    async fn conclude(&mut self, pair: &Pair, node: u64) -> Result<(), ClusterError> {
        let place = self.place(node)?;
        match pair.change {
            Change::Add => {
                let url = self.site.nodes.url(place).unwrap_or_default();
                self.site.clients.add(url);
                self.members.push(node);
            }
            Change::Remove(_) => {
                self.site.see_off(place).await?;
                self.members.retain(|&member| member != node);
            }
        }
        let killed = self.place(pair.killed)?;
        if self.site.nodes.pid(killed).is_none() {
            self.site.bring_back(killed).await?;
        }
        // Leaders on all nodes make the next change a harder one; where they are is no promise here.
        let balance = Request::post("/admin/balance", json!({}));
        drop(balance.attempt(self.site.clients, killed).await);
        Ok(())
    }

    /// Where a node is by now.
    fn place(&self, node: u64) -> Result<usize, ClusterError> {
        let place = self.site.nodes.place(node);
        place.ok_or(ClusterError::NoSuchId { node })
    }
}

/// Whether a process has ended itself as a drill does.
#[cfg(unix)]
fn is_abort(status: ExitStatus) -> bool {
    use std::os::unix::process::ExitStatusExt as _;
    /// The number of SIGABRT on every Unix.
    const ABORT: i32 = 6;
    status.signal() == Some(ABORT)
}

/// Whether a process has ended itself as a drill does: not with a code of its own.
#[cfg(not(unix))]
fn is_abort(status: ExitStatus) -> bool {
    !matches!(status.code(), Some(0..=3))
}

/// Two digits behind the point are more than such a measurement is worth.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}
