//! What an operator of certificates watches: how long each is good for, and which CA still has links.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::local::LocalNode;

/// Sets the gauges.
///
/// `quicraft_certificate_seconds_left` by `peer` (`self` for our own); `quicraft_crl_seconds_left` to
/// the end of the revocation list that is due first, negative when it is overdue and infinite without
/// lists; and `quicraft_links` by `issuer`: an old CA can go from the trust when it has none.
/// `issuers` are those that had links before, so that they fall to 0.
pub(super) fn publish(local: &Arc<LocalNode>, issuers: &mut BTreeMap<String, u32>) {
    let now = local.credentials.now().as_secs();
    let left = |ends: u64| ends.saturating_sub(now) as f64;
    let own = local.credentials.current();
    metrics::gauge!("quicraft_certificate_seconds_left", "peer" => "self")
        .set(left(own.not_after()));
    let list_ends = own.trust().crl_next_update();
    metrics::gauge!("quicraft_crl_seconds_left")
        .set(list_ends.map_or(f64::INFINITY, |ends| ends as f64 - now as f64));
    for links in issuers.values_mut() {
        *links = 0;
    }
    for peer in local.peers() {
        let Some(link) = peer.usable() else { continue };
        let label = peer.node.to_string();
        metrics::gauge!("quicraft_certificate_seconds_left", "peer" => label)
            .set(left(link.certificate_ends()));
        *issuers
            .entry(link.certificate().issuer().to_owned())
            .or_default() += 1;
    }
    for (issuer, links) in &*issuers {
        metrics::gauge!("quicraft_links", "issuer" => issuer.clone()).set(f64::from(*links));
    }
    issuers.retain(|_, links| *links > 0);
}
