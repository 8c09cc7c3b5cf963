//! How many bytes of a link may be on their way.
//!
//! What is on its way stands before everything that is written next, whatever its priority: quinn
//! orders only what has not left. So CUBIC's window is held to what the path carries and a little more
//! (`allowance`), and it does not fall below what a link may begin with (`bounded`).

mod allowance;
mod bounded;

pub(crate) use bounded::BoundedCubic;
