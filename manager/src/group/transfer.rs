//! Hands leadership over and waits for what comes of it. It must not know who asks.

use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::storage::RaftStateMachine;
use openraft::{Raft, RaftTypeConfig};
use tokio::time::{Instant, timeout_at};

use super::goal::{GroupRefusal, Transferred};
use super::leading::{leading, view};
use super::plan::View;
use crate::forward::Answer;

/// After so long without an acknowledgement a member may be dead: as long as it takes a follower at
/// most to campaign against a leader that is.
pub(super) fn silence<C, SM>(raft: &Raft<C, SM>) -> Duration
where
    C: RaftTypeConfig,
    SM: RaftStateMachine<C>,
{
    Duration::from_millis(raft.config().election_timeout_max)
}

/// Hands the leadership of this node to another voter.
pub(super) async fn transfer<C, SM>(
    raft: &Raft<C, SM>,
    lag_max: u64,
    to: u64,
    deadline: Instant,
) -> Answer<Result<Transferred, GroupRefusal>>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let choose = |view: &View| match view.me {
        me if me == to => Ok(me),
        me => view.may_lead(to).map(|()| me),
    };
    match once_fit(raft, lag_max, deadline, choose).await {
        Ok(from) if from == to => Answer::Done(Ok(Transferred {
            from,
            to,
            took: Duration::ZERO,
        })),
        Ok(from) => Answer::Done(hand_over(raft, from, to, deadline).await),
        Err(Unfit::NotLeader(leader)) => Answer::NotLeader(leader),
        Err(Unfit::Refused(refusal)) => Answer::Done(Err(refusal)),
    }
}

/// Why nobody was chosen to lead.
pub(super) enum Unfit {
    NotLeader(Option<u64>),
    Refused(GroupRefusal),
}

/// Chooses who is to lead as soon as somebody may. A leader that was elected just now has heard of
/// nobody yet, so a voter that lags gets until it would be called silent.
pub(super) async fn once_fit<C, SM, T>(
    raft: &Raft<C, SM>,
    lag_max: u64,
    deadline: Instant,
    choose: impl Fn(&View) -> Result<T, GroupRefusal>,
) -> Result<T, Unfit>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let silence = silence(raft);
    let until = answer_by(deadline).min(Instant::now() + silence);
    let mut changes = raft.metrics();
    loop {
        let metrics = leading(raft).map_err(Unfit::NotLeader)?;
        let refusal = match choose(&view(&metrics, silence, lag_max)) {
            Ok(chosen) => return Ok(chosen),
            Err(refusal) => refusal,
        };
        if !matches!(refusal, GroupRefusal::Lagging { .. }) {
            return Err(Unfit::Refused(refusal));
        }
        match timeout_at(until, changes.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(Unfit::Refused(refusal)),
        }
    }
}

/// Until when a leader may wait before it answers: seven eighths of the time that is left, so that
/// its answer reaches whoever asked; the reason is worth more to them than the last moment.
fn answer_by(deadline: Instant) -> Instant {
    let now = Instant::now();
    now + deadline.saturating_duration_since(now) / 8 * 7
}

/// Hands leadership over, and waits until this node knows another leader.
pub(super) async fn hand_over<C, SM>(
    raft: &Raft<C, SM>,
    from: u64,
    to: u64,
    deadline: Instant,
) -> Result<Transferred, GroupRefusal>
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let started = Instant::now();
    let until = answer_by(deadline);
    let mut metrics = raft.server_metrics();
    let not = |leader| GroupRefusal::NotTransferred {
        to,
        leader,
        waited: started.elapsed(),
    };
    if raft.trigger().transfer_leader(to).await.is_err() {
        return Err(not(None));
    }
    let outcome = async {
        loop {
            let leader = metrics.borrow_watched().current_leader;
            match leader {
                Some(leader) if leader != from => return Some(leader),
                Some(_) | None => {}
            }
            if metrics.changed().await.is_err() {
                return None;
            }
        }
    };
    match timeout_at(until, outcome).await {
        Ok(Some(leader)) if leader == to => Ok(Transferred {
            from,
            to,
            took: started.elapsed(),
        }),
        Ok(leader) => Err(not(leader)),
        Err(_) => Err(not(raft.server_metrics().borrow_watched().current_leader)),
    }
}
