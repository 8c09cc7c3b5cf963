//! The life of a link, explored: the pure machine of `quicraft_transport::life` at both ends of a
//! pair, with everything between them in the hands of an explorer.
//!
//! A world is two processes (a third where a clone of the larger node is about), their machines,
//! the connections between them with what is under way on each, the calls, and which faults are
//! left. Every message of a handshake, every `Done`, call, answer and close arrives as its own step,
//! a close may overtake the rest or be lost, every timer may fire at any time, and every fault may
//! happen between any two steps: a crash and a restart, a pause, a partition, an orderly stop, a
//! roster that bars and admits, a rotation, a need that ends.
//!
//! What must hold (`promises`): in every world, an end has at most one live link, its machine and its
//! connections tell the same, a barred peer has no link, no call is served twice, and where nothing
//! is a fault none fails; from one world to the next, an incumbent that answers is not displaced by
//! another boot. From one world in 4 to 16, and from each without a step left, the faults
//! end and two fair schedules run (`settle`): when all has arrived, and before any timer fires, both
//! ends name the same link; within 400 steps and 8 dials of an end there is rest, with exactly one
//! connection and no call without an end.
//!
//! The bounds of the gate: 1 or 2 dials of each end before the faults end, one call, one fault of a
//! kind and the faults named beside each other in `faults`; some 300,000 worlds and 1.3 million steps
//! in less than a minute of one core, unoptimised. Then 10,000 random orders of up to 60 events on three nodes
//! (`walks`). The tests that are ignored do the same within larger bounds, up to 11 million worlds and
//! 73 million steps: `cargo test -p quicraft-tests --test life -- --ignored --nocapture`.
//!
//! Not explored: times within a timer's wait, datagrams that are lost or reordered (QUIC repairs them;
//! what it cannot repair is the silence of an end), and several addresses of a peer.

mod action;
mod apply;
mod connection;
mod enabled;
mod explore;
mod promises;
mod scenario;
mod settle;
mod table;
mod world;

mod faultless;
mod faults;
mod walks;
