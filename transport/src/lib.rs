//! Bytes between two proven nodes.
