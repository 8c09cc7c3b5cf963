//! The switch does what its knobs say: with raw datagrams, and with real quinn endpoints on it.

mod datagrams;
mod endpoints;
mod faults;
