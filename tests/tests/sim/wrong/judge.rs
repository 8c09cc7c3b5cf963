//! The node that refuses: node 1 of the cluster, with a clock of its own, and what it records.

use std::net::SocketAddr;
use std::time::Duration;

use quicraft_certs::{CredentialSettings, IssuedNode, PeerRole, UnixTime, WallClock};
use quicraft_tests::sim::{LIMIT, MS, SimCluster, SimNode, SimSpec};
use quicraft_tests::switch::address;
use quicraft_transport::close::{CloseClass, CloseCode};
use quicraft_transport::{Event, LinkState, NodeId, Roster, RosterEntry};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::timeout;

use super::counts::Counts;
use super::forge::{Ca, NOW};
use super::impostor::Refused;

/// Whom the wrong node claims to be. It is in the roster.
pub(super) const CLAIMED: u64 = 2;

/// The longest wait after what anyone on the path can forge, and after a verdict of our own.
const WAIT_MAX: Duration = Duration::from_secs(30);

pub(super) struct Judge {
    pub(super) cluster: SimCluster,
    pub(super) clock: WallClock,
    /// The cluster's authority, in the hands of a forger.
    pub(super) ours: Ca,
    own: IssuedNode,
    events: broadcast::Receiver<Event>,
    pub(super) counts: Counts,
}

pub(super) fn id(node: u64) -> NodeId {
    NodeId::new(node).expect("a node")
}

pub(super) fn at(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}

impl Judge {
    pub(super) async fn new() -> Self {
        let counts = Counts::here();
        let clock = WallClock::manual(at(NOW));
        let spec = SimSpec {
            persisted: false,
            ..SimSpec::new(1, 0, 10 * MS).by_clock(clock.clone())
        };
        let cluster = SimCluster::start_unlinked(spec).await;
        let transport = &cluster.node(1).transport;
        Self {
            events: transport.events(),
            ours: Ca::of(&cluster.authority),
            own: cluster.authority.issue(id(1)).expect("issued"),
            cluster,
            clock,
            counts,
        }
    }

    pub(super) fn node(&self) -> &SimNode {
        self.cluster.node(1)
    }

    pub(super) fn address() -> SocketAddr {
        address(1)
    }

    /// The judge believes other CAs beside that of the cluster, and these CRLs.
    pub(super) fn trusts(&self, others: &[&Ca], crls: &str) {
        self.trusts_to_depth(others, crls, 1);
    }

    /// The same, with this many intermediates at most.
    pub(super) fn trusts_to_depth(&self, others: &[&Ca], crls: &str, depth: usize) {
        let bundle: String = std::iter::once(&self.ours)
            .chain(others.iter().copied())
            .map(|ca| ca.pem.as_str())
            .collect();
        let mut settings = CredentialSettings::default();
        settings.clock = self.clock.clone();
        settings.limits.max_intermediates = depth;
        let credentials = self.own.credentials_with(&bundle, crls, &settings);
        let store = self.node().transport.credentials();
        let replaced = store.replace(credentials.expect("valid credentials"));
        replaced.expect("replaced");
    }

    pub(super) fn roster(&self) -> &Roster {
        self.node().transport.roster()
    }

    /// Waits until the judge has met what its roster names, so that its status can show it.
    pub(super) async fn settled(&self) {
        self.node()
            .link_until(CLAIMED, |link| link.state == LinkState::Idle)
            .await;
    }

    /// The roster knows the claimed node; from now on it is dialled, or waited for. A pin stays.
    pub(super) fn expects(&self, dials: bool) {
        let roster = self.roster();
        let mut entry = RosterEntry::new(id(CLAIMED), vec![address(2).into()]);
        entry.pin = roster.get(id(CLAIMED)).and_then(|known| known.pin);
        let entry = if dials { entry } else { entry.by_need() };
        roster.insert(entry).expect("inserted");
    }

    /// The roster pins another key of the claimed node, and nobody dials it yet.
    pub(super) fn pins(&self, key_hash: [u8; 32]) {
        let entry = RosterEntry::new(id(CLAIMED), vec![address(2).into()]);
        let entry = entry.by_need().pinned(key_hash);
        self.roster().insert(entry).expect("inserted");
    }

    /// A certificate was refused inside TLS, and this is what was recorded: the exact reason, and
    /// who it was. Returns the reason with its values.
    pub(super) async fn refused_certificate(
        &mut self,
        what: &str,
        expected: PeerRole,
        label: &'static str,
    ) -> String {
        let (from, role, reason, detail) = self
            .event(what, |event| match event {
                Event::CertificateRefused {
                    address,
                    role,
                    reason,
                    detail,
                } => Some((*address, *role, *reason, detail.clone())),
                _ => None,
            })
            .await;
        let found = (from, role, reason);
        assert_eq!(found, (address(2), expected, label), "{what}: {detail}");
        assert_eq!(self.counts.refusals("us", label), 1, "{what}: counted");
        detail
    }

    /// The handshake of a dialer has failed for this reason.
    pub(super) async fn handshake_failed(&mut self, what: &str) -> String {
        self.event(what, |event| match event {
            Event::HandshakeFailed { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    /// A peer was refused with a code, after TLS.
    pub(super) async fn refused(&mut self, what: &str, expected: CloseCode) {
        let (from, code, detail) = self
            .event(what, |event| match event {
                Event::Refused {
                    address,
                    code,
                    detail,
                    ..
                } => Some((*address, *code, detail.clone())),
                _ => None,
            })
            .await;
        assert_eq!((from, code), (address(2), expected), "{what}: {detail}");
        assert!(!detail.is_empty(), "{what}");
        let counted = self.counts.refusals("us", expected.label());
        assert_eq!(counted, 1, "{what}: counted");
    }

    /// The status of the claimed node names the refusal.
    pub(super) fn shows_refusal(&self, what: &str, by_peer: bool, reason: &str) {
        let refusal = self.node().link(CLAIMED).last_refusal;
        let refusal = refusal.unwrap_or_else(|| panic!("{what}: the status shows no refusal"));
        assert_eq!(
            (refusal.by_peer, refusal.reason),
            (by_peer, reason),
            "{what}"
        );
        assert_eq!(refusal.detail.is_empty(), by_peer, "{what}: {refusal:?}");
    }

    /// The next event that is looked for, among those that were not looked at yet.
    pub(super) async fn event<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> T {
        let mut seen = Vec::new();
        let events = &mut self.events;
        let waiting = async {
            loop {
                match events.recv().await {
                    Ok(event) => {
                        if let Some(found) = wanted(&event) {
                            return found;
                        }
                        seen.push(event);
                    }
                    Err(RecvError::Lagged(count)) => panic!("{count} events were missed"),
                    Err(RecvError::Closed) => panic!("the judge ended"),
                }
            }
        };
        let found = timeout(LIMIT, waiting).await;
        found.unwrap_or_else(|_| panic!("{what}: no such event among {seen:?}"))
    }

    /// A dial has failed: the reason is in the event and in the status, the wait is bounded, and
    /// nothing is parked by it.
    pub(super) async fn dial_failed(&mut self, what: &str) -> String {
        let (reason, retry_in) = self
            .event(what, |event| match event {
                Event::DialFailed {
                    reason, retry_in, ..
                } => Some((reason.clone(), *retry_in)),
                Event::Parked { .. } => panic!("{what}: parked by its own verdict"),
                _ => None,
            })
            .await;
        assert!(retry_in <= WAIT_MAX, "{what}: {retry_in:?}");
        let link = self.node().link(CLAIMED);
        assert_eq!(link.state, LinkState::Down(reason.clone()), "{what}");
        assert_eq!(link.last_problem.as_ref(), Some(&reason), "{what}");
        reason
    }

    /// Nobody was let in.
    pub(super) fn has_no_link(&self, what: &str) {
        for link in self.node().transport.status() {
            assert_eq!((link.links, link.links_total), (0, 0), "{what}: {link:?}");
        }
    }
}

/// What is said to a refused end is coarse: a fixed word, or a wait.
pub(super) fn assert_coarse(what: &str, text: &str) {
    if let Some(wait) = text.strip_prefix("retry_after_ms=") {
        let wait: u64 = wait.parse().expect("milliseconds");
        assert!(wait <= 30_000, "{what}: {text}");
        return;
    }
    let word = text.strip_prefix("invalid peer certificate: ");
    let word = word.unwrap_or(text);
    let letters = |word: &str| word.chars().all(|letter| letter.is_ascii_alphabetic());
    let known = [
        "",
        "peer sent no certificates",
        "peer doesn't support any known protocol",
    ];
    assert!(letters(word) || known.contains(&word), "{what}: {text:?}");
}

/// What a refused end is told, text included.
pub(super) fn told(code: CloseCode) -> Refused {
    let text = match code.class() {
        CloseClass::RetryAfter => "retry_after_ms=1000",
        _ => "",
    };
    Refused::Code(u64::from(code.to_wire()), text.to_owned())
}

/// Runs every row, one after the other, and fails after the last one if any has failed.
pub(super) async fn all<R>(rows: impl Iterator<Item = R>)
where
    R: Future<Output = ()> + Send + 'static,
{
    let mut failed = 0;
    for row in rows {
        // What a row has to say stands above, as every panic does.
        failed += u32::from(tokio::spawn(row).await.is_err());
    }
    assert_eq!(failed, 0, "rows have failed");
}
