//! The identity in a certificate: any bytes in the place of a peer's chain.

use std::sync::LazyLock;
use std::time::Duration;

use quicraft_certs::{
    CertificateDer, CertificateFacts, ClusterName, MAX_PRESENTED, NodeIdentity, PeerCertificate,
    PeerRole, Trust, TrustLimits, UnixTime, check, recheck,
};

/// The CA of the corpus, whose key was thrown away, and its CRL.
const CA: &[u8] = include_bytes!("ca.crt");
const CRL: &[u8] = include_bytes!("crl.pem");

/// When the certificates of the corpus are judged, in seconds since 1970.
const NOW: u64 = 1_800_000_000;

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let cluster = ClusterName::new("prod.example").unwrap_or_else(|error| panic!("{error}"));
    Trust::from_pem(cluster, CA, CRL, TrustLimits::default())
        .unwrap_or_else(|error| panic!("{error}"))
});

/// The time at which the certificates of the corpus are judged.
#[must_use]
pub fn now() -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(NOW))
}

/// Checks the bytes as a chain, one DER value after the other, in both roles.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn identity(data: &[u8]) -> bool {
    let chain: Vec<_> = values(data).into_iter().map(CertificateDer::from).collect();
    let Some((leaf, intermediates)) = chain.split_first() else {
        return false;
    };
    let read = PeerCertificate::from_chain(&chain);
    drop(CertificateFacts::read(leaf));
    if let Ok(read) = &read {
        assert_eq!(read.chain().len(), chain.len());
        canonical(read.identity());
    }
    let verdicts = [PeerRole::Dialer, PeerRole::Acceptor]
        .map(|role| check(role, leaf, intermediates, &TRUST, now()));
    for (role, verdict) in [PeerRole::Dialer, PeerRole::Acceptor]
        .into_iter()
        .zip(&verdicts)
    {
        let again = recheck(role, &chain, &TRUST, now());
        assert_eq!(again.is_ok(), verdict.is_ok(), "no list is stale now");
        if let Err(refusal) = verdict {
            assert!(
                !refusal.to_string().chars().any(char::is_control),
                "a log line is one line"
            );
        }
    }
    let [dialer, acceptor] = verdicts;
    match (dialer, acceptor) {
        (Ok(dialer), Ok(acceptor)) => {
            assert_eq!(dialer, acceptor);
            assert_eq!(dialer.cluster(), TRUST.cluster());
            let read = read.unwrap_or_else(|error| panic!("proven, and not readable: {error}"));
            assert_eq!(*read.identity(), dialer);
            assert!(read.not_before() <= NOW && NOW <= read.not_after());
            true
        }
        (Err(_), Err(_)) => false,
        (dialer, acceptor) => panic!("one role only: {dialer:?}, {acceptor:?}"),
    }
}

/// Reads the bytes as the URI of an identity.
///
/// # Panics
///
/// If a promise is broken.
#[must_use]
pub fn identity_uri(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else {
        return false;
    };
    drop(ClusterName::new(text));
    let Ok(identity) = NodeIdentity::parse_uri(text) else {
        return false;
    };
    assert_eq!(identity.uri(), text, "one identity has one text");
    canonical(&identity);
    true
}

fn canonical(identity: &NodeIdentity) {
    assert_ne!(identity.node().get(), 0);
    let again = NodeIdentity::parse_uri(&identity.uri());
    assert_eq!(again.as_ref(), Ok(identity));
}

/// The DER values that follow each other in the bytes. What is cut, or no value, is the last one.
fn values(data: &[u8]) -> Vec<&[u8]> {
    let mut values = Vec::new();
    let mut rest = data;
    while !rest.is_empty() && values.len() <= MAX_PRESENTED {
        let length = match rest {
            [_, 0x82, high, low, ..] => 4 + usize::from(u16::from_be_bytes([*high, *low])),
            [_, 0x81, length, ..] => 3 + usize::from(*length),
            _ => rest.len(),
        };
        let (value, behind) = rest.split_at(length.min(rest.len()));
        values.push(value);
        rest = behind;
    }
    values
}
