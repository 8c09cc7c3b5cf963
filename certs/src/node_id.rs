//! The number of a node. It must not know certificates, clusters or addresses.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

use thiserror::Error;

/// The number of a node in its cluster: any `u64` but 0.
///
/// The text form is canonical decimal. `FromStr` accepts only what `Display` writes, because the
/// same text stands in certificates, where two spellings of one node would be two identities.
///
/// ```
/// use quicraft_certs::NodeId;
///
/// let node: NodeId = "7".parse()?;
/// assert_eq!(node.get(), 7);
/// assert!("07".parse::<NodeId>().is_err());
/// assert!(NodeId::new(0).is_err());
/// # Ok::<(), quicraft_certs::InvalidNodeId>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(NonZeroU64);

impl NodeId {
    /// Makes a node id of a number.
    ///
    /// # Errors
    ///
    /// [`InvalidNodeId::Zero`] for 0: it is what an unset field holds, so it never names a node.
    pub const fn new(id: u64) -> Result<Self, InvalidNodeId> {
        match NonZeroU64::new(id) {
            Some(id) => Ok(Self(id)),
            None => Err(InvalidNodeId::Zero),
        }
    }

    /// The number; never 0.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

/// Why a number or a text is not a [`NodeId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum InvalidNodeId {
    /// The number is 0.
    #[error("node id 0 names no node")]
    Zero,
    /// The text is empty.
    #[error("the node id is empty")]
    Empty,
    /// The text holds something else than decimal digits: a sign, a space, a percent sign.
    #[error("the node id holds something else than decimal digits")]
    NotDecimal,
    /// The text begins with a 0, so it is a second spelling of another id.
    #[error("the node id has a leading zero")]
    LeadingZero,
    /// The number is larger than [`u64::MAX`].
    #[error("the node id is larger than {}", u64::MAX)]
    TooLarge,
}

impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(InvalidNodeId::Empty);
        }
        // `u64::from_str` accepts a plus sign, so the digits are looked at first.
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidNodeId::NotDecimal);
        }
        if text.bytes().all(|byte| byte == b'0') {
            return Err(InvalidNodeId::Zero);
        }
        if text.starts_with('0') {
            return Err(InvalidNodeId::LeadingZero);
        }
        let id = text.parse().map_err(|_| InvalidNodeId::TooLarge)?;
        Self::new(id)
    }
}

impl TryFrom<u64> for NodeId {
    type Error = InvalidNodeId;

    fn try_from(id: u64) -> Result<Self, Self::Error> {
        Self::new(id)
    }
}

impl From<NodeId> for u64 {
    fn from(id: NodeId) -> Self {
        id.get()
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_and_the_last_id_are_ids() {
        assert_eq!(NodeId::new(1).unwrap().get(), 1);
        assert_eq!(NodeId::new(u64::MAX).unwrap().get(), u64::MAX);
        assert_eq!(NodeId::new(0), Err(InvalidNodeId::Zero));
    }

    #[test]
    fn every_malformed_text_has_its_reason() {
        for (text, reason) in [
            ("", InvalidNodeId::Empty),
            ("0", InvalidNodeId::Zero),
            ("00", InvalidNodeId::Zero),
            ("01", InvalidNodeId::LeadingZero),
            ("+1", InvalidNodeId::NotDecimal),
            ("-1", InvalidNodeId::NotDecimal),
            (" 1", InvalidNodeId::NotDecimal),
            ("1 ", InvalidNodeId::NotDecimal),
            ("0x1", InvalidNodeId::NotDecimal),
            ("%31", InvalidNodeId::NotDecimal),
            ("1\0", InvalidNodeId::NotDecimal),
            ("\u{661}", InvalidNodeId::NotDecimal),
            ("18446744073709551616", InvalidNodeId::TooLarge),
        ] {
            assert_eq!(text.parse::<NodeId>(), Err(reason), "{text:?}");
        }
        assert_eq!(
            "18446744073709551615".parse::<NodeId>(),
            NodeId::new(u64::MAX)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(id in 1..=u64::MAX) {
            let id = NodeId::new(id).unwrap();
            prop_assert_eq!(id.to_string().parse::<NodeId>(), Ok(id));
        }

        #[test]
        fn what_is_read_is_written_the_same(text in "[-+0-9 ]{0,22}") {
            if let Ok(id) = text.parse::<NodeId>() {
                prop_assert_eq!(id.to_string(), text);
            }
        }
    }
}
