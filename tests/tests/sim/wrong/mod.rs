//! The table of wrong certificates and wrong hellos: what is wrong, what the refusing end says and
//! records, and what the refused end learns and does, with the wrong node as acceptor and as dialer.
//!
//! - [`certificates`]: what TLS refuses, and what follows from the node in a good certificate;
//! - [`hellos`]: what is refused in the three messages after it;
//! - [`codes`]: what a node does that is refused, for every code and every alert;
//! - [`forge`]: makes the certificates; [`impostor`]: shows them; [`judge`]: the node that refuses;
//!   [`counts`]: what it counts; [`packets`]: what anyone on the path can forge.

mod certificates;
mod codes;
mod counts;
mod forge;
mod hellos;
mod impostor;
mod judge;
mod packets;
