//! What a forwarded request and its answer look like. It must not know who sends them.
//!
//! A request is the command alone; group, sender and deadline stand in the frame. An answer is one
//! byte, the kind, and the codec's encoding of what that kind carries.

use bytes::{BufMut as _, Bytes, BytesMut};
use quicraft_transport::raft::{Codec as _, CodecError, RaftCodec};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The methods of a group beside Raft's own, which are below 256.
pub(crate) mod method {
    /// A command for the leader; the answer is what applying it gave.
    pub(crate) const PROPOSE: u16 = 0x100;
    /// A question for the leader: up to where must a state machine have applied for a read now?
    pub(crate) const READ_POINT: u16 = 0x101;
    /// A goal for one node of the group; the answer is the step that was taken, or why none is.
    pub(crate) const CHANGE: u16 = 0x102;
    /// A question for the leader: how does the group stand?
    pub(crate) const PROGRESS: u16 = 0x103;
    /// The node that is to lead; the answer is that it does, or why it does not.
    pub(crate) const TRANSFER: u16 = 0x104;
}

/// What a node answers that was asked as the leader of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer<T> {
    /// It is done.
    Done(T),
    /// Not done: the node does not lead. It may know who does.
    NotLeader(Option<u64>),
    /// Not done: the node leads, but cannot serve now. Why, in words.
    NotNow(String),
    /// It may be done or not: the node lost its leadership under it. Why, in words.
    Unknown(String),
    /// The group on that node has failed. Why, in words.
    Failed(String),
}

/// Why bytes are no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerError {
    /// Nothing, or a kind that there is not.
    #[error("an answer of kind {0:?}")]
    Kind(Option<u8>),
    /// The rest is no encoding.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

const DONE: u8 = 0;
const NOT_LEADER: u8 = 1;
const NOT_NOW: u8 = 2;
const UNKNOWN: u8 = 3;
const FAILED: u8 = 4;

impl<T: Serialize + DeserializeOwned> Answer<T> {
    pub(crate) fn encode(&self) -> Result<Bytes, CodecError> {
        let mut bytes = BytesMut::new();
        match self {
            Self::Done(result) => {
                bytes.put_u8(DONE);
                RaftCodec::encode(result, &mut bytes)?;
            }
            Self::NotLeader(leader) => {
                bytes.put_u8(NOT_LEADER);
                RaftCodec::encode(leader, &mut bytes)?;
            }
            Self::NotNow(why) => {
                bytes.put_u8(NOT_NOW);
                RaftCodec::encode(why, &mut bytes)?;
            }
            Self::Unknown(why) => {
                bytes.put_u8(UNKNOWN);
                RaftCodec::encode(why, &mut bytes)?;
            }
            Self::Failed(why) => {
                bytes.put_u8(FAILED);
                RaftCodec::encode(why, &mut bytes)?;
            }
        }
        Ok(bytes.freeze())
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, AnswerError> {
        let Some((&kind, rest)) = bytes.split_first() else {
            return Err(AnswerError::Kind(None));
        };
        Ok(match kind {
            DONE => Self::Done(RaftCodec::decode(rest)?),
            NOT_LEADER => Self::NotLeader(RaftCodec::decode(rest)?),
            NOT_NOW => Self::NotNow(RaftCodec::decode(rest)?),
            UNKNOWN => Self::Unknown(RaftCodec::decode(rest)?),
            FAILED => Self::Failed(RaftCodec::decode(rest)?),
            other => return Err(AnswerError::Kind(Some(other))),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{Changed, GroupGoal, GroupRefusal, GroupRole, GroupStep, NodeRecord, Transferred};

    /// M2: a tag and a value.
    #[test]
    fn answers_are_read_as_they_were_written() {
        let answers = [
            Answer::Done((7_u64, "applied".to_owned())),
            Answer::NotLeader(None),
            Answer::NotLeader(Some(3)),
            Answer::NotNow("its lease has run out".to_owned()),
            Answer::Unknown("leadership was lost".to_owned()),
            Answer::Failed("the disk is full".to_owned()),
        ];
        for answer in answers {
            let bytes = answer.encode().unwrap();
            assert_eq!(Answer::decode(&bytes).unwrap(), answer);
            assert!(
                Answer::<(u64, String)>::decode(&bytes[..bytes.len() - 1]).is_err(),
                "{answer:?} cut by a byte"
            );
        }
    }

    #[test]
    fn what_is_no_answer_is_refused_by_name() {
        let nothing = Answer::<u64>::decode(&[]).unwrap_err();
        assert!(matches!(nothing, AnswerError::Kind(None)));
        let other = Answer::<u64>::decode(&[5, 0]).unwrap_err();
        assert!(matches!(other, AnswerError::Kind(Some(5))));
    }

    /// What a value is on the wire: a change of it is a change of the protocol.
    fn bytes<T: Serialize + DeserializeOwned + std::fmt::Debug>(value: &T) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        RaftCodec::encode(value, &mut bytes).unwrap();
        let read: T = RaftCodec::decode(&bytes).unwrap();
        assert_eq!(format!("{read:?}"), format!("{value:?}"));
        let cut = RaftCodec::decode::<T>(&bytes[..bytes.len() - 1]);
        assert!(cut.is_err(), "{value:?} cut by a byte");
        bytes.to_vec()
    }

    #[test]
    fn what_is_asked_of_a_leader_has_its_bytes() {
        let node = NodeRecord::new(4, ["a:1"]);
        assert_eq!(
            bytes(&GroupGoal::new(node.clone(), Some(GroupRole::Learner))),
            [4, 1, 3, b'a', b':', b'1', 0, 0, 1, 1, 0]
        );
        assert_eq!(
            bytes(&GroupGoal::new(node, None).dry()),
            [4, 1, 3, b'a', b':', b'1', 0, 0, 0, 1]
        );
        let changed = |step| Changed {
            step,
            leader: 1,
            voters: vec![1, 2],
            learners: vec![4],
        };
        let steps = [
            (GroupStep::Done, vec![0]),
            (GroupStep::Settle, vec![1]),
            (GroupStep::AddLearner, vec![2]),
            (GroupStep::AwaitLag { entries: None }, vec![3, 0]),
            (GroupStep::AwaitLag { entries: Some(9) }, vec![3, 1, 9]),
            (GroupStep::Promote, vec![4]),
            (GroupStep::Demote, vec![5]),
            (GroupStep::MoveLeader { to: 2 }, vec![6, 2]),
            (GroupStep::Remove, vec![7]),
            (GroupStep::SetNode, vec![8]),
        ];
        for (step, expected) in steps {
            let rest = [1, 2, 1, 2, 1, 4];
            assert_eq!(bytes(&changed(step)), [&expected[..], &rest].concat());
        }
    }

    #[test]
    fn what_a_leader_refuses_and_hands_over_has_its_bytes() {
        let refusals = [
            (GroupRefusal::LastVoter { node: 3 }, vec![0, 3]),
            (GroupRefusal::NotVoter { node: 3 }, vec![1, 3]),
            (
                GroupRefusal::Lagging {
                    node: 3,
                    entries: Some(9),
                },
                vec![2, 3, 1, 9],
            ),
            (
                GroupRefusal::NotTransferred {
                    to: 3,
                    leader: Some(2),
                    waited: Duration::new(5, 6),
                },
                vec![3, 3, 1, 2, 5, 6],
            ),
        ];
        for (refusal, expected) in refusals {
            let answer: Result<Changed, _> = Err(refusal);
            assert_eq!(bytes(&answer), [&[1][..], &expected].concat());
        }
        let transferred = Transferred {
            from: 1,
            to: 2,
            took: Duration::new(0, 7),
        };
        assert_eq!(bytes(&transferred), [1, 2, 0, 7]);
    }
}
