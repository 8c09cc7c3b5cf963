//! The machine's transitions, one by one.
