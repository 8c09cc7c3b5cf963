//! The proof: every node has applied the same, and has every write with the bytes that were sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream;

use super::client::{Clients, Held};
use super::error::ClusterError;
use super::limits::SETTLE;
use super::load::bar;
use super::nodes::Nodes;
use super::observed::Observed;
use super::status::{Status, missing};
use super::wait::{Look, until};

/// What a comparison of all nodes has shown.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Readback {
    /// Writes that some node does not have as they were sent.
    pub lost: BTreeSet<u64>,
    /// One example, in words.
    pub example: Option<String>,
}

/// Waits until all nodes have applied the same index in every group, and compares the digests
/// there. Returns the groups whose digests differ.
///
/// # Errors
///
/// [`ClusterError`], when the nodes do not come to rest in time or one ends by itself.
pub async fn settle(
    nodes: &mut Nodes,
    clients: &Clients,
    observed: &mut Observed,
) -> Result<Vec<u64>, ClusterError> {
    until("the same state on all nodes", SETTLE, async || {
        nodes.check()?;
        Ok(match observed.ask_all(clients, nodes.len()).await {
            Err(missing) => Look::Missing(missing),
            Ok(all) => missing(&all).map_or_else(|| compare(&all), Look::Missing),
        })
    })
    .await
}

fn compare(all: &[Status]) -> Look<Vec<u64>> {
    let mut differ = BTreeSet::new();
    let mut seen: BTreeMap<u64, (u64, Option<u64>, &str)> = BTreeMap::new();
    for status in all {
        for group in &status.groups {
            let own = (status.node, group.applied, group.digest.as_str());
            let (first, applied, digest) = *seen.entry(group.group).or_insert(own);
            if applied != group.applied {
                return Look::Missing(format!(
                    "the same entries in group {}: node {first} has applied {applied:?}, node {} \
                     {:?}",
                    group.group, status.node, group.applied
                ));
            }
            if digest != group.digest {
                differ.insert(group.group);
            }
        }
    }
    Look::There(differ.into_iter().collect())
}

/// Reads every write back from every node itself, `number` reads at a time.
///
/// # Errors
///
/// [`ClusterError`], when a node does not answer.
pub async fn read_back(
    clients: &Arc<Clients>,
    nodes: usize,
    writes: u64,
    number: usize,
) -> Result<Readback, ClusterError> {
    let bar = bar(writes * nodes as u64, "read back");
    let all = (0..writes).flat_map(|write| (0..nodes).map(move |node| (write, node)));
    let mut reads = stream::iter(all)
        .map(|(write, node)| async move { (write, node, clients.read(node, write).await) })
        .buffer_unordered(number);
    let mut found = Readback::default();
    while let Some((write, node, held)) = reads.next().await {
        bar.inc(1);
        if let Held::Other(what) = held? {
            found.lost.insert(write);
            let key = clients.workload().key(write);
            found
                .example
                .get_or_insert_with(|| format!("node {} has {what} under {key}", node + 1));
        }
    }
    bar.finish_and_clear();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node: u64, applied: u64, digest: &str) -> Status {
        let json = serde_json::json!({
            "node": node,
            "groups": [{ "group": 5, "state": "follower", "term": 1, "applied": applied,
                         "digest": digest }],
            "links": [],
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn digests_are_compared_only_at_the_same_index() {
        let one = status(1, 8, "a");
        match compare(&[one.clone(), status(2, 8, "a")]) {
            Look::There(differ) => assert!(differ.is_empty()),
            Look::Missing(missing) => panic!("{missing}"),
        }
        match compare(&[one.clone(), status(2, 8, "b")]) {
            Look::There(differ) => assert_eq!(differ, [5]),
            Look::Missing(missing) => panic!("{missing}"),
        }
        match compare(&[one, status(2, 7, "b")]) {
            Look::There(differ) => panic!("{differ:?}"),
            Look::Missing(missing) => assert!(missing.contains("group 5"), "{missing}"),
        }
    }
}
