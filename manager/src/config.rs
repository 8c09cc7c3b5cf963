//! What a host may set. Every retry, wait and bound of the manager stands here, with its default.

use std::time::Duration;

/// The settings of a [`RaftManager`](crate::RaftManager).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RaftManagerConfig {
    /// Proposals and reads of one group that may be under way from this node, forwarded ones
    /// included; one more is refused as [`RequestError::Overloaded`](crate::RequestError), at once.
    /// Default 4,096: at 10 ms for a commit that is 400,000 a second.
    pub requests_max: usize,
    /// The first wait after a leader was not found or could not serve. Default 20 ms: a hint is
    /// followed without a wait, so this is only for elections and lost links, and a transfer of
    /// leadership takes about as long.
    pub retry_min: Duration,
    /// The longest of these waits, which double. Default 250 ms: shorter than an election, so that
    /// a new leader is found soon after it was elected. A leader that becomes known here ends every
    /// wait at once.
    pub retry_max: Duration,
    /// Groups that are worked on at the same time by what is done to many. Default 32.
    pub parallelism: usize,
    /// How long one group may take to shut down. Default 10 s; what is not down then is reported,
    /// and ends with its process.
    pub shutdown_timeout: Duration,
    /// Entries that a node may lack at most to be given a vote or leadership. Default 1,000: under
    /// steady writes a node that follows is never quite there, and a thousand entries are less than
    /// a second of a busy group.
    pub promote_lag_max: u64,
    /// How long one question to another node about the cluster may take: who it is, whether this one
    /// has a seat. Default 2 s: a dial and an election between them.
    pub ask_timeout: Duration,
    /// How long one step of a change of a group may take before its leader is looked for anew.
    /// Default 10 s: a disk that is busy for seconds is not given up.
    pub step_timeout: Duration,
    /// How long the forming cluster works on one node before it looks after the others. Default 60 s;
    /// it comes back to it.
    pub change_timeout: Duration,
    /// How long the founder of a group waits for those of its voters that have not come. Default 5 s:
    /// processes that are started together are seldom further apart. Who comes later is taken in
    /// then.
    pub founding_patience: Duration,
    /// How often the manager looks at all its groups and links, for events, metrics and the age of
    /// what they show. Default 1 s; a change of leader, term or members is seen at once.
    pub watch_interval: Duration,
    /// How long one group may take to get another leader, and to say how it stands. Default 5 s: a
    /// transfer takes two round trips, and if it fails, an election with the presets for short
    /// distances ends well before.
    pub transfer_timeout: Duration,
    /// Groups that a drain hands over at the same time. Default 4: 64 groups at a round trip of
    /// 20 ms are drained in under a second, while four of them wait.
    pub drain_parallelism: usize,
    /// How long a node that stops tries to hand its groups to others. Default 5 s; what it leads then
    /// is elected anew by the others. 0: it hands nothing over.
    pub drain_timeout: Duration,
    /// A voter that acknowledged nothing for longer is given no leadership. Default 3 s: longer than
    /// the heartbeat interval and the round trip of any network that this is meant for.
    pub candidate_silence_max: Duration,
    /// Whether the election timeouts of groups are [spread](crate::raft_config::staggered) by the
    /// number of the group and the id of the node, so that the groups of a dead leader are not all
    /// elected at the same moment, nor by the same node. Default `true`: a failover of a group takes
    /// up to a sixth longer for it. It has to be the same on all nodes.
    pub stagger_elections: bool,
}

impl Default for RaftManagerConfig {
    fn default() -> Self {
        Self {
            requests_max: 4_096,
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_millis(250),
            parallelism: 32,
            shutdown_timeout: Duration::from_secs(10),
            promote_lag_max: 1_000,
            ask_timeout: Duration::from_secs(2),
            step_timeout: Duration::from_secs(10),
            change_timeout: Duration::from_secs(60),
            founding_patience: Duration::from_secs(5),
            watch_interval: Duration::from_secs(1),
            transfer_timeout: Duration::from_secs(5),
            drain_parallelism: 4,
            drain_timeout: Duration::from_secs(5),
            candidate_silence_max: Duration::from_secs(3),
            stagger_elections: true,
        }
    }
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidConfig {
    /// A bound or a time of 0.
    #[error("{setting} is 0; nothing would ever be done")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
    /// The shortest wait is longer than the longest.
    #[error("retry_min ({min:?}) is longer than retry_max ({max:?})")]
    Retry {
        /// The shortest wait.
        min: Duration,
        /// The longest.
        max: Duration,
    },
}

impl RaftManagerConfig {
    /// Checks the settings against each other.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`] names the first that cannot be.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let zero = [
            ("requests_max", self.requests_max == 0),
            ("retry_min", self.retry_min.is_zero()),
            ("parallelism", self.parallelism == 0),
            ("shutdown_timeout", self.shutdown_timeout.is_zero()),
            ("ask_timeout", self.ask_timeout.is_zero()),
            ("step_timeout", self.step_timeout.is_zero()),
            ("change_timeout", self.change_timeout.is_zero()),
            ("watch_interval", self.watch_interval.is_zero()),
            ("transfer_timeout", self.transfer_timeout.is_zero()),
            ("drain_parallelism", self.drain_parallelism == 0),
            (
                "candidate_silence_max",
                self.candidate_silence_max.is_zero(),
            ),
        ];
        if let Some(&(setting, _)) = zero.iter().find(|(_, is_zero)| *is_zero) {
            return Err(InvalidConfig::Zero { setting });
        }
        if self.retry_min > self.retry_max {
            return Err(InvalidConfig::Retry {
                min: self.retry_min,
                max: self.retry_max,
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let config = RaftManagerConfig::default();
        config.validate().unwrap();
        assert_eq!(config.requests_max, 4_096);
        assert_eq!(config.retry_min, Duration::from_millis(20));
        assert_eq!(config.retry_max, Duration::from_millis(250));
        assert_eq!(config.parallelism, 32);
        assert_eq!(config.shutdown_timeout, Duration::from_secs(10));
        assert_eq!(config.promote_lag_max, 1_000);
        assert_eq!(config.ask_timeout, Duration::from_secs(2));
        assert_eq!(config.step_timeout, Duration::from_secs(10));
        assert_eq!(config.change_timeout, Duration::from_secs(60));
        assert_eq!(config.founding_patience, Duration::from_secs(5));
        assert_eq!(config.watch_interval, Duration::from_secs(1));
        assert_eq!(config.transfer_timeout, Duration::from_secs(5));
        assert_eq!(config.drain_parallelism, 4);
        assert_eq!(config.drain_timeout, Duration::from_secs(5));
        assert_eq!(config.candidate_silence_max, Duration::from_secs(3));
        assert!(config.stagger_elections);
    }

    #[test]
    fn each_setting_that_cannot_be_is_named() {
        let of = |change: fn(&mut RaftManagerConfig)| {
            let mut config = RaftManagerConfig::default();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(of(|c| c.requests_max = 0).starts_with("requests_max"));
        assert!(of(|c| c.retry_min = Duration::ZERO).starts_with("retry_min"));
        assert!(of(|c| c.parallelism = 0).starts_with("parallelism"));
        assert!(of(|c| c.shutdown_timeout = Duration::ZERO).starts_with("shutdown_timeout"));
        assert!(of(|c| c.ask_timeout = Duration::ZERO).starts_with("ask_timeout"));
        assert!(of(|c| c.step_timeout = Duration::ZERO).starts_with("step_timeout"));
        assert!(of(|c| c.change_timeout = Duration::ZERO).starts_with("change_timeout"));
        assert!(of(|c| c.watch_interval = Duration::ZERO).starts_with("watch_interval"));
        assert!(of(|c| c.transfer_timeout = Duration::ZERO).starts_with("transfer_timeout"));
        assert!(of(|c| c.drain_parallelism = 0).starts_with("drain_parallelism"));
        assert!(of(|c| c.candidate_silence_max = Duration::ZERO).starts_with("candidate_silence"));
        assert!(of(|c| c.retry_max = Duration::from_millis(19)).contains("20ms"));
        let mut equal = RaftManagerConfig::default();
        equal.retry_max = equal.retry_min;
        equal.validate().unwrap();
    }
}
