//! The fuzz targets in the gate: each over its committed corpus, and over some thousand inputs that
//! are changed or made up. What looks for more, for as long as one likes, is `make fuzz`.

mod corpus;
mod random;
mod samples;
