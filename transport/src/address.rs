//! Where a peer can be dialled: host and port as an operator writes them, and how they resolve.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use futures_util::future::BoxFuture;

/// An address of a peer: `host:port`, `1.2.3.4:port` or `[v6]:port`.
///
/// It is kept as it was written and resolved anew at every dial, so that a name may move.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerAddress {
    host: String,
    port: u16,
}

/// Why a text is no address of a peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address of a peer: {reason}; write host:port or [v6]:port")]
#[non_exhaustive]
pub struct InvalidAddress {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl PeerAddress {
    /// The host: a name, or an IP address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The UDP port; never 0.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for PeerAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let invalid = |reason| InvalidAddress {
            text: text.to_owned(),
            reason,
        };
        if text.is_empty() {
            return Err(invalid("it is empty"));
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest
                    .split_once("]:")
                    .ok_or_else(|| invalid("there is no `]:` behind the host"))?;
                host.parse::<Ipv6Addr>()
                    .map_err(|_| invalid("the brackets hold no IPv6 address"))?;
                (host, port)
            }
            None => {
                let (host, port) = text
                    .rsplit_once(':')
                    .ok_or_else(|| invalid("there is no port"))?;
                if host.contains(':') {
                    return Err(invalid("an IPv6 address needs brackets"));
                }
                check_name(host).map_err(invalid)?;
                (host, port)
            }
        };
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid("the port is not a number"));
        }
        match port.parse() {
            Ok(0) => Err(invalid("the port is 0")),
            Ok(port) => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            Err(_) => Err(invalid("the port is not a number from 1 to 65535")),
        }
    }
}

fn check_name(host: &str) -> Result<(), &'static str> {
    if host.is_empty() {
        return Err("the host is empty");
    }
    if host.len() > 253 {
        return Err("the host is longer than 253 bytes");
    }
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !host.bytes().all(allowed) {
        return Err("the host has a character that no name has");
    }
    Ok(())
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Turns an address as written into the socket addresses of now.
pub trait Resolver: Send + Sync + 'static {
    /// All socket addresses of `address`, best first.
    ///
    /// The transport calls it at every dial, in a task of its own, and gives it
    /// [`RESOLVE_LIMIT`](crate::limits::RESOLVE_LIMIT).
    fn resolve(&self, address: PeerAddress) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>>;
}

/// Asks the operating system.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve(&self, address: PeerAddress) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            if let Ok(ip) = address.host.parse::<IpAddr>() {
                return Ok(vec![SocketAddr::new(ip, address.port)]);
            }
            let found = tokio::net::lookup_host((address.host.as_str(), address.port)).await?;
            Ok(found.collect())
        })
    }
}

/// Orders dial targets so that families alternate, keeping the order inside each family, and
/// leaves out what the socket cannot reach (RFC 8305, section 4).
pub(crate) fn dial_order(
    found: &[SocketAddr],
    socket_is_v6: bool,
    limit: usize,
) -> Vec<SocketAddr> {
    let usable = |address: &&SocketAddr| socket_is_v6 || address.is_ipv4();
    let mut v6 = found
        .iter()
        .filter(usable)
        .filter(|address| address.is_ipv6());
    let mut v4 = found
        .iter()
        .filter(usable)
        .filter(|address| address.is_ipv4());
    let mut order = Vec::new();
    loop {
        let before = order.len();
        for address in [v6.next(), v4.next()].into_iter().flatten() {
            if !order.contains(address) && order.len() < limit {
                order.push(*address);
            }
        }
        if order.len() == before && v6.clone().next().is_none() && v4.clone().next().is_none() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_survive_their_text() {
        for text in [
            "a:1",
            "node-1.prod.example:65535",
            "10.0.0.1:80",
            "[::1]:443",
            "[fe80::1]:1",
        ] {
            assert_eq!(text.parse::<PeerAddress>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_addresses_say_what_is_wrong() {
        for (text, reason) in [
            ("", "it is empty"),
            ("host", "there is no port"),
            (":80", "the host is empty"),
            ("host:0", "the port is 0"),
            ("host:65536", "the port is not a number from 1 to 65535"),
            ("host:", "the port is not a number from 1 to 65535"),
            ("host:+80", "the port is not a number"),
            ("::1:80", "an IPv6 address needs brackets"),
            ("[::1]80", "there is no `]:` behind the host"),
            ("[host]:80", "the brackets hold no IPv6 address"),
            ("ho st:80", "the host has a character that no name has"),
            ("http://host:80", "an IPv6 address needs brackets"),
        ] {
            assert_eq!(
                text.parse::<PeerAddress>().unwrap_err().reason,
                reason,
                "{text}"
            );
        }
    }

    #[test]
    fn families_alternate_and_a_v4_socket_dials_v4_only() {
        let of = |text: &str| text.parse::<SocketAddr>().unwrap();
        let found = [
            of("1.1.1.1:1"),
            of("2.2.2.2:1"),
            of("[::1]:1"),
            of("[::2]:1"),
            of("[::3]:1"),
        ];
        let both = dial_order(&found, true, 10);
        let wanted = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(of);
        assert_eq!(both, wanted);
        assert_eq!(
            dial_order(&found, false, 10),
            [of("1.1.1.1:1"), of("2.2.2.2:1")]
        );
        assert_eq!(dial_order(&found, true, 2).len(), 2);
        assert!(dial_order(&found[2..], false, 10).is_empty());
    }
}
