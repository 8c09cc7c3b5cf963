//! What was seen in the nodes' status over the whole job: a node that is killed takes its counters
//! with it, so each answer is noted when it comes.

use std::collections::BTreeMap;

use futures_util::future::join_all;

use super::client::Clients;
use super::status::Status;

/// High-water marks over all answers.
#[derive(Debug, Default)]
pub struct Observed {
    links_max: u64,
    terms: BTreeMap<u64, u64>,
}

impl Observed {
    /// Asks all nodes at once and notes what they say.
    ///
    /// # Errors
    ///
    /// In words, when a node does not answer; what the others say is noted.
    pub async fn ask_all(
        &mut self,
        clients: &Clients,
        nodes: usize,
    ) -> Result<Vec<Status>, String> {
        let answers = join_all((0..nodes).map(|node| clients.status(node))).await;
        let mut all = Vec::new();
        let mut silent = None;
        for (node, answer) in answers.into_iter().enumerate() {
            match answer {
                Ok(status) => {
                    self.note(&status);
                    all.push(status);
                }
                Err(why) => silent = Some(format!("the status of node {} ({why})", node + 1)),
            }
        }
        silent.map_or(Ok(all), Err)
    }

    /// Notes one answer.
    pub fn note(&mut self, status: &Status) {
        for link in &status.links {
            self.links_max = self.links_max.max(link.links_max);
        }
        for group in &status.groups {
            let term = self.terms.entry(group.group).or_default();
            *term = group.term.max(*term);
        }
    }

    /// The most live connections of a pair of nodes at any time.
    #[must_use]
    pub const fn links_max(&self) -> u64 {
        self.links_max
    }

    /// Elections after the first of each group. A group is founded in term 1.
    #[must_use]
    pub fn elections(&self) -> u64 {
        self.terms.values().map(|term| term.saturating_sub(1)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stay_when_a_node_starts_anew() {
        let mut observed = Observed::default();
        let mut note = |term: u64, links_max: u64| {
            let json = serde_json::json!({
                "node": 1,
                "groups": [{ "group": 3, "state": "leader", "term": term, "digest": "" }],
                "links": [{ "peer": 2, "connected": true, "links_max": links_max }],
            });
            observed.note(&serde_json::from_value(json).unwrap());
        };
        note(4, 2);
        note(1, 1);
        assert_eq!((observed.links_max(), observed.elections()), (2, 3));
    }
}
