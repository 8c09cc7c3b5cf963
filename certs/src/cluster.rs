//! The name of a cluster. It must not know nodes, certificates or addresses.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// The name of a cluster: the trust domain in every certificate of its nodes.
///
/// It is lower-case DNS labels joined by dots, at most [`ClusterName::MAX_BYTES`] bytes; a single
/// label is enough. The last label is not a number, because a DNS name ending in a number is read
/// as an IP address. Names are compared byte for byte. A clone shares the text.
///
/// ```
/// use quicraft_certs::ClusterName;
///
/// let cluster = ClusterName::new("prod.example")?;
/// assert_eq!(cluster.as_str(), "prod.example");
/// assert!(ClusterName::new("Prod.example").is_err());
/// # Ok::<(), quicraft_certs::InvalidClusterName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterName(Arc<str>);

impl ClusterName {
    /// The longest name, in bytes. `node-<id>.` in front of it takes at most 26 more, and a DNS
    /// name ends at 253; the rest is room for a longer prefix.
    pub const MAX_BYTES: usize = 180;

    /// The longest label of DNS, in bytes (RFC 1035).
    const MAX_LABEL_BYTES: usize = 63;

    /// Makes a cluster name of a text.
    ///
    /// # Errors
    ///
    /// [`InvalidClusterName`] says which rule the text breaks.
    pub fn new(text: &str) -> Result<Self, InvalidClusterName> {
        if text.is_empty() {
            return Err(InvalidClusterName::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(InvalidClusterName::TooLong { bytes: text.len() });
        }
        for label in text.split('.') {
            Self::check_label(label)?;
        }
        let last = text.rsplit('.').next().unwrap_or(text);
        if last.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidClusterName::NumericLastLabel);
        }
        Ok(Self(Arc::from(text)))
    }

    fn check_label(label: &str) -> Result<(), InvalidClusterName> {
        if label.is_empty() {
            return Err(InvalidClusterName::EmptyLabel);
        }
        if label.len() > Self::MAX_LABEL_BYTES {
            return Err(InvalidClusterName::LabelTooLong { bytes: label.len() });
        }
        for character in label.chars() {
            match character {
                'a'..='z' | '0'..='9' | '-' => {}
                'A'..='Z' => return Err(InvalidClusterName::UpperCase),
                other => return Err(InvalidClusterName::Character { found: other }),
            }
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(InvalidClusterName::HyphenAtEdge);
        }
        Ok(())
    }

    /// The text of the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text is not a [`ClusterName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum InvalidClusterName {
    /// The text is empty.
    #[error("the cluster name is empty")]
    Empty,
    /// The text is longer than [`ClusterName::MAX_BYTES`].
    #[error(
        "the cluster name has {bytes} bytes, at most {} are allowed",
        ClusterName::MAX_BYTES
    )]
    TooLong {
        /// The length that was given.
        bytes: usize,
    },
    /// Two dots in a row, or a dot at the beginning or the end.
    #[error("the cluster name has an empty label (a dot too many)")]
    EmptyLabel,
    /// A label is longer than 63 bytes.
    #[error("a label of the cluster name has {bytes} bytes, at most 63 are allowed")]
    LabelTooLong {
        /// The length of that label.
        bytes: usize,
    },
    /// An upper-case letter; names are compared byte for byte, so there is one spelling.
    #[error("the cluster name has an upper-case letter; write it in lower case")]
    UpperCase,
    /// A character that is no lower-case letter, digit, hyphen or dot.
    #[error("the cluster name holds {found:?}; only a-z, 0-9, hyphen and dot are allowed")]
    Character {
        /// The first such character.
        found: char,
    },
    /// A label begins or ends with a hyphen.
    #[error("a label of the cluster name begins or ends with a hyphen")]
    HyphenAtEdge,
    /// The last label is a number, so the DNS name of a node would be read as an IP address.
    #[error("the last label of the cluster name is a number")]
    NumericLastLabel,
}

impl FromStr for ClusterName {
    type Err = InvalidClusterName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl AsRef<str> for ClusterName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A valid name of exactly `bytes` bytes: labels of at most 59 letters.
    fn name_of(bytes: usize) -> String {
        let mut text = "a".repeat(bytes);
        for dot in (59..bytes.saturating_sub(1)).step_by(60) {
            text.replace_range(dot..=dot, ".");
        }
        text
    }

    #[test]
    fn the_length_ends_at_the_limit() {
        let limit = ClusterName::MAX_BYTES;
        assert_eq!(name_of(limit).len(), limit);
        assert!(ClusterName::new(&name_of(limit)).is_ok());
        assert_eq!(
            ClusterName::new(&name_of(limit + 1)),
            Err(InvalidClusterName::TooLong { bytes: limit + 1 })
        );
        assert!(ClusterName::new(&"a".repeat(63)).is_ok());
        assert_eq!(
            ClusterName::new(&"a".repeat(64)),
            Err(InvalidClusterName::LabelTooLong { bytes: 64 })
        );
    }

    #[test]
    fn every_malformed_name_has_its_reason() {
        for (text, reason) in [
            ("", InvalidClusterName::Empty),
            (".", InvalidClusterName::EmptyLabel),
            ("prod.", InvalidClusterName::EmptyLabel),
            (".prod", InvalidClusterName::EmptyLabel),
            ("a..b", InvalidClusterName::EmptyLabel),
            ("Prod", InvalidClusterName::UpperCase),
            ("prod_1", InvalidClusterName::Character { found: '_' }),
            ("prod/x", InvalidClusterName::Character { found: '/' }),
            ("prod:1", InvalidClusterName::Character { found: ':' }),
            ("*.prod", InvalidClusterName::Character { found: '*' }),
            ("pröd", InvalidClusterName::Character { found: 'ö' }),
            ("prod\0", InvalidClusterName::Character { found: '\0' }),
            ("-prod", InvalidClusterName::HyphenAtEdge),
            ("prod-.x", InvalidClusterName::HyphenAtEdge),
            ("10.0.0.1", InvalidClusterName::NumericLastLabel),
            ("7", InvalidClusterName::NumericLastLabel),
        ] {
            assert_eq!(ClusterName::new(text), Err(reason), "{text:?}");
        }
        for text in ["prod", "prod.example", "1.prod", "a-b.c", "xn--prd-sna"] {
            assert_eq!(ClusterName::new(text).unwrap().as_str(), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_accepted_is_kept(text in any::<String>()) {
            if let Ok(name) = ClusterName::new(&text) {
                prop_assert_eq!(name.as_str(), text);
            }
        }
    }
}
