//! Takes one step of a change of members, at the leader. It must not know who asks, nor how often.

use std::collections::{BTreeMap, BTreeSet};

use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::metrics::RaftMetrics;
use openraft::raft::Precondition;
use openraft::storage::RaftStateMachine;
use openraft::{ChangeMembers, Raft, RaftTypeConfig, ReadPolicy};
use tokio::time::{Instant, timeout_at};

use super::answer::{elsewhere, read_point};
use super::goal::{Changed, GroupGoal, GroupRefusal, GroupStep};
use super::leading::{leading, split, view};
use super::plan::{Aim, Held, next_step};
use super::transfer::{self, silence};
use crate::forward::Answer;
use crate::meta::ClusterNode;

/// What is answered to a goal.
pub(super) type ChangeAnswer = Answer<Result<Changed, GroupRefusal>>;

/// Takes the next step towards the goal, if this node leads.
pub(super) async fn change<C, SM>(
    raft: &Raft<C, SM>,
    lag_max: u64,
    goal: GroupGoal,
    deadline: Instant,
) -> ChangeAnswer
where
    C: RaftTypeConfig<NodeId = u64>,
    C::Node: ClusterNode,
    SM: RaftStateMachine<C>,
{
    if let Err(invalid) = goal.node.validate() {
        let reason = invalid.to_string();
        return Answer::Done(Err(GroupRefusal::InvalidNode { reason }));
    }
    let metrics = match leading(raft) {
        Ok(metrics) => metrics,
        Err(leader) => return Answer::NotLeader(leader),
    };
    let node = C::Node::of(&goal.node);
    let known = metrics.membership_config.get_node(&goal.node.node);
    let aim = Aim {
        node: goal.node.node,
        role: goal.role,
        same: known == Some(&node),
    };
    let seen = view(&metrics, silence(raft), lag_max);
    let step = match next_step(&seen, aim) {
        Ok(step) => step,
        Err(Held::NotNow(why)) => return Answer::NotNow(why.to_owned()),
        Err(Held::Refused(refusal)) => return Answer::Done(Err(refusal)),
    };
    let votes = seen.configs.iter().any(|set| set.contains(&aim.node));
    let taking = async {
        if goal.dry {
            return idle(raft, &metrics, step).await;
        }
        match step {
            GroupStep::Done | GroupStep::AwaitLag { .. } => idle(raft, &metrics, step).await,
            GroupStep::MoveLeader { to } => move_leader(raft, &metrics, to, deadline).await,
            GroupStep::Settle
            | GroupStep::AddLearner
            | GroupStep::Promote
            | GroupStep::Demote
            | GroupStep::Remove
            | GroupStep::SetNode => {
                let (members, retain) = members(step, aim.node, votes, node);
                alter(raft, &metrics, step, members, retain).await
            }
        }
    };
    let late = || Answer::Unknown("the step was not done before the deadline".to_owned());
    timeout_at(deadline, taking)
        .await
        .unwrap_or_else(|_| late())
}

/// What openraft is asked to change, and whether voters that lose their vote stay as learners.
fn members<N: openraft::Node>(
    step: GroupStep,
    id: u64,
    votes: bool,
    node: N,
) -> (ChangeMembers<u64, N>, bool) {
    let one = BTreeSet::from([id]);
    match step {
        GroupStep::AddLearner => (ChangeMembers::AddNodes(BTreeMap::from([(id, node)])), true),
        GroupStep::SetNode => (ChangeMembers::SetNodes(BTreeMap::from([(id, node)])), true),
        GroupStep::Promote => (ChangeMembers::AddVoterIds(one), true),
        GroupStep::Demote => (ChangeMembers::RemoveVoters(one), true),
        GroupStep::Remove if votes => (ChangeMembers::RemoveVoters(one), false),
        GroupStep::Remove => (ChangeMembers::RemoveNodes(one), true),
        // No voter more: openraft goes on from the joint config to the one that it leads to.
        GroupStep::Settle
        | GroupStep::Done
        | GroupStep::AwaitLag { .. }
        | GroupStep::MoveLeader { .. } => (ChangeMembers::AddVoterIds(BTreeSet::new()), true),
    }
}

/// Changes the membership if it is still the one that was seen.
async fn alter<C, SM>(
    raft: &Raft<C, SM>,
    metrics: &RaftMetrics<C>,
    step: GroupStep,
    members: ChangeMembers<u64, C::Node>,
    retain: bool,
) -> ChangeAnswer
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    let seen = Precondition::LastMembershipLogId {
        last_membership_log_id: metrics.membership_config.log_id().clone(),
    };
    let changed = raft.change_membership_if(members, retain, [seen]).await;
    let error = match changed {
        Ok(written) => {
            let (voters, learners) = written
                .membership
                .as_ref()
                .map_or_else(|| split(metrics.membership_config.membership()), split);
            return Answer::Done(Ok(Changed {
                step,
                leader: metrics.id,
                voters,
                learners,
            }));
        }
        Err(RaftError::APIError(error)) => error,
        Err(RaftError::Fatal(error)) => return Answer::Failed(error.to_string()),
    };
    match error {
        ClientWriteError::ForwardToLeader(to) => elsewhere(&to),
        ClientWriteError::LogEntryDiscarded(to) => {
            Answer::Unknown(format!("its entry was discarded with its leadership; {to}"))
        }
        // Somebody else was faster; what is left to do is decided anew.
        ClientWriteError::PreconditionFailed(error) => Answer::NotNow(error.to_string()),
        ClientWriteError::ChangeMembershipError(
            error @ (ChangeMembershipError::InProgress(_)
            | ChangeMembershipError::UncommittedLeaderLog(_)),
        ) => Answer::NotNow(error.to_string()),
        ClientWriteError::ChangeMembershipError(error) => Answer::Failed(error.to_string()),
    }
}

/// Nothing is to be done. That is only true of a leader that still leads: one that was cut off may
/// see a membership of long ago.
async fn idle<C, SM>(raft: &Raft<C, SM>, metrics: &RaftMetrics<C>, step: GroupStep) -> ChangeAnswer
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    match read_point(raft, ReadPolicy::ReadIndex).await {
        Answer::Done(_) => {
            let (voters, learners) = split(metrics.membership_config.membership());
            Answer::Done(Ok(Changed {
                step,
                leader: metrics.id,
                voters,
                learners,
            }))
        }
        Answer::NotLeader(leader) => Answer::NotLeader(leader),
        Answer::NotNow(why) => Answer::NotNow(why),
        Answer::Unknown(why) => Answer::Unknown(why),
        Answer::Failed(why) => Answer::Failed(why),
    }
}

/// Leadership goes to another voter, so that this node can lose its vote.
async fn move_leader<C, SM>(
    raft: &Raft<C, SM>,
    metrics: &RaftMetrics<C>,
    to: u64,
    deadline: Instant,
) -> ChangeAnswer
where
    C: RaftTypeConfig<NodeId = u64>,
    SM: RaftStateMachine<C>,
{
    match transfer::hand_over(raft, metrics.id, to, deadline).await {
        Ok(_) => {
            let (voters, learners) = split(metrics.membership_config.membership());
            Answer::Done(Ok(Changed {
                step: GroupStep::MoveLeader { to },
                leader: to,
                voters,
                learners,
            }))
        }
        // Whoever leads now decides the next step.
        Err(refusal) => Answer::NotNow(refusal.to_string()),
    }
}
