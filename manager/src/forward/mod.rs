//! The way of a request to the leader of a group: pure decisions, what travels, and the shell that
//! asks.

mod ask;
mod origin;
mod pause;
mod route;
mod wire;

pub(crate) use ask::{Guide, Here, Question, ask};
pub(crate) use origin::Origin;
pub(crate) use pause::Pause;
pub(crate) use wire::{Answer, method};
