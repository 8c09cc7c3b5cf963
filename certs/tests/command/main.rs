//! The command `quicraft-certs`, run as an operator runs it.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails ends the test, also outside its own function"
)]

mod asking;
mod desk;
mod doctor;
mod issuing;
mod mistakes;
mod openssl;
mod readme;
mod revoking;
mod rotating;
mod walk;
