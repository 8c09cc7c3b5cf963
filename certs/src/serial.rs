//! The serial number of a certificate, as CRLs and people name it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The serial number of a certificate.
///
/// Its text form is that of `openssl x509 -serial`: upper-case hexadecimal, two digits a byte.
/// `FromStr` also takes lower case and colons between the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial(Vec<u8>);

impl Serial {
    /// The longest serial number, in bytes (RFC 5280, 4.1.2.2).
    pub const MAX_BYTES: usize = 20;

    /// Takes the content of a DER integer: big-endian, with a zero byte in front where the first
    /// bit is set. Leading zeros are no part of the number.
    pub(crate) fn from_der(content: &[u8]) -> Self {
        let zeros = content.iter().take_while(|byte| **byte == 0).count();
        Self(content[zeros..].to_vec())
    }

    /// The number, big-endian, without leading zeros; empty for 0.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Why a text is not a [`Serial`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
#[error("a serial number is 1 to 20 bytes in hexadecimal, such as 4A00C3 or 4a:00:c3")]
#[non_exhaustive]
pub struct InvalidSerial;

impl FromStr for Serial {
    type Err = InvalidSerial;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits: Vec<u8> = text
            .chars()
            .filter(|character| *character != ':')
            // Cut early: a text of any length costs no more than the longest number.
            .take(2 * Self::MAX_BYTES + 1)
            .map(|character| {
                character
                    .to_digit(16)
                    .and_then(|digit| u8::try_from(digit).ok())
            })
            .collect::<Option<_>>()
            .ok_or(InvalidSerial)?;
        if digits.is_empty() || digits.len() > 2 * Self::MAX_BYTES || digits.len() % 2 == 1 {
            return Err(InvalidSerial);
        }
        let bytes: Vec<u8> = digits
            .chunks_exact(2)
            .map(|pair| (pair[0] << 4) | pair[1])
            .collect();
        Ok(Self::from_der(&bytes))
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("00");
        }
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02X}"))
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_text_is_that_of_openssl() {
        let serial = Serial::from_der(&[0, 0x8a, 0, 0xc3]);
        assert_eq!(serial.to_string(), "8A00C3");
        assert_eq!("8a:00:c3".parse(), Ok(serial));
        assert_eq!(Serial::from_der(&[0]).to_string(), "00");
    }

    #[test]
    fn malformed_texts_are_refused() {
        for text in ["", ":", "1", "abc", "zz", "0x10", "+1", " 10"] {
            assert_eq!(text.parse::<Serial>(), Err(InvalidSerial), "{text:?}");
        }
        assert!("7F".repeat(20).parse::<Serial>().is_ok());
        assert_eq!("7F".repeat(21).parse::<Serial>(), Err(InvalidSerial));
    }

    proptest! {
        #[test]
        fn a_serial_survives_its_text(bytes in prop::collection::vec(any::<u8>(), 1..=20)) {
            let serial = Serial::from_der(&bytes);
            prop_assert_eq!(serial.to_string().parse(), Ok(serial));
        }
    }
}
