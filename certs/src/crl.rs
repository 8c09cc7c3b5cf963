//! Revocation lists: parsed once when they are loaded, and dated by our own rule. It must not
//! know certificates or paths.

use std::time::Duration;

use rustls_pki_types::{CertificateRevocationListDer, UnixTime};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::clock::{after, from_timestamp};
use crate::refusal::excerpt;

/// A revocation list with the dates that the path verifier keeps to itself.
#[derive(Debug)]
pub(crate) struct RevocationList {
    pub(crate) list: CertRevocationList<'static>,
    pub(crate) issuer_text: String,
    pub(crate) this_update: UnixTime,
    pub(crate) next_update: UnixTime,
}

impl RevocationList {
    /// Parses a list. The text of the error says what is wrong with it.
    pub(crate) fn parse(der: &CertificateRevocationListDer<'_>) -> Result<Self, String> {
        let list = OwnedCertRevocationList::from_der(der).map_err(|error| error.to_string())?;
        let (rest, dates) =
            CertificateRevocationList::from_der(der).map_err(|error| error.to_string())?;
        if !rest.is_empty() {
            return Err("bytes after the end".to_owned());
        }
        let next_update = dates
            .next_update()
            .ok_or_else(|| "it has no nextUpdate".to_owned())?;
        Ok(Self {
            list: list.into(),
            issuer_text: excerpt(&dates.issuer().to_string()),
            this_update: from_timestamp(dates.last_update().timestamp()),
            next_update: from_timestamp(next_update.timestamp()),
        })
    }

    /// The raw name of the CA that signed the list, as certificates name their issuer.
    pub(crate) fn issuer(&self) -> &[u8] {
        self.list.issuer()
    }

    /// Whether this list covers what `older` covers: the same CA and the same part of its
    /// certificates.
    pub(crate) fn replaces(&self, older: &Self) -> bool {
        self.issuer() == older.issuer()
            && self.list.issuing_distribution_point() == older.list.issuing_distribution_point()
    }

    /// Whether a newer list is due. The second of `nextUpdate` itself counts as due (RFC 5280).
    pub(crate) fn is_stale(&self, now: UnixTime) -> bool {
        now >= self.next_update
    }

    /// Whether the list is too old to let anybody in.
    pub(crate) fn is_past(&self, grace: Duration, now: UnixTime) -> bool {
        now >= after(self.next_update, grace)
    }
}

/// How long before its next update a list is worth a word: half of the grace that nodes give by
/// default, so that nobody is refused while somebody is asleep.
pub const CRL_NOTICE: Duration = Duration::from_secs(12 * 60 * 60);

/// How near a revocation list is to its end. Later stages are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum CrlStage {
    /// The next one is due in more than [`CRL_NOTICE`].
    Fresh,
    /// The next one is due soon.
    Near,
    /// The next one should be here. New handshakes still go through, for the grace.
    Stale,
    /// The grace is over, so that new handshakes are refused; live links go on.
    Refusing,
}

/// The revocation list that is due first.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrlDue {
    /// The name of the CA, quoted and escaped.
    pub issuer: String,
    /// When the next list is due, in seconds since 1970.
    pub next_update: u64,
    /// How near that is.
    pub stage: CrlStage,
}

impl RevocationList {
    pub(crate) fn due(&self, grace: Duration, now: UnixTime) -> CrlDue {
        let stage = if self.is_past(grace, now) {
            CrlStage::Refusing
        } else if self.is_stale(now) {
            CrlStage::Stale
        } else if after(now, CRL_NOTICE) >= self.next_update {
            CrlStage::Near
        } else {
            CrlStage::Fresh
        };
        CrlDue {
            issuer: self.issuer_text.clone(),
            next_update: self.next_update.as_secs(),
            stage,
        }
    }
}

/// A revocation list that should have been replaced by now.
///
/// It still refuses what it names. Within the grace it still lets the others in; after that new
/// handshakes are refused, while live links go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrlStaleness {
    /// The name of the CA, quoted and escaped.
    pub issuer: String,
    /// When the next list was due, in seconds since 1970.
    pub next_update: u64,
    /// How long that is ago.
    pub overdue: Duration,
    /// Whether the grace is over, so that new handshakes are refused.
    pub refusing: bool,
}
