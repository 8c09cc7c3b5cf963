//! Who leads which group: transfer, balance, drain.

mod plan;
