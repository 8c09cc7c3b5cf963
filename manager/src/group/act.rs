//! Does what an operator asks of a group on this node, and waits for what comes of it.

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::Fatal;
use openraft::log_id::RaftLogId;
use openraft::metrics::RaftMetrics;
use openraft::storage::RaftStateMachine;
use openraft::{Raft, RaftTypeConfig, ServerState};
use tokio::time::{Instant, timeout_at};

use super::action::{ActionOutcome, GroupAction};
use super::goal::{GroupRefusal, Transferred};
use super::plan::View;
use super::transfer::{Unfit, hand_over, once_fit, silence};

/// Why an action came to no outcome.
pub(super) enum Stuck {
    Failed(String),
    Late,
}

impl<C: RaftTypeConfig> From<Fatal<C>> for Stuck {
    fn from(error: Fatal<C>) -> Self {
        Self::Failed(error.to_string())
    }
}

pub(super) async fn act<C, SM>(
    raft: &Raft<C, SM>,
    lag_max: u64,
    action: GroupAction,
    deadline: Instant,
) -> Result<ActionOutcome, Stuck>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let acting = async {
        match action {
            GroupAction::Snapshot => snapshot(raft).await,
            GroupAction::Purge { upto } => purge(raft, upto).await,
            GroupAction::Elect => elect(raft).await,
            GroupAction::StepDown => step_down(raft, lag_max, deadline).await,
        }
    };
    timeout_at(deadline, acting)
        .await
        .unwrap_or(Err(Stuck::Late))
}

fn nothing(reason: impl Into<String>) -> ActionOutcome {
    ActionOutcome::Nothing {
        reason: reason.into(),
    }
}

/// Waits until the metrics say what is looked for.
async fn until<C, SM, T>(
    raft: &Raft<C, SM>,
    seen: impl Fn(&RaftMetrics<C>) -> Option<T>,
) -> Result<T, Stuck>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let mut metrics = raft.metrics();
    loop {
        {
            let now = metrics.borrow_watched();
            if let Some(found) = seen(&now) {
                return Ok(found);
            }
            if let Err(error) = &now.running_state {
                return Err(Stuck::Failed(error.to_string()));
            }
        }
        if metrics.changed().await.is_err() {
            return Err(Stuck::Failed("the Raft has stopped".to_owned()));
        }
    }
}

fn index<C: RaftTypeConfig>(at: Option<&openraft::type_config::alias::LogIdOf<C>>) -> Option<u64> {
    at.map(RaftLogId::index)
}

async fn snapshot<C, SM>(raft: &Raft<C, SM>) -> Result<ActionOutcome, Stuck>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let applied = index::<C>(raft.metrics().borrow_watched().last_applied.as_ref());
    let Some(applied) = applied else {
        return Ok(nothing("nothing was applied yet"));
    };
    loop {
        let before = index::<C>(raft.metrics().borrow_watched().snapshot.as_ref());
        if let Some(index) = before.filter(|&index| index >= applied) {
            return Ok(ActionOutcome::Snapshot { index });
        }
        raft.trigger().snapshot().await?;
        // One that was being built already may end before the entry that was asked for.
        let newer = |metrics: &RaftMetrics<C>| {
            let now = index::<C>(metrics.snapshot.as_ref());
            (now > before).then_some(())
        };
        until(raft, newer).await?;
    }
}

async fn purge<C, SM>(raft: &Raft<C, SM>, upto: u64) -> Result<ActionOutcome, Stuck>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let snapshot = index::<C>(raft.metrics().borrow_watched().snapshot.as_ref());
    let Some(snapshot) = snapshot else {
        return Ok(nothing("there is no snapshot, so the log is all there is"));
    };
    let upto = upto.min(snapshot);
    raft.trigger().purge_log(upto).await?;
    let purged = |metrics: &RaftMetrics<C>| {
        index::<C>(metrics.purged.as_ref()).filter(|&purged| purged >= upto)
    };
    let upto = until(raft, purged).await?;
    Ok(ActionOutcome::Purged { upto })
}

async fn elect<C, SM>(raft: &Raft<C, SM>) -> Result<ActionOutcome, Stuck>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    // As long as a campaign may take.
    let limit = Instant::now() + silence(raft);
    raft.trigger().elect(true).await?;
    let leads = |metrics: &RaftMetrics<C>| {
        let leads = metrics.state == ServerState::Leader;
        leads.then(|| metrics.current_term.to_string())
    };
    match timeout_at(limit, until(raft, leads)).await {
        Ok(term) => Ok(ActionOutcome::Leads { term: term? }),
        Err(_) => {
            let leader = raft.metrics().borrow_watched().current_leader;
            Ok(nothing(leader.map_or_else(
                || "it was not elected, and knows no leader".to_owned(),
                |leader| format!("it was not elected: node {leader} leads"),
            )))
        }
    }
}

async fn step_down<C, SM>(
    raft: &Raft<C, SM>,
    lag_max: u64,
    deadline: Instant,
) -> Result<ActionOutcome, Stuck>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let choose = |view: &View| {
        let to = view.successor()?;
        Ok((view.me, to))
    };
    let (me, to) = match once_fit(raft, lag_max, deadline, choose).await {
        Ok(chosen) => chosen,
        Err(Unfit::NotLeader(None)) => return Ok(nothing("it does not lead")),
        Err(Unfit::NotLeader(Some(leader))) => {
            return Ok(nothing(format!("it does not lead: node {leader} does")));
        }
        Err(Unfit::Refused(refusal)) => {
            return Ok(nothing(format!("nobody else could lead: {refusal}")));
        }
    };
    match hand_over(raft, me, to, deadline).await {
        Ok(Transferred { to, .. }) => Ok(ActionOutcome::SteppedDown { leader: to }),
        // Another one than the one that was meant: the node has stepped down all the same.
        Err(GroupRefusal::NotTransferred {
            leader: Some(leader),
            ..
        }) if leader != me => Ok(ActionOutcome::SteppedDown { leader }),
        Err(_) => Err(Stuck::Late),
    }
}
