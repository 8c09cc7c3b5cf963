//! The promises of the design about the network, held in simulation.

mod commits;
