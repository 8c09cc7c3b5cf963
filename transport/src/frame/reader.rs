//! Reads fixed layouts byte by byte, without a panic at the end of the input.

use crate::TraceContext;

/// A cursor over received bytes; every read checks that enough are left.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    pub(crate) fn take(&mut self, size: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.bytes.split_at_checked(size)?;
        self.bytes = tail;
        Some(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(crate) fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_be_bytes)
    }

    pub(crate) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    pub(crate) fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_be_bytes)
    }
}

/// The trace context behind a header; nothing where there are no bytes for one.
pub(crate) fn take_trace(bytes: &[u8]) -> Option<TraceContext> {
    let mut reader = Reader::new(bytes);
    Some(TraceContext::new(reader.array()?, reader.array()?))
}
