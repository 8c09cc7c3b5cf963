//! A disk for the database that loses what was not synced.
//!
//! Writes are seen at once by whoever has the disk open, as with a page cache. A crash keeps what
//! was synced and any subset of the rest, sector by sector: a write may be torn or overtaken.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use redb::StorageBackend;
use tokio::sync::watch;

/// What a disk writes whole or not at all, in bytes.
const SECTOR: usize = 512;
/// A held sync that nobody releases must end the test, not hang it.
const HELD_AT_MOST: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
enum Unsynced {
    Write { offset: u64, data: Vec<u8> },
    Length(u64),
}

#[derive(Debug, Default)]
struct Content {
    /// What survives any crash.
    synced: Vec<u8>,
    /// What is read.
    seen: Vec<u8>,
    unsynced: Vec<Unsynced>,
    fails: bool,
    held: bool,
}

/// A disk; clones are the same one.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    content: Arc<Mutex<Content>>,
    released: Arc<Condvar>,
    /// Syncs that were begun and that were finished.
    syncs: Arc<watch::Sender<(u64, u64)>>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self::with(Vec::new())
    }

    fn with(image: Vec<u8>) -> Self {
        let content = Content {
            synced: image.clone(),
            seen: image,
            ..Content::default()
        };
        Self {
            content: Arc::new(Mutex::new(content)),
            released: Arc::new(Condvar::new()),
            syncs: Arc::new(watch::Sender::new((0, 0))),
        }
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    /// The disk as the next start finds it, if the power failed now.
    pub(crate) fn crash(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        // Between nothing and everything of what was not synced.
        let kept: f64 = [0.0, 0.5, 0.9, 1.0][random.random_range(0..4)];
        let content = self.content();
        let mut image = content.synced.clone();
        for one in &content.unsynced {
            match one {
                Unsynced::Length(length) if random.random_bool(kept) => {
                    image.resize(usize::try_from(*length).unwrap(), 0);
                }
                Unsynced::Length(_) => {}
                Unsynced::Write { offset, data } => {
                    let mut start = usize::try_from(*offset).unwrap();
                    let mut rest = data.as_slice();
                    while !rest.is_empty() {
                        let length = (SECTOR - start % SECTOR).min(rest.len());
                        if random.random_bool(kept) {
                            put(&mut image, start, &rest[..length]);
                        }
                        start += length;
                        rest = &rest[length..];
                    }
                }
            }
        }
        Self::with(image)
    }

    /// Syncs that were finished.
    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.borrow().1
    }

    /// Syncs wait from now on, until they are released.
    pub(crate) fn hold_syncs(&self) {
        self.content().held = true;
    }

    pub(crate) fn release_syncs(&self) {
        self.content().held = false;
        self.released.notify_all();
    }

    /// Waits until a sync was begun that is not finished.
    pub(crate) async fn sync_is_held(&self) {
        let mut syncs = self.syncs.subscribe();
        let held = syncs.wait_for(|(begun, finished)| begun > finished);
        tokio::time::timeout(HELD_AT_MOST, held)
            .await
            .unwrap()
            .unwrap();
    }

    /// Every write and sync fails from now on.
    pub(crate) fn fail(&self) {
        self.content().fails = true;
    }
}

fn put(image: &mut Vec<u8>, start: usize, data: &[u8]) {
    let end = start + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[start..end].copy_from_slice(data);
}

fn refuse(content: &Content) -> io::Result<()> {
    if content.fails {
        Err(io::Error::other("the disk is broken"))
    } else {
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let content = self.content();
        let start = usize::try_from(offset).unwrap();
        let found = content.seen.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut content = self.content();
        refuse(&content)?;
        content.seen.resize(usize::try_from(length).unwrap(), 0);
        content.unsynced.push(Unsynced::Length(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut content = self.content();
        refuse(&content)?;
        self.syncs.send_modify(|(begun, _)| *begun += 1);
        while content.held {
            let (again, timed_out) = self.released.wait_timeout(content, HELD_AT_MOST).unwrap();
            assert!(!timed_out.timed_out(), "nobody released the syncs");
            content = again;
        }
        refuse(&content)?;
        for one in std::mem::take(&mut content.unsynced) {
            match one {
                Unsynced::Length(length) => {
                    content.synced.resize(usize::try_from(length).unwrap(), 0);
                }
                Unsynced::Write { offset, data } => {
                    put(&mut content.synced, usize::try_from(offset).unwrap(), &data);
                }
            }
        }
        self.syncs.send_modify(|(_, finished)| *finished += 1);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut content = self.content();
        refuse(&content)?;
        put(&mut content.seen, usize::try_from(offset).unwrap(), data);
        content.unsynced.push(Unsynced::Write {
            offset,
            data: data.to_vec(),
        });
        Ok(())
    }
}
