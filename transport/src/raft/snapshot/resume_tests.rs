//! What is kept of a broken transfer, who may go on with it, and for how long.

use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use openraft::vote::RaftLeaderId;
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, advance};

use super::super::limits::{PARTIAL_SNAPSHOT_AGE_MAX, SNAPSHOT_CHUNK_BYTES, SNAPSHOT_CLAIMS_MAX};
use super::super::testing::{TestConfig, leader_vote, log_id};
use super::partial::{Judgement, Kept, judge_head, judge_offer};
use super::*;

const MS: Duration = Duration::from_millis(1);
const CHUNK: usize = SNAPSHOT_CHUNK_BYTES;

/// A snapshot of `length` bytes up to log index `index`, of the leader of `term`.
pub(super) fn claim(term: u64, index: u64, length: u64) -> Claim<TestConfig> {
    Claim {
        leader: leader_vote(term, 1).leader_id().to_committed(),
        key: PartialKey {
            last_log_id: Some(log_id(1, 1, index)),
            length,
        },
    }
}

pub(super) fn keeper<I: SnapshotIo>(io: I) -> Arc<SnapshotKeeper<TestConfig, I>> {
    SnapshotKeeper::new(io, Arc::new(|task| drop(tokio::spawn(task))))
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| u8::try_from(index * 31 % 251).unwrap())
        .collect()
}

// --- Decisions ------------------------------------------------------------------------------------

fn kept(term: u64, index: u64, length: u64, stored: u64) -> Kept<TestConfig> {
    Kept {
        claim: claim(term, index, length),
        stored,
        touched: Instant::now(),
    }
}

proptest! {
    /// R14: only the very same snapshot goes on, exactly where it ended, for the same or a later
    /// leader, and while it is fresh.
    #[test]
    fn only_what_is_kept_is_continued(
        terms in (1..4_u64, 1..4_u64), indexes in (1..3_u64, 1..3_u64),
        lengths in (8..10_u64, 8..10_u64), stored in 0..4_u64, offset in 0..4_u64, late in -2..3_i64,
    ) {
        let kept = kept(terms.0, indexes.0, lengths.0, stored);
        let claim = claim(terms.1, indexes.1, lengths.1);
        let age = PARTIAL_SNAPSHOT_AGE_MAX.as_millis().cast_signed() + i128::from(late);
        let now = kept.touched + Duration::from_millis(u64::try_from(age).unwrap());
        let fresh = late <= 0;
        let same = indexes.0 == indexes.1 && lengths.0 == lengths.1;
        let outranked = fresh && terms.1 < terms.0;

        let head = judge_head(Some(&kept), &claim, offset, now);
        prop_assert_eq!(head == Judgement::Outranked, outranked);
        let goes_on = fresh && same && terms.1 >= terms.0 && offset == stored && offset > 0;
        prop_assert_eq!(head == Judgement::Continue, goes_on);
        prop_assert_eq!(head == Judgement::Anew, !outranked && offset == 0);

        let offer = judge_offer(Some(&kept), &claim, now);
        prop_assert_eq!(offer == Judgement::Outranked, outranked);
        let offered = fresh && same && terms.1 >= terms.0 && stored > 0;
        prop_assert_eq!(offer == Judgement::Continue, offered);
        prop_assert!(offer != Judgement::Missing);
    }
}

#[tokio::test(start_paused = true)]
async fn without_anything_kept_there_is_no_offer_and_nothing_to_go_on_behind() {
    let (now, claim) = (Instant::now(), claim(1, 1, 10));
    assert_eq!(judge_offer(None, &claim, now), Judgement::Anew);
    assert_eq!(judge_head(None, &claim, 0, now), Judgement::Anew);
    assert_eq!(judge_head(None, &claim, 1, now), Judgement::Missing);
}

// --- The task -------------------------------------------------------------------------------------

/// A store in memory whose disk stands still when a test says so, and that counts its sinks.
#[derive(Clone)]
struct Disk {
    /// One permit for each write; closed, it lets all pass.
    writes: Arc<Semaphore>,
    sinks: Arc<AtomicUsize>,
    /// What the next write does.
    fault: Arc<Mutex<Option<Fault>>>,
}

#[derive(Clone, Copy)]
enum Fault {
    Error,
    Panic,
}

impl Disk {
    fn new() -> Self {
        let disk = Self::standing();
        disk.go();
        disk
    }

    fn standing() -> Self {
        Self {
            writes: Arc::new(Semaphore::new(0)),
            sinks: Arc::default(),
            fault: Arc::default(),
        }
    }

    fn go(&self) {
        self.writes.close();
    }

    fn sinks(&self) -> usize {
        self.sinks.load(Ordering::Relaxed)
    }
}

struct DiskSink {
    disk: Disk,
    bytes: Vec<u8>,
}

impl Drop for DiskSink {
    fn drop(&mut self) {
        self.disk.sinks.fetch_sub(1, Ordering::Relaxed);
    }
}

impl SnapshotIo for Disk {
    type Data = Vec<u8>;
    type Source = Cursor<Vec<u8>>;
    type Sink = DiskSink;

    async fn open(&self, data: Vec<u8>) -> io::Result<(u64, Cursor<Vec<u8>>)> {
        Ok((data.len() as u64, Cursor::new(data)))
    }

    async fn receive(&self, _: u64) -> io::Result<DiskSink> {
        self.sinks.fetch_add(1, Ordering::Relaxed);
        Ok(DiskSink {
            disk: self.clone(),
            bytes: Vec::new(),
        })
    }
}

impl SnapshotSink for DiskSink {
    type Data = Vec<u8>;

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.bytes.extend_from_slice(first);
        // A write that were dropped here would have stored the half of its bytes.
        if let Ok(permit) = self.disk.writes.acquire().await {
            permit.forget();
        }
        let fault = self.disk.fault.lock().unwrap().take();
        match fault {
            None => self.bytes.extend_from_slice(second),
            Some(Fault::Error) => return Err(io::ErrorKind::StorageFull.into()),
            Some(Fault::Panic) => panic!("the disk is on fire"),
        }
        Ok(())
    }

    async fn finish(mut self) -> io::Result<Vec<u8>> {
        Ok(std::mem::take(&mut self.bytes))
    }
}

type TestKeeper = Arc<SnapshotKeeper<TestConfig, Disk>>;
type Received = Result<Vec<u8>, ReceiveError>;

/// Everything that a sender puts on the lane behind `offset` bytes.
async fn body(data: &[u8], offset: usize) -> Vec<u8> {
    let mut source = data;
    let hasher = hash_prefix(&mut source, offset as u64).await.unwrap();
    let (length, offset) = (data.len() as u64, offset as u64);
    let mut sent = Vec::new();
    HashedReader::behind(source, length, offset, hasher)
        .read_to_end(&mut sent)
        .await
        .unwrap();
    sent
}

/// A transfer that is under way, into which the test writes.
async fn start(
    keeper: &TestKeeper,
    claim: Claim<TestConfig>,
    offset: u64,
) -> (DuplexStream, JoinHandle<Received>) {
    let receiving = keeper.begin(claim, offset).await.unwrap();
    let (sender, mut body) = tokio::io::duplex(CHUNK);
    let task = tokio::spawn(async move { receiving.receive(&mut body).await });
    (sender, task)
}

/// Brings the first bytes of a snapshot and breaks.
async fn broken(keeper: &TestKeeper, claim: Claim<TestConfig>, offset: u64, bytes: &[u8]) {
    let receiving = keeper.begin(claim, offset).await.unwrap();
    let error = receiving.receive(&mut &bytes[..]).await.unwrap_err();
    assert!(matches!(error, ReceiveError::Short { .. }), "{error}");
}

async fn offered(keeper: &TestKeeper, claim: &Claim<TestConfig>) -> Option<Offer> {
    keeper.offer(claim.clone(), false).await.unwrap()
}

/// R14: the offer is true, and the snapshot is whole, wherever and however often it is cut.
#[tokio::test(start_paused = true)]
async fn a_snapshot_goes_on_where_it_was_cut() {
    let data = bytes(3 * CHUNK + 7);
    let claim = claim(1, 1, data.len() as u64);
    let all = data.len();
    let cuts = [
        vec![1],
        vec![CHUNK - 1, CHUNK, CHUNK + 1],
        vec![10, 10, 2 * CHUNK],
        // The cut comes before the hash, and inside of it.
        vec![all, all + 5],
    ];
    for cuts in cuts {
        let keeper = keeper(Disk::new());
        let mut offset = 0;
        for cut in cuts {
            let sent = body(&data, offset).await;
            broken(&keeper, claim.clone(), offset as u64, &sent[..cut - offset]).await;
            let offer = offered(&keeper, &claim).await.unwrap();
            offset = cut.min(all);
            assert_eq!(offer.offset, offset as u64);
            assert_eq!(offer.hash, blake3::hash(&data[..offset]));
        }
        let sent = body(&data, offset).await;
        assert_eq!(sent.len(), data.len() - offset + 32);
        let receiving = keeper.begin(claim.clone(), offset as u64).await.unwrap();
        assert_eq!(receiving.receive(&mut &sent[..]).await.unwrap(), data);
        assert_eq!(offered(&keeper, &claim).await, None, "it was handed over");
    }
}

/// The link dies in the middle of a write: the write is not cut, and what it stored counts.
#[tokio::test(start_paused = true)]
async fn a_write_outlives_its_transfer() {
    let disk = Disk::standing();
    let keeper = keeper(disk.clone());
    let data = bytes(2 * CHUNK);
    let claim = claim(1, 1, data.len() as u64);
    let (mut sender, transfer) = start(&keeper, claim.clone(), 0).await;
    sender.write_all(&data[..CHUNK + 5]).await.unwrap();
    tokio::time::sleep(MS).await;
    transfer.abort();
    assert!(transfer.await.unwrap_err().is_cancelled());
    let asking = tokio::spawn({
        let (keeper, claim) = (Arc::clone(&keeper), claim.clone());
        async move { offered(&keeper, &claim).await }
    });
    tokio::time::sleep(MS).await;
    assert!(!asking.is_finished(), "the disk still writes");
    disk.go();
    // So do the bytes behind it, which were read and make no chunk yet.
    let offer = asking.await.unwrap().unwrap();
    assert_eq!(offer.offset, CHUNK as u64 + 5);
    assert_eq!(offer.hash, blake3::hash(&data[..CHUNK + 5]));
}

/// R14: what is kept is thrown away when it is of no more use.
#[tokio::test(start_paused = true)]
async fn another_snapshot_takes_the_place_of_what_is_kept() {
    let data = bytes(100);
    for by_offer in [true, false] {
        for other in [claim(1, 2, 100), claim(1, 1, 101)] {
            let disk = Disk::new();
            let keeper = keeper(disk.clone());
            let first = claim(1, 1, 100);
            broken(&keeper, first.clone(), 0, &data[..40]).await;
            assert_eq!(disk.sinks(), 1);
            if by_offer {
                assert_eq!(offered(&keeper, &other).await, None);
                assert_eq!(disk.sinks(), 0);
            } else {
                broken(&keeper, other.clone(), 0, &data[..3]).await;
                assert_eq!(disk.sinks(), 1);
                assert_eq!(offered(&keeper, &other).await.unwrap().offset, 3);
            }
            assert_eq!(offered(&keeper, &first).await, None);
        }
    }
}

/// R14: a sender whose bytes are others has it thrown away.
#[tokio::test(start_paused = true)]
async fn what_the_sender_disowns_is_thrown_away() {
    let disk = Disk::new();
    let keeper = keeper(disk.clone());
    let (data, claim) = (bytes(100), claim(1, 1, 100));
    broken(&keeper, claim.clone(), 0, &data[..40]).await;
    assert_eq!(keeper.offer(claim.clone(), true).await.unwrap(), None);
    assert_eq!(disk.sinks(), 0);
    assert_eq!(offered(&keeper, &claim).await, None);
}

/// R14: at the limit it is still there; past it, it is gone, even if nobody asks.
#[tokio::test(start_paused = true)]
async fn what_is_kept_is_freed_when_it_is_too_old() {
    let disk = Disk::new();
    let keeper = keeper(disk.clone());
    let (data, claim) = (bytes(100), claim(1, 1, 100));
    broken(&keeper, claim.clone(), 0, &data[..40]).await;
    // The end of the transfer has reached the task.
    assert!(offered(&keeper, &claim).await.is_some());
    advance(PARTIAL_SNAPSHOT_AGE_MAX).await;
    assert_eq!(offered(&keeper, &claim).await.unwrap().offset, 40);
    assert_eq!(disk.sinks(), 1);
    advance(MS).await;
    while disk.sinks() > 0 {
        tokio::task::yield_now().await;
    }
    // Its task is gone too; the next snapshot starts another.
    while keeper.claims().is_some() {
        tokio::task::yield_now().await;
    }
    assert_eq!(offered(&keeper, &claim).await, None);
    let error = keeper.begin(claim.clone(), 40).await.unwrap_err();
    assert!(matches!(error, ReceiveError::NotKept { offset: 40 }));
    let receiving = keeper.begin(claim, 0).await.unwrap();
    let sent = body(&data, 0).await;
    assert_eq!(receiving.receive(&mut &sent[..]).await.unwrap(), data);
}

/// A snapshot that comes in slowly is not old.
#[tokio::test(start_paused = true)]
async fn a_transfer_under_way_is_never_too_old() {
    let keeper = keeper(Disk::new());
    let data = bytes(100);
    let claim = claim(1, 1, 100);
    let (mut sender, transfer) = start(&keeper, claim, 0).await;
    let sent = body(&data, 0).await;
    for part in sent.chunks(50) {
        tokio::time::sleep(PARTIAL_SNAPSHOT_AGE_MAX + MS).await;
        sender.write_all(part).await.unwrap();
    }
    assert_eq!(transfer.await.unwrap().unwrap(), data);
}

/// R14: exactly the offset that is kept, or nothing.
#[tokio::test(start_paused = true)]
async fn a_transfer_from_elsewhere_is_refused_and_changes_nothing() {
    let keeper = keeper(Disk::new());
    let (data, first) = (bytes(100), claim(1, 1, 100));
    broken(&keeper, first.clone(), 0, &data[..40]).await;
    for (wrong, offset) in [
        (first.clone(), 39),
        (first.clone(), 41),
        (first.clone(), 100),
        (claim(1, 2, 100), 40),
        (claim(1, 1, 101), 40),
    ] {
        let error = keeper.begin(wrong, offset).await.unwrap_err();
        assert!(matches!(error, ReceiveError::NotKept { .. }), "{error}");
    }
    assert_eq!(offered(&keeper, &first).await.unwrap().offset, 40);
    // From 0 is always allowed, and takes its place.
    broken(&keeper, first.clone(), 0, &data[..3]).await;
    assert_eq!(offered(&keeper, &first).await.unwrap().offset, 3);
}

/// R14: the hash at the end covers what was kept, so nothing wrong is ever installed.
#[tokio::test(start_paused = true)]
async fn the_hash_at_the_end_covers_what_was_kept() {
    let disk = Disk::new();
    let keeper = keeper(disk.clone());
    let claim = claim(1, 1, 100);
    let ours = bytes(100);
    let mut theirs = ours.clone();
    theirs[7] ^= 1;
    broken(&keeper, claim.clone(), 0, &theirs[..40]).await;
    // A sender that did not compare goes on with its own bytes.
    let sent = body(&ours, 40).await;
    let receiving = keeper.begin(claim.clone(), 40).await.unwrap();
    let error = receiving.receive(&mut &sent[..]).await.unwrap_err();
    assert!(
        matches!(error, ReceiveError::WrongHash { length: 100 }),
        "{error}"
    );
    assert_eq!(disk.sinks(), 0);
    assert_eq!(offered(&keeper, &claim).await, None, "it begins at 0 again");
}

/// R14: of two transfers at once, the later goes on with what both have brought.
#[tokio::test(start_paused = true)]
async fn a_newer_transfer_takes_over() {
    for asks_first in [true, false] {
        let keeper = keeper(Disk::new());
        let data = bytes(2 * CHUNK + 9);
        let claim = claim(1, 1, data.len() as u64);
        let (mut old, stopped) = start(&keeper, claim.clone(), 0).await;
        old.write_all(&data[..CHUNK]).await.unwrap();
        old.write_all(&data[CHUNK..CHUNK + 5]).await.unwrap();
        let offset = if asks_first {
            let offer = offered(&keeper, &claim).await.unwrap();
            assert_eq!(offer.offset, CHUNK as u64);
            offer.offset
        } else {
            0
        };
        let (mut new, transfer) = start(&keeper, claim.clone(), offset).await;
        let error = stopped.await.unwrap().unwrap_err();
        assert!(matches!(error, ReceiveError::Superseded), "{error}");
        // What the old one sends from here on reaches nobody.
        assert!(old.write_all(&[0; CHUNK]).await.is_err());
        let sent = body(&data, usize::try_from(offset).unwrap()).await;
        new.write_all(&sent).await.unwrap();
        assert_eq!(transfer.await.unwrap().unwrap(), data);
    }
}

/// A sender that never stops does not keep the next one out, however slow the disk is.
#[tokio::test(start_paused = true)]
async fn a_transfer_that_keeps_coming_is_ended_too() {
    let disk = Disk::standing();
    let keeper = keeper(disk.clone());
    let claim = claim(1, 1, u64::MAX);
    let receiving = keeper.begin(claim.clone(), 0).await.unwrap();
    let mut endless = tokio::io::repeat(7);
    let transfer = tokio::spawn(async move { receiving.receive(&mut endless).await });
    let writing = async {
        loop {
            disk.writes.add_permits(1);
            tokio::time::sleep(MS).await;
        }
    };
    let offer = tokio::select! {
        () = writing => unreachable!("it never ends"),
        offer = tokio::time::timeout(100 * MS, offered(&keeper, &claim)) => offer.unwrap(),
    };
    assert!(offer.unwrap().offset > 0);
    let error = transfer.await.unwrap().unwrap_err();
    assert!(matches!(error, ReceiveError::Superseded), "{error}");
}

/// R14: an earlier leader neither takes over nor throws away.
#[tokio::test(start_paused = true)]
async fn an_earlier_leader_does_not_disturb_a_later_one() {
    let keeper = keeper(Disk::new());
    let data = bytes(CHUNK + 9);
    let later = claim(5, 1, data.len() as u64);
    let (mut sender, transfer) = start(&keeper, later.clone(), 0).await;
    sender.write_all(&data[..40]).await.unwrap();
    for earlier in [claim(4, 1, later.key.length), claim(4, 2, 7)] {
        for discard in [true, false] {
            let error = keeper.offer(earlier.clone(), discard).await.unwrap_err();
            assert!(matches!(error, ReceiveError::Outranked), "{error}");
        }
        for offset in [0, 40] {
            let error = keeper.begin(earlier.clone(), offset).await.unwrap_err();
            assert!(matches!(error, ReceiveError::Outranked), "{error}");
        }
    }
    let sent = body(&data, 0).await;
    sender.write_all(&sent[40..]).await.unwrap();
    assert_eq!(transfer.await.unwrap().unwrap(), data);
}

/// R14: a later leader goes on with the bytes of an earlier one, and then outranks it.
#[tokio::test(start_paused = true)]
async fn a_later_leader_goes_on_with_the_same_snapshot() {
    let keeper = keeper(Disk::new());
    let data = bytes(100);
    let (earlier, later) = (claim(4, 1, 100), claim(5, 1, 100));
    broken(&keeper, earlier.clone(), 0, &data[..40]).await;
    assert_eq!(offered(&keeper, &later).await.unwrap().offset, 40);
    let error = keeper.offer(earlier.clone(), false).await.unwrap_err();
    assert!(matches!(error, ReceiveError::Outranked), "{error}");
    let receiving = keeper.begin(later, 40).await.unwrap();
    let sent = body(&data, 40).await;
    assert_eq!(receiving.receive(&mut &sent[..]).await.unwrap(), data);
    // Nothing is kept any more that could outrank it.
    assert_eq!(offered(&keeper, &earlier).await, None);
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fails_costs_what_was_kept_and_not_the_next_snapshot() {
    for fault in [Fault::Error, Fault::Panic] {
        let disk = Disk::new();
        let keeper = keeper(disk.clone());
        let (data, claim) = (bytes(100), claim(1, 1, 100));
        *disk.fault.lock().unwrap() = Some(fault);
        let sent = body(&data, 0).await;
        let receiving = keeper.begin(claim.clone(), 0).await.unwrap();
        let error = receiving.receive(&mut &sent[..]).await.unwrap_err();
        assert!(
            match fault {
                Fault::Error => matches!(error, ReceiveError::Store(_)),
                Fault::Panic => matches!(error, ReceiveError::Panicked),
            },
            "{error}"
        );
        assert_eq!(disk.sinks(), 0);
        assert_eq!(offered(&keeper, &claim).await, None);
        let receiving = keeper.begin(claim, 0).await.unwrap();
        assert_eq!(receiving.receive(&mut &sent[..]).await.unwrap(), data);
    }
}

/// While the disk stands still, only so many may wait for it.
#[tokio::test(start_paused = true)]
async fn claims_are_limited_at_the_limit_and_one_past_it() {
    let disk = Disk::standing();
    let keeper = keeper(disk.clone());
    let claim = claim(1, 1, 100);
    let (mut sender, transfer) = start(&keeper, claim.clone(), 0).await;
    sender.write_all(&bytes(100)).await.unwrap();
    tokio::time::sleep(MS).await;
    let asking: Vec<_> = (0..SNAPSHOT_CLAIMS_MAX)
        .map(|_| {
            let (keeper, claim) = (Arc::clone(&keeper), claim.clone());
            tokio::spawn(async move { keeper.offer(claim, false).await })
        })
        .collect();
    tokio::time::sleep(MS).await;
    let error = keeper.offer(claim.clone(), false).await.unwrap_err();
    assert!(matches!(error, ReceiveError::Busy), "{error}");
    let error = keeper.begin(claim, 0).await.unwrap_err();
    assert!(matches!(error, ReceiveError::Busy), "{error}");
    disk.go();
    for asked in asking {
        assert_eq!(asked.await.unwrap().unwrap().unwrap().offset, 100);
    }
    let error = transfer.await.unwrap().unwrap_err();
    assert!(matches!(error, ReceiveError::Superseded), "{error}");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_owner_drops_what_is_kept_at_once() {
    let disk = Disk::new();
    let keeper = keeper(disk.clone());
    broken(&keeper, claim(1, 1, 100), 0, &bytes(40)).await;
    assert_eq!(disk.sinks(), 1);
    let dropped = Instant::now();
    drop(keeper);
    while disk.sinks() > 0 {
        tokio::time::sleep(MS).await;
    }
    assert!(dropped.elapsed() <= 2 * MS, "{:?}", dropped.elapsed());
}

#[tokio::test]
async fn a_prefix_is_read_and_hashed_and_a_short_source_is_an_error() {
    let data = bytes(2 * CHUNK + 3);
    for length in [0, 1, CHUNK, CHUNK + 1, data.len()] {
        let mut source = &data[..];
        let hasher = hash_prefix(&mut source, length as u64).await.unwrap();
        assert_eq!(hasher.finalize(), blake3::hash(&data[..length]));
        assert_eq!(source.len(), data.len() - length, "not a byte more is read");
        let sent = body(&data, length).await;
        assert_eq!(sent[..data.len() - length], data[length..]);
        assert_eq!(sent[data.len() - length..], *blake3::hash(&data).as_bytes());
    }
    let error = hash_prefix(&mut &data[..], data.len() as u64 + 1).await;
    assert_eq!(
        error.err().map(|error| error.kind()),
        Some(io::ErrorKind::UnexpectedEof)
    );
}
