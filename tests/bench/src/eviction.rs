//! How long a live link outlives the right of its peer to be there: it was removed, suspended or
//! revoked, or its certificate has expired.
//!
//! Each trial has two nodes of its own on real sockets, and a call in each direction that nobody
//! answers. A trial ends when both ends have no link any more, both calls have heard of it, and the
//! evicted node knows the code; where the code is fatal, it has stopped dialling.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join_all;
use quicraft_certs::{
    Audience, Authority, ClusterName, CredentialFiles, CredentialSettings, CredentialStore,
    Credentials, IssueOptions, IssuedNode, NodeId, Overwrite, StagedFiles, UnixTime,
};
use quicraft_tests::sim::{ECHO, Sink};
use quicraft_transport::close::{CloseClass, CloseCode};
use quicraft_transport::link::{CallLane, Request};
use quicraft_transport::{
    CallError, LinkState, LinkStatus, Registration, Roster, RosterEntry, Transport, TransportHandle,
};
use tokio::time::{Instant, sleep, timeout};

use crate::pair::{Failure, LIMIT, linked};

/// What is measured.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Trials of each cause.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    trials: u32,
    /// The longest that any of them may take, milliseconds; more is a failure.
    #[arg(long, default_value_t = 1_000)]
    limit_ms: u64,
    /// Print one JSON object as the last line.
    #[arg(long)]
    json: bool,
}

/// The node that evicts, and the one that is evicted.
const HERE: u64 = 1;
const THERE: u64 = 2;

/// How long a call runs that nobody answers, in milliseconds: longer than any trial.
const UNANSWERED: u16 = 60_000;

/// For how many seconds a certificate is valid that is to expire: time for a handshake.
const SHORT_LIFE: u64 = 4;

/// Trials at the same time that wait for a clock.
const TOGETHER: usize = 5;

/// Time between the starts of two of them, so that they meet the clock at different moments.
const STAGGER: Duration = Duration::from_millis(130);

/// Why a node may not be here any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Cause {
    Removal,
    Suspension,
    /// The host reads the new list.
    Revocation,
    /// The new list is written, and the host follows its files.
    RevocationFile,
    Expiry,
}

impl Cause {
    const ALL: [Self; 5] = [
        Self::Removal,
        Self::Suspension,
        Self::Revocation,
        Self::RevocationFile,
        Self::Expiry,
    ];

    const fn code(self) -> CloseCode {
        match self {
            Self::Removal => CloseCode::Removed,
            Self::Suspension => CloseCode::Suspended,
            Self::Revocation | Self::RevocationFile => CloseCode::Revoked,
            Self::Expiry => CloseCode::CertificateExpired,
        }
    }

    const fn at_once(self) -> usize {
        match self {
            // Both wait for a clock, and do nothing else meanwhile.
            Self::Expiry | Self::RevocationFile => TOGETHER,
            _ => 1,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Removal => "removal",
            Self::Suspension => "suspension",
            Self::Revocation => "revocation",
            Self::RevocationFile => "revocation-file",
            Self::Expiry => "expiry",
        })
    }
}

/// Evicts a node again and again for each cause, and compares the worst with the bound.
pub(crate) async fn run(options: Options) -> Result<(), Failure> {
    let took = all_trials(options.trials).await?;
    let worst = took.values().flatten().max().copied().unwrap_or_default();
    let millis = |took: Duration| took.as_secs_f64() * 1e3;
    println!("a link after its peer lost the right to be there, ms");
    println!("{:>16} {:>7} {:>8} {:>8}", "", "trials", "median", "worst");
    let mut causes = BTreeMap::new();
    for (cause, took) in &took {
        let median = took.get(took.len() / 2).copied().unwrap_or_default();
        let worst = took.last().copied().unwrap_or_default();
        let (median, worst) = (millis(median), millis(worst));
        println!(
            "{cause:>16} {:>7} {median:>8.1} {worst:>8.1}",
            took.len(),
            cause = cause.to_string()
        );
        let figures = serde_json::json!({
            "trials": took.len(), "median_ms": median, "worst_ms": worst,
        });
        causes.insert(cause.to_string(), figures);
    }
    if options.json {
        let json = serde_json::json!({
            "trials": took.values().map(Vec::len).sum::<usize>(),
            "worst_ms": millis(worst),
            "limit_ms": options.limit_ms,
            "causes": causes,
        });
        println!("{json}");
    }
    if worst >= Duration::from_millis(options.limit_ms) {
        return Err(format!("{worst:?}, the bound is {} ms", options.limit_ms).into());
    }
    Ok(())
}

/// What each trial took, in order.
async fn all_trials(trials: u32) -> Result<BTreeMap<Cause, Vec<Duration>>, Failure> {
    let authority = Authority::new(ClusterName::new("bench.example")?)?;
    let numbers: Vec<u32> = (0..trials).collect();
    let mut all = BTreeMap::new();
    for cause in Cause::ALL {
        let mut took = Vec::new();
        for together in numbers.chunks(cause.at_once()) {
            let trials = together.iter().zip(0..).map(|(number, place)| {
                let trial = trial(&authority, cause, place * STAGGER);
                async move {
                    let took = timeout(LIMIT, trial).await?;
                    took.map_err(|error| Failure::from(format!("{cause} {number}: {error}")))
                }
            });
            took.extend(try_join_all(trials).await?);
        }
        took.sort_unstable();
        all.insert(cause, took);
    }
    Ok(all)
}

/// Two linked nodes, of which one is evicted; returns how long its link lived on.
async fn trial(
    authority: &Authority,
    cause: Cause,
    begins_after: Duration,
) -> Result<Duration, Failure> {
    sleep(begins_after).await;
    let mut options = IssueOptions::default();
    if cause == Cause::Expiry {
        options.not_after = Some(seconds_later(authority.now(), SHORT_LIFE));
    }
    let issued = authority.issue_with(NodeId::new(THERE)?, &options)?;
    let folder = tempfile::tempdir()?;
    let mut files = authority.issue(NodeId::new(HERE)?)?.write(folder.path())?;
    let list = folder.path().join("crl.pem");
    std::fs::write(&list, authority.crl(&[])?)?;
    files = files.with_crl(&list);

    let here = End::start(Credentials::load(&files, &CredentialSettings::default())?)?;
    if cause == Cause::RevocationFile {
        let settings = CredentialSettings::default();
        here.transport.follow_credentials(files.clone(), settings);
    }
    let there = End::start(issued.credentials(authority)?)?;
    here.meet(&there)?;
    there.meet(&here)?;
    linked(&here.transport, there.transport.node_id()).await?;
    linked(&there.transport, here.transport.node_id()).await?;

    let (from_here, from_there) = (
        here.unanswered(there.transport.node_id()),
        there.unanswered(here.transport.node_id()),
    );
    let evicted = async {
        // Both calls are on their way.
        for (end, peer) in [(&here, THERE), (&there, HERE)] {
            end.until(peer, |link| link.in_flight == 1).await?;
        }
        let since = evict(&here, cause, authority, &issued, &files).await?;
        here.until(THERE, |link| link.links == 0).await?;
        there
            .until(HERE, |link| is_told(link, cause.code()))
            .await?;
        Ok::<_, Failure>(since)
    };
    let (since, here_cut, there_cut) = tokio::try_join!(evicted, from_here, from_there)?;
    for cut in [here_cut, there_cut] {
        if !matches!(cut, CallError::Cut { .. }) {
            return Err(format!("a call that was not cut: {cut:?}").into());
        }
    }
    Ok(since.elapsed())
}

/// Takes the right to be here from the other node. Returns the moment at which it has lost it.
async fn evict(
    here: &End,
    cause: Cause,
    authority: &Authority,
    issued: &IssuedNode,
    files: &CredentialFiles,
) -> Result<Instant, Failure> {
    let peer = NodeId::new(THERE)?;
    match cause {
        Cause::Removal => {
            let now = Instant::now();
            here.transport.roster().remove(peer);
            Ok(now)
        }
        Cause::Suspension => {
            let now = Instant::now();
            if here.transport.suspend_peer(peer) {
                Ok(now)
            } else {
                Err("the peer to suspend is not there".into())
            }
        }
        Cause::Revocation | Cause::RevocationFile => {
            let list = files.crl.as_deref().ok_or("no file of the CRL")?;
            let mut staged = StagedFiles::new(Overwrite::Replace);
            let revoked = authority.crl(&[issued.serial().clone()])?;
            staged.add(list, &revoked, Audience::Everybody)?;
            staged.commit()?;
            let now = Instant::now();
            if cause == Cause::Revocation {
                let settings = CredentialSettings::default();
                here.transport.reload_credentials(files, &settings).await?;
            }
            Ok(now)
        }
        Cause::Expiry => {
            let last = issued.certificate().not_after();
            let store = here.transport.credentials();
            if store.now().as_secs() > last {
                return Err("the machine was too slow for a certificate of so few seconds".into());
            }
            // The clock of certificates has whole seconds; its step is the moment that is wanted.
            while store.now().as_secs() <= last {
                sleep(Duration::from_millis(1)).await;
            }
            Ok(Instant::now())
        }
    }
}

/// Whether the evicted end has no link, knows why, and has drawn the conclusion from it.
fn is_told(link: &LinkStatus, code: CloseCode) -> bool {
    let told = link.last_close.as_ref().and_then(|close| close.code) == Some(code);
    let fatal = code.class() == CloseClass::Fatal;
    link.links == 0 && told && matches!(link.state, LinkState::Parked(_)) == fatal
}

fn seconds_later(now: UnixTime, seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(now.as_secs() + seconds))
}

/// One of the two nodes.
struct End {
    transport: Transport,
    _serving: Registration,
}

impl End {
    fn start(credentials: Credentials) -> Result<Self, Failure> {
        let transport = Transport::builder(CredentialStore::new(credentials))
            .bind("127.0.0.1:0".parse()?)
            .roster(Roster::closed())
            .start()?;
        let serving = transport.register(ECHO, Arc::new(Sink::new(1)))?;
        Ok(Self {
            transport,
            _serving: serving,
        })
    }

    fn meet(&self, other: &Self) -> Result<(), Failure> {
        let address = other.transport.local_addr().ok_or("no address")?.into();
        let entry = RosterEntry::new(other.transport.node_id(), vec![address]);
        Ok(self.transport.roster().insert(entry)?)
    }

    /// A call that is not answered: what cut it.
    async fn unanswered(&self, peer: NodeId) -> Result<CallError, Failure> {
        let peer = self.transport.peer(peer);
        let request = Request::new(ECHO, UNANSWERED, "x".into());
        let called = peer.call(CallLane::Call, request, Instant::now() + LIMIT);
        match called.await {
            Err(cut) => Ok(cut),
            Ok(_) => Err("an answer that nobody gave".into()),
        }
    }

    /// Waits until the status of a peer is as wanted.
    async fn until(&self, peer: u64, wanted: impl Fn(&LinkStatus) -> bool) -> Result<(), Failure> {
        let (handle, peer): (TransportHandle, _) = (self.transport.handle(), NodeId::new(peer)?);
        let mut events = handle.events();
        while !wanted(&handle.peer(peer).status()) {
            // A call that begins is no event, and an event may come before the status.
            drop(timeout(GLANCE, events.recv()).await);
        }
        Ok(())
    }
}

/// Between two looks at a status.
const GLANCE: Duration = Duration::from_millis(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// The promise is a second, and 100 trials of an optimized build keep it; the rest is for a
    /// machine that runs all other tests at the same time. Simulations hold the second exactly.
    const BUSY: Duration = Duration::from_secs(1 + 2);

    #[tokio::test]
    async fn a_link_ends_soon_after_its_right() {
        let took = all_trials(3).await.expect("trials");
        assert_eq!(took.len(), Cause::ALL.len());
        for (cause, took) in took {
            assert_eq!(took.len(), 3);
            assert!(took.iter().all(|took| *took < BUSY), "{cause}: {took:?}");
        }
    }
}
