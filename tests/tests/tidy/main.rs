//! The walls of the design and the habits of the style, held by reading the sources.
//!
//! A rule is a function from a file to what is wrong with it. Its test applies it to the whole tree,
//! and to samples that break it, so that a rule that sees nothing any more is noticed. What a
//! compiler or clippy already holds does not stand here.

mod documents;
mod metrics;
mod protocol;
mod rule;
mod sabotages;
mod source;
mod style;
mod walls;
mod weaknesses;
