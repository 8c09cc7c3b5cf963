//! Reads choices from the bytes of a fuzzer: a list of events that is cut or changed anywhere is
//! still a list of events.

/// The rest of an input.
#[derive(Debug)]
pub(super) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; 0 behind the end.
    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        *first
    }

    /// The next byte as a choice among `count`.
    pub(super) fn below(&mut self, count: u8) -> u8 {
        self.byte() % count
    }

    pub(super) fn chance(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// A count of a peer, mostly small, or at the end of its range: what only a hostile one sends.
    pub(super) fn count(&mut self) -> u64 {
        match self.byte() {
            small @ 0..0xf0 => u64::from(small & 15),
            large => u64::MAX - u64::from(large & 15),
        }
    }

    /// A count of dials, as far as a handshake message can say one.
    pub(super) fn generation(&mut self) -> u64 {
        self.count() & !(1 << 63)
    }
}
