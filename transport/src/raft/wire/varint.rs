//! Numbers of the heartbeat frames: seven bits a byte, the lowest first, the top bit set in all but
//! the last (LEB128).
//!
//! A number has one form only: a longer one than it needs is refused, so equal messages have equal
//! bytes.

use bytes::{BufMut, BytesMut};

use super::WireError;

/// Bytes of the longest number.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// Appends a number.
pub(crate) fn put(into: &mut BytesMut, mut number: u64) {
    while number >= 0x80 {
        into.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.put_u8((number & 0x7f) as u8);
}

/// Bytes that a number takes.
pub(crate) const fn length(number: u64) -> usize {
    // 0 takes a byte too.
    (64 - (number | 1).leading_zeros() as usize).div_ceil(7)
}

/// Takes a number off the front.
pub(crate) fn take(bytes: &mut &[u8]) -> Result<u64, WireError> {
    let mut number = 0_u64;
    for (place, byte) in bytes.iter().enumerate().take(VARINT_BYTES_MAX) {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * place;
        if bits << shift >> shift != bits {
            return Err(WireError::Malformed("a number over 64 bits"));
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            if *byte == 0 && place > 0 {
                return Err(WireError::Malformed("a number in a longer form"));
            }
            *bytes = &bytes[place + 1..];
            return Ok(number);
        }
    }
    Err(WireError::Malformed("the message ends inside a number"))
}

/// Takes a number off the front that must fit `T`.
pub(crate) fn take_as<T: TryFrom<u64>>(bytes: &mut &[u8]) -> Result<T, WireError> {
    T::try_from(take(bytes)?).map_err(|_| WireError::Malformed("a number out of its range"))
}

/// Takes a number of bytes and then those bytes off the front.
pub(crate) fn take_part<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], WireError> {
    let length: usize = take_as(bytes)?;
    let (part, rest) = bytes
        .split_at_checked(length)
        .ok_or(WireError::Malformed("the message ends inside a part"))?;
    *bytes = rest;
    Ok(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length_come_back() {
        for bits in 0..=64 {
            let number = u64::MAX.checked_shr(64 - bits).unwrap_or(0);
            let mut bytes = BytesMut::new();
            put(&mut bytes, number);
            assert_eq!(bytes.len(), length(number), "{bits} bits");
            assert!(bytes.len() <= VARINT_BYTES_MAX);
            for end in 0..bytes.len() {
                assert!(take(&mut &bytes[..end]).is_err());
            }
            bytes.put_u8(7);
            let mut rest = &bytes[..];
            assert_eq!(take(&mut rest).unwrap(), number);
            assert_eq!(rest, [7]);
        }
    }

    #[test]
    fn a_number_has_one_form() {
        let nine = [0xff; 9];
        for (bytes, fine) in [
            (vec![0], true),
            (vec![0x80, 0], false),
            (vec![0xff, 0], false),
            ([&nine[..], &[1]].concat(), true),
            ([&nine[..], &[2]].concat(), false),
            ([&nine[..], &[0x80, 0]].concat(), false),
        ] {
            assert_eq!(take(&mut &bytes[..]).is_ok(), fine, "{bytes:02x?}");
        }
        assert!(take_as::<u8>(&mut &[0xff, 1][..]).is_ok());
        assert!(take_as::<u8>(&mut &[0x80, 2][..]).is_err());
        assert!(take_part(&mut &[2, 9][..]).is_err());
        assert_eq!(take_part(&mut &[1, 9][..]).unwrap(), [9]);
    }
}
