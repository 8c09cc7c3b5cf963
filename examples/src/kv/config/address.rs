//! `host:port` and `[v6]:port`, as they are written and checked; names are not resolved here.

use std::net::Ipv6Addr;

/// Why a text is not an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// There is no colon that a port could follow.
    #[error("it has no port")]
    NoPort,
    /// The port is not a number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// There is nothing before the colon.
    #[error("it has no host")]
    NoHost,
    /// A host has a colon, a blank or another sign that no name has.
    #[error("its host is neither a name nor an IP address (a v6 address stands in brackets)")]
    Host,
}

/// Checks that `text` is `host:port`, `v4:port` or `[v6]:port`.
///
/// # Errors
///
/// [`AddressError`], which completes the sentence "the address is malformed:".
pub fn check_address(text: &str) -> Result<(), AddressError> {
    let (host, port) = text.rsplit_once(':').ok_or(AddressError::NoPort)?;
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !digits || port.parse::<u16>().map_or(true, |port| port == 0) {
        return Err(AddressError::Port);
    }
    if host.is_empty() {
        return Err(AddressError::NoHost);
    }
    let v6 = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let good = match v6 {
        Some(v6) => v6.parse::<Ipv6Addr>().is_ok(),
        None => host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)),
    };
    if good {
        Ok(())
    } else {
        Err(AddressError::Host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_from_other_text() {
        for good in [
            "localhost:1",
            "10.0.0.1:65535",
            "[::1]:7000",
            "kv-1.example.org:7000",
        ] {
            assert_eq!(check_address(good), Ok(()), "{good}");
        }
        for (bad, error) in [
            ("", AddressError::NoPort),
            ("localhost", AddressError::NoPort),
            ("localhost:", AddressError::Port),
            ("localhost:0", AddressError::Port),
            ("localhost:65536", AddressError::Port),
            ("localhost:+1", AddressError::Port),
            (":7000", AddressError::NoHost),
            ("::1:7000", AddressError::Host),
            ("[::1:7000", AddressError::Host),
            ("[nonsense]:7000", AddressError::Host),
            ("a b:7000", AddressError::Host),
            ("http://a:7000", AddressError::Host),
        ] {
            assert_eq!(check_address(bad), Err(error), "{bad}");
        }
    }
}
