//! The promises of the design about the network, held in simulation.

mod bad_bytes;
mod bad_days;
mod before_proof;
mod both_dial;
mod by_need;
mod clauses;
mod commits;
mod crashes;
mod credentials;
mod duplicates;
mod ends;
mod flood;
mod forgery;
mod lanes;
mod links;
mod movement;
mod outages;
mod partitions;
mod places;
mod providers;
mod remedies;
mod slow_disks;
mod slow_paths;
mod snapshots;
mod tasks;
mod wrong;
