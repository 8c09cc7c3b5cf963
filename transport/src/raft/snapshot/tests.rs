//! Both ends of a snapshot, in memory and in files.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::super::limits::SNAPSHOT_CHUNK_BYTES;
use super::super::testing::TestConfig;
use super::resume_tests::{claim, keeper};
use super::*;

fn bytes(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| u8::try_from(index * 31 % 251).unwrap())
        .collect()
}

/// Everything that the sender puts on the lane.
async fn send<I: SnapshotIo>(io: &I, data: I::Data) -> io::Result<(u64, Vec<u8>)> {
    let (length, source) = io.open(data).await?;
    let mut sent = Vec::new();
    HashedReader::new(source, length)
        .read_to_end(&mut sent)
        .await?;
    Ok((length, sent))
}

/// All of a snapshot as one transfer brings it.
async fn receive<I: SnapshotIo>(
    keeper: &Arc<SnapshotKeeper<TestConfig, I>>,
    length: u64,
    body: &mut &[u8],
) -> Result<I::Data, ReceiveError> {
    let receiving = keeper.begin(claim(1, 1, length), 0).await?;
    receiving.receive(body).await
}

fn files(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

const LENGTHS: [usize; 6] = [
    0,
    1,
    SNAPSHOT_CHUNK_BYTES - 1,
    SNAPSHOT_CHUNK_BYTES,
    SNAPSHOT_CHUNK_BYTES + 1,
    3 * SNAPSHOT_CHUNK_BYTES + 7,
];

#[tokio::test]
async fn a_snapshot_in_memory_arrives_as_it_was() {
    let io = MemorySnapshots::<Cursor<Vec<u8>>>::new();
    for length in LENGTHS {
        let mut data = Cursor::new(bytes(length));
        // Where the cursor stands does not matter.
        data.set_position(length as u64);
        let (announced, sent) = send(&io, data).await.unwrap();
        assert_eq!(announced, length as u64);
        assert_eq!(announced + 32, sent.len() as u64);
        let io = keeper(MemorySnapshots::<Cursor<Vec<u8>>>::new());
        let back = receive(&io, announced, &mut &sent[..]).await.unwrap();
        assert_eq!((back.position(), back.into_inner()), (0, bytes(length)));
    }
}

#[tokio::test]
async fn a_snapshot_in_a_file_arrives_as_it_was_and_leaves_no_name() {
    let folder = tempfile::tempdir().unwrap();
    let io = FileSnapshots::new(folder.path());
    for length in LENGTHS {
        let path = folder.path().join("source");
        std::fs::write(&path, bytes(length)).unwrap();
        let mut source = File::open(&path).await.unwrap();
        source.seek(io::SeekFrom::End(0)).await.unwrap();
        let (announced, sent) = send(&io, source).await.unwrap();
        let io = keeper(io.clone());
        let mut back = receive(&io, announced, &mut &sent[..]).await.unwrap();
        let mut content = Vec::new();
        back.read_to_end(&mut content).await.unwrap();
        assert_eq!(content, bytes(length));
        assert_eq!(files(folder.path()), 1, "only the source has a name");
    }
}

#[tokio::test]
async fn two_readers_of_one_file_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let io = FileSnapshots::new(folder.path());
    let path = folder.path().join("source");
    std::fs::write(&path, bytes(LENGTHS[5])).unwrap();
    let first = File::open(&path).await.unwrap();
    // Clones of a handle share one cursor.
    let second = first.try_clone().await.unwrap();
    let (first, second) = tokio::join!(send(&io, first), send(&io, second));
    assert_eq!(first.unwrap(), second.unwrap());
}

#[tokio::test]
async fn corrupt_snapshots_are_refused_and_removed_and_short_ones_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let io = keeper(FileSnapshots::new(folder.path()));
    let source = bytes(LENGTHS[5]);
    let length = source.len() as u64;
    let memory = MemorySnapshots::<Vec<u8>>::new();
    let (_, sent) = send(&memory, source.clone()).await.unwrap();
    for flip in [
        0,
        source.len() / 2,
        source.len() - 1,
        source.len(),
        sent.len() - 1,
    ] {
        let mut corrupt = sent.clone();
        corrupt[flip] ^= 0x10;
        let error = receive(&io, length, &mut &corrupt[..]).await.unwrap_err();
        assert!(
            matches!(error, ReceiveError::WrongHash { .. }),
            "byte {flip}: {error}"
        );
        assert_eq!(files(folder.path()), 0);
    }
    for end in [0, 1, source.len() - 1, source.len(), sent.len() - 1] {
        let error = receive(&io, length, &mut &sent[..end]).await.unwrap_err();
        assert!(
            matches!(error, ReceiveError::Short { .. }),
            "cut at {end}: {error}"
        );
        assert_eq!(files(folder.path()), 1, "kept, and the one before removed");
    }
}

#[tokio::test]
async fn a_cut_transfer_keeps_its_file_and_a_dropped_service_removes_it() {
    let folder = tempfile::tempdir().unwrap();
    let keeper = keeper(FileSnapshots::new(folder.path()));
    let (mut sender, mut body) = tokio::io::duplex(64);
    let receiving = keeper.begin(claim(1, 1, 1_000), 0).await.unwrap();
    tokio::select! {
        biased;
        _ = receiving.receive(&mut body) => panic!("ended before its bytes came"),
        () = async { sender.write_all(&[1; 500]).await.unwrap() } => {}
    }
    assert_eq!(files(folder.path()), 1);
    // The task notices in its own time that nobody can ask it any more.
    drop(keeper);
    while files(folder.path()) > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn lengths_are_limited_at_the_limit_and_one_past_it() {
    let folder = tempfile::tempdir().unwrap();
    let io = FileSnapshots::new(folder.path()).with_bytes_max(10);
    assert!(io.receive(10).await.is_ok());
    assert_eq!(
        io.receive(11).await.unwrap_err().kind(),
        io::ErrorKind::FileTooLarge
    );
    let io = MemorySnapshots::<Vec<u8>>::with_bytes_max(10);
    assert!(io.receive(10).await.is_ok());
    assert_eq!(
        io.receive(11).await.unwrap_err().kind(),
        io::ErrorKind::FileTooLarge
    );
    // A great announcement allocates next to nothing.
    let io = MemorySnapshots::<Vec<u8>>::with_bytes_max(u64::MAX);
    assert!(io.receive(u64::MAX).await.is_ok());
    assert_eq!(files(folder.path()), 0);
}

#[tokio::test]
async fn a_source_that_ends_early_is_an_error_and_one_that_is_longer_is_cut() {
    let mut sent = Vec::new();
    let error = HashedReader::new(&b"short"[..], 6)
        .read_to_end(&mut sent)
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let mut sent = Vec::new();
    HashedReader::new(&b"longer"[..], 4)
        .read_to_end(&mut sent)
        .await
        .unwrap();
    assert_eq!(&sent[..4], b"long");
    assert_eq!(sent[4..], *blake3::hash(b"long").as_bytes());
}

#[tokio::test]
async fn what_a_crash_left_behind_is_removed_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let io = FileSnapshots::new(folder.path());
    let sink = io.receive(5).await.unwrap();
    std::fs::write(folder.path().join("snapshot-kept"), b"").unwrap();
    std::fs::write(folder.path().join("other.partial"), b"").unwrap();
    assert_eq!(io.remove_partial().unwrap(), 1);
    assert_eq!(files(folder.path()), 2);
    drop(sink);
}

#[tokio::test]
async fn a_missing_folder_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let io = FileSnapshots::new(folder.path().join("missing"));
    assert!(io.receive(1).await.is_err());
}
