//! The steps of a rotation, as an operator takes them: files are written, and the nodes follow.

use quicraft_certs::{Audience, Authority, CredentialFiles, NodeId, Overwrite, StagedFiles};

use super::super::error::ClusterError;
use super::super::nodes::Nodes;
use super::super::status::{Status, missing, not_one_link};

/// A step that every node takes before the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// A new key and certificate, of the CA that was there from the start.
    Leaf,
    /// The new CA is trusted beside the old one.
    Overlap,
    /// A new key and certificate, of the new CA.
    LeafOfNew,
    /// The old CA is trusted no more.
    OldGone,
}

impl Step {
    pub(super) const ALL: [Self; 4] = [Self::Leaf, Self::Overlap, Self::LeafOfNew, Self::OldGone];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Leaf => "leaf certificates",
            Self::Overlap => "trust in both CAs",
            Self::LeafOfNew => "leaf certificates of the new CA",
            Self::OldGone => "trust in the new CA alone",
        }
    }

    /// Writes what the nodes are to have from now on.
    pub(super) fn write(self, nodes: &Nodes, new: &Authority) -> Result<(), ClusterError> {
        let old = nodes.authority();
        for node in 0..nodes.len() {
            let Some(files) = nodes.certificates(node) else {
                continue;
            };
            let id = nodes.id(node);
            match self {
                Self::Leaf => certify(files, id, old)?,
                Self::Overlap => trust(files, &[old, new])?,
                Self::LeafOfNew => certify(files, id, new)?,
                Self::OldGone => trust(files, &[new])?,
            }
        }
        Ok(())
    }
}

/// A new key and certificate for a node.
fn certify(files: &CredentialFiles, id: u64, issuer: &Authority) -> Result<(), ClusterError> {
    let issued = issuer.issue(NodeId::new(id)?)?;
    let mut staged = StagedFiles::new(Overwrite::Replace);
    staged.add(&files.cert, issued.certificate_pem(), Audience::Everybody)?;
    staged.add(&files.key, issued.key_pem(), Audience::Owner)?;
    Ok(staged.commit()?)
}

fn trust(files: &CredentialFiles, roots: &[&Authority]) -> Result<(), ClusterError> {
    let bundle: String = roots.iter().map(|root| root.root_pem()).collect();
    let mut staged = StagedFiles::new(Overwrite::Replace);
    staged.add(&files.ca, &bundle, Audience::Everybody)?;
    Ok(staged.commit()?)
}

/// What is missing until a step is done: every node has taken its files since `before`, and on every
/// link each end sees the certificate that the other one shows now.
pub(super) fn lacks(before: &[Status], now: &[Status]) -> Option<String> {
    for (before, now) in before.iter().zip(now) {
        if now.credentials.generation <= before.credentials.generation {
            return Some(format!("new credentials at node {}", now.node));
        }
    }
    outdated(now)
}

/// A link that is not as it should be, or that shows a certificate which was replaced.
pub(super) fn outdated(all: &[Status]) -> Option<String> {
    if let Some(missing) = missing(all).or_else(|| not_one_link(all)) {
        return Some(missing);
    }
    all.iter().find_map(|status| {
        let of_old = status.links.iter().find(|link| {
            let shown = all.iter().find(|other| other.node == link.peer);
            let shown = shown.map(|other| other.credentials.certificate.as_str());
            link.certificate.as_deref() != shown
        })?;
        Some(format!(
            "a link between nodes {} and {} with the certificate of now",
            status.node, of_old.peer
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node: u64, generation: u64, shows: &str, sees: &str) -> Status {
        let json = serde_json::json!({
            "node": node, "groups": [],
            "links": [{ "peer": 3 - node, "connected": true, "links": 1, "draining": 0,
                        "links_max": 1, "link_id": "a", "certificate": sees }],
            "credentials": { "generation": generation, "certificate": shows },
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_step_is_done_when_all_show_and_see_the_new() {
        let before = [status(1, 1, "A", "B"), status(2, 1, "B", "A")];
        let done = [status(1, 2, "C", "D"), status(2, 2, "D", "C")];
        assert_eq!(lacks(&before, &done), None);
        let [one, two] = done;
        for (other, missing) in [
            (status(2, 1, "B", "C"), "new credentials at node 2"),
            (status(2, 2, "D", "A"), "between nodes 2 and 1"),
            (status(2, 2, "E", "C"), "between nodes 1 and 2"),
        ] {
            let found = lacks(&before, &[one.clone(), other]).unwrap();
            assert!(found.contains(missing), "{found}");
        }
        assert_eq!(lacks(&before, &[one, two]), None);
    }
}
