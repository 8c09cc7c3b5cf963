//! A drill: a node that dies in the middle of a change, at a point that whoever asks for the change
//! has named.
//!
//! It knows the points of a change, and nothing of how a change is asked for.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use quicraft_manager::{ChangeObserver, ChangePoint, ChangeStep, GroupName, InvalidGroupName};

/// Where a change kills the node that runs it, as text: `before,promote,kv/3`, or `after,note-member`
/// for a step that is not one of a group. A step of a group without one is met in the first group
/// that comes to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DieAt {
    /// After the step instead of before it.
    pub done: bool,
    /// The step.
    pub step: ChangeStep,
    /// The group, for the steps of one.
    pub group: Option<GroupName>,
}

/// Why a text names no point of a change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidDieAt {
    /// It is not written as one.
    #[error("{text:?} is no point of a change; write WHEN,STEP or WHEN,STEP,GROUP")]
    Malformed {
        /// The text.
        text: String,
    },
    /// It says neither before nor after.
    #[error("{when:?} is no time; write before or after")]
    When {
        /// What it says.
        when: String,
    },
    /// There is no such step.
    #[error("{step:?} is no step of a change; note-joining, add-learner and promote are some")]
    Step {
        /// What it says.
        step: String,
    },
    /// There can be no such group.
    #[error("{group:?} is no group")]
    Group {
        /// What it says.
        group: String,
        /// Why.
        #[source]
        source: InvalidGroupName,
    },
    /// A step that is not one of a group stands with a group.
    #[error("{} is no step of a group; leave {group} out", name(*step))]
    NoGroup {
        /// The step.
        step: ChangeStep,
        /// The group.
        group: GroupName,
    },
}

impl DieAt {
    /// Before a step, or after it.
    #[must_use]
    pub const fn new(done: bool, step: ChangeStep, group: Option<GroupName>) -> Self {
        Self { done, step, group }
    }

    /// Whether a change that is at `point` is where it kills.
    #[must_use]
    pub fn is_at(&self, point: &ChangePoint) -> bool {
        let group = self.group.is_none() || self.group == point.group;
        (self.done, self.step) == (point.done, point.step) && group
    }

    /// The step as it is written: `note-joining`.
    #[must_use]
    pub fn step_name(&self) -> String {
        name(self.step)
    }

    /// The group whose leader has to be the node that leaves, or a change does not come there.
    #[must_use]
    pub fn group_to_hand_over(&self) -> Option<&GroupName> {
        let group = self.group.as_ref();
        group.filter(|_| self.step == ChangeStep::MoveLeader)
    }

    /// Ends this process there. Nothing is tidied up: not a file is flushed, not a peer told.
    #[must_use]
    pub fn observer(self) -> Arc<dyn ChangeObserver> {
        Arc::new(Dying(self))
    }
}

impl fmt::Display for DieAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.done { "after" } else { "before" };
        write!(f, "{when},{}", name(self.step))?;
        self.group
            .iter()
            .try_for_each(|group| write!(f, ",{group}"))
    }
}

impl FromStr for DieAt {
    type Err = InvalidDieAt;

    fn from_str(text: &str) -> Result<Self, InvalidDieAt> {
        let parts: Vec<_> = text.split(',').collect();
        let (when, step, group) = match *parts.as_slice() {
            [when, step] => (when, step, None),
            [when, step, group] => (when, step, Some(group)),
            _ => {
                let text = text.to_owned();
                return Err(InvalidDieAt::Malformed { text });
            }
        };
        let done = match when {
            "before" => false,
            "after" => true,
            _ => {
                let when = when.to_owned();
                return Err(InvalidDieAt::When { when });
            }
        };
        let named = ChangeStep::ALL.into_iter().find(|&it| name(it) == step);
        let step = named.ok_or_else(|| InvalidDieAt::Step {
            step: step.to_owned(),
        })?;
        let group = group.map(group_named).transpose()?;
        match group {
            Some(group) if !is_of_a_group(step) => Err(InvalidDieAt::NoGroup { step, group }),
            group => Ok(Self::new(done, step, group)),
        }
    }
}

fn group_named(text: &str) -> Result<GroupName, InvalidDieAt> {
    text.parse().map_err(|source| InvalidDieAt::Group {
        group: text.to_owned(),
        source,
    })
}

/// A step as it is written: `NoteJoining` is `note-joining`.
fn name(step: ChangeStep) -> String {
    let mut name = String::new();
    for letter in format!("{step:?}").chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Whether each group takes the step by itself; the others are taken once in a change.
const fn is_of_a_group(step: ChangeStep) -> bool {
    !matches!(
        step,
        ChangeStep::NoteJoining
            | ChangeStep::AwaitSeat
            | ChangeStep::NoteMember
            | ChangeStep::NotePlace
            | ChangeStep::NoteMove
            | ChangeStep::NoteLeaving
            | ChangeStep::NoteRemoved
    )
}

struct Dying(DieAt);

impl ChangeObserver for Dying {
    fn at(&self, point: ChangePoint) -> BoxFuture<'static, ()> {
        if self.0.is_at(&point) {
            tracing::warn!(target: "quicraft::kv", %point, "this node dies here, as it was told");
            std::process::abort();
        }
        async {}.boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_can_be_named() {
        for step in ChangeStep::ALL {
            for done in [false, true] {
                let group = is_of_a_group(step).then(|| "kv/3".parse().unwrap());
                let at = DieAt::new(done, step, group);
                assert_eq!(at.to_string().parse::<DieAt>().unwrap(), at);
            }
        }
        let at = DieAt::new(false, ChangeStep::AddLearner, "kv/3".parse().ok());
        assert_eq!(at.to_string(), "before,add-learner,kv/3");
    }

    #[test]
    fn what_is_no_point_is_refused_in_words() {
        for (text, word) in [
            ("", "WHEN,STEP"),
            ("before", "WHEN,STEP"),
            ("before,promote,kv/3,", "WHEN,STEP"),
            ("at,promote", "before or after"),
            ("before,Promote", "no step"),
            ("after,promote,KV", "no group"),
            ("after,note-member,kv/3", "leave kv/3 out"),
        ] {
            let error = text.parse::<DieAt>().unwrap_err().to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
