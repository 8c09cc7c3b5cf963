//! The way of a request to the leader of a group: pure decisions, and what travels.

mod pause;
mod route;
mod wire;

pub(crate) use pause::Pause;
pub(crate) use route::{Missed, Route, Step};
pub(crate) use wire::{Answer, method};
