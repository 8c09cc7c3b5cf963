//! Whom we believe: the CAs, their revocation lists and the limits of a chain. It must not know
//! our own certificate or key.

use std::cmp::Reverse;
use std::fmt;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, TrustAnchor, UnixTime};
use thiserror::Error;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::ClusterName;
use crate::clock::from_timestamp;
use crate::crl::{CrlDue, CrlStaleness, RevocationList};
use crate::refusal::excerpt;

/// The limits of a chain that [`Trust`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrustLimits {
    /// How many intermediates may stand between a node's certificate and a trusted CA.
    ///
    /// Default 1. At most [`TrustLimits::MAX_INTERMEDIATES`]; more is refused when credentials
    /// are loaded. The path length in the trusted CA's own certificate is not enforced by the
    /// path verifier, so this limit is what stops a CA from making further CAs.
    pub max_intermediates: usize,
    /// How long past its `nextUpdate` a CRL still lets new handshakes through.
    ///
    /// Default 24 hours. With zero, a CRL stops new handshakes the moment that it is stale.
    pub crl_grace: Duration,
}

impl TrustLimits {
    /// The largest `max_intermediates`: the path verifier itself stops at a depth of 6.
    pub const MAX_INTERMEDIATES: usize = 6;
}

impl Default for TrustLimits {
    fn default() -> Self {
        Self {
            max_intermediates: 1,
            // A day is a night and a weekend morning to repair the job that fetches the CRL.
            crl_grace: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// Whom we believe: trusted CAs, their revocation lists, the own cluster and the limits.
///
/// # Revocation
///
/// Without a CRL nothing is checked for revocation. As soon as there is one, **every** CA of a
/// path needs one, the trusted CA included; a chain with an issuer that no CRL covers is refused
/// ([`CertificateRefusal::UnknownRevocationStatus`](crate::CertificateRefusal)). If there are
/// several for one CA, the newest counts. CRLs are matched to CAs by name, so two trusted CAs
/// with one name and different keys are refused when there is a CRL under that name.
///
/// # Usages
///
/// A node's own certificate needs both extended key usages, `serverAuth` and `clientAuth`. An
/// intermediate may leave the extension out, as most do; if it has one, both must be in it.
///
/// # Dates of the trusted CAs
///
/// A trusted CA outside its dates is not believed, though a path verifier usually ignores them.
/// It may stay in the bundle.
pub struct Trust {
    cluster: ClusterName,
    anchors: Vec<TrustAnchor<'static>>,
    /// One for each anchor, in the same order.
    periods: Vec<Period>,
    /// One for each CA and scope, the newest: the path verifier takes the first that fits.
    lists: Vec<RevocationList>,
    limits: TrustLimits,
}

#[derive(Clone, Copy, Debug)]
struct Period {
    not_before: UnixTime,
    not_after: UnixTime,
}

impl Trust {
    /// Reads trusted CAs and their CRLs.
    ///
    /// `crls` may be empty: then nothing is checked for revocation.
    ///
    /// # Errors
    ///
    /// [`InvalidTrust`] names the entry and what is wrong with it. A bundle is taken as a whole
    /// or not at all: a CA that silently fell out of it would be found at the next rotation.
    pub fn from_pem(
        cluster: ClusterName,
        ca: &[u8],
        crls: &[u8],
        limits: TrustLimits,
    ) -> Result<Self, InvalidTrust> {
        if limits.max_intermediates > TrustLimits::MAX_INTERMEDIATES {
            return Err(InvalidTrust::MaxIntermediates {
                value: limits.max_intermediates,
            });
        }
        let mut anchors = Vec::new();
        let mut periods = Vec::new();
        for (index, der) in CertificateDer::pem_slice_iter(ca).enumerate() {
            let entry = index + 1;
            let der = der.map_err(|error| InvalidTrust::CaPem {
                detail: error.to_string(),
            })?;
            let (anchor, period) =
                read_authority(&der).map_err(|fault| InvalidTrust::Authority { entry, fault })?;
            anchors.push(anchor);
            periods.push(period);
        }
        if anchors.is_empty() {
            return Err(InvalidTrust::NoAuthority);
        }
        let mut lists = Vec::new();
        for (index, der) in CertificateRevocationListDer::pem_slice_iter(crls).enumerate() {
            let entry = index + 1;
            let list = der
                .map_err(|error| error.to_string())
                .and_then(|der| RevocationList::parse(&der))
                .map_err(|detail| InvalidTrust::Crl { entry, detail })?;
            lists.push(list);
        }
        if lists.is_empty() && !crls.is_empty() {
            return Err(InvalidTrust::NoCrl);
        }
        let lists = newest_of_each(lists);
        let trust = Self {
            cluster,
            anchors,
            periods,
            lists,
            limits,
        };
        trust.refuse_ambiguous_lists()?;
        Ok(trust)
    }

    fn refuse_ambiguous_lists(&self) -> Result<(), InvalidTrust> {
        for list in &self.lists {
            let mut named = self
                .anchors
                .iter()
                .filter(|anchor| anchor.subject.as_ref() == list.issuer());
            let Some(first) = named.next() else { continue };
            if named.any(|other| other.subject_public_key_info != first.subject_public_key_info) {
                return Err(InvalidTrust::AmbiguousCrl {
                    issuer: list.issuer_text.clone(),
                });
            }
        }
        Ok(())
    }

    /// The own cluster; certificates of others are refused.
    #[must_use]
    pub const fn cluster(&self) -> &ClusterName {
        &self.cluster
    }

    /// The limits of a chain.
    #[must_use]
    pub const fn limits(&self) -> TrustLimits {
        self.limits
    }

    /// How many CAs are trusted.
    #[must_use]
    pub fn authorities(&self) -> usize {
        self.anchors.len()
    }

    /// How many revocation lists are in use; 0 means that nothing is checked for revocation.
    #[must_use]
    pub fn crls(&self) -> usize {
        self.lists.len()
    }

    /// The most overdue revocation list, if one is overdue.
    #[must_use]
    pub fn crl_staleness(&self, now: UnixTime) -> Option<CrlStaleness> {
        self.lists
            .iter()
            .filter(|list| list.is_stale(now))
            .min_by_key(|list| list.next_update)
            .map(|list| CrlStaleness {
                issuer: list.issuer_text.clone(),
                next_update: list.next_update.as_secs(),
                overdue: Duration::from_secs(
                    now.as_secs().saturating_sub(list.next_update.as_secs()),
                ),
                refusing: list.is_past(self.limits.crl_grace, now),
            })
    }

    /// When the first revocation list becomes stale, in seconds since 1970; `None` without lists.
    #[must_use]
    pub fn crl_next_update(&self) -> Option<u64> {
        self.lists
            .iter()
            .map(|list| list.next_update.as_secs())
            .min()
    }

    /// The revocation list that is due first, and how near that is; `None` without lists.
    #[must_use]
    pub fn crl_due(&self, now: UnixTime) -> Option<CrlDue> {
        let first = self.lists.iter().min_by_key(|list| list.next_update)?;
        Some(first.due(self.limits.crl_grace, now))
    }

    pub(crate) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.anchors
    }

    pub(crate) fn lists(&self) -> &[RevocationList] {
        &self.lists
    }

    /// Refuses a trusted CA outside its dates. A CA that was renewed under its name and key may
    /// stand twice in the bundle; it is enough that one of them is valid.
    pub(crate) fn check_dates_of(
        &self,
        anchor: &TrustAnchor<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let mut verdict = Err(webpki::Error::UnknownIssuer);
        for (known, period) in self.anchors.iter().zip(&self.periods) {
            if known.subject != anchor.subject
                || known.subject_public_key_info != anchor.subject_public_key_info
            {
                continue;
            }
            verdict = if now < period.not_before {
                Err(webpki::Error::CertNotValidYet {
                    time: now,
                    not_before: period.not_before,
                })
            } else if now > period.not_after {
                Err(webpki::Error::CertExpired {
                    time: now,
                    not_after: period.not_after,
                })
            } else {
                return Ok(());
            };
        }
        verdict
    }

    /// Refuses an issuer whose newest revocation list is too old to let anybody in.
    pub(crate) fn check_list_of(&self, issuer: &[u8], now: UnixTime) -> Result<(), webpki::Error> {
        let past = self
            .lists
            .iter()
            .find(|list| list.issuer() == issuer && list.is_past(self.limits.crl_grace, now));
        match past {
            Some(list) => Err(webpki::Error::CrlExpired {
                time: now,
                next_update: list.next_update,
            }),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Trust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trust")
            .field("cluster", &self.cluster.as_str())
            .field("authorities", &self.anchors.len())
            .field("crls", &self.lists.len())
            .field("limits", &self.limits)
            .finish()
    }
}

/// Leaves out the lists that a newer one of the same CA and scope replaces. An operator may append
/// each new list to the file; the old ones must neither be used nor be reported as stale.
fn newest_of_each(mut lists: Vec<RevocationList>) -> Vec<RevocationList> {
    lists.sort_by_key(|list| Reverse(list.this_update));
    let mut newest: Vec<RevocationList> = Vec::new();
    for list in lists {
        if !newest.iter().any(|newer| newer.replaces(&list)) {
            newest.push(list);
        }
    }
    newest
}

/// Reads a CA that we are told to trust. A trust anchor is believed without further questions, so
/// the questions are asked here.
fn read_authority(
    der: &CertificateDer<'_>,
) -> Result<(TrustAnchor<'static>, Period), AuthorityFault> {
    let malformed = |detail: String| AuthorityFault::Malformed { detail };
    let anchor =
        webpki::anchor_from_trusted_cert(der).map_err(|error| malformed(error.to_string()))?;
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|error| malformed(error.to_string()))?;
    if !rest.is_empty() {
        return Err(malformed("bytes after the end".to_owned()));
    }
    let subject = excerpt(&certificate.subject().to_string());
    if !certificate.is_ca() {
        return Err(AuthorityFault::NotAnAuthority { subject });
    }
    let key_usage = certificate
        .key_usage()
        .map_err(|error| malformed(error.to_string()))?;
    if key_usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(AuthorityFault::MayNotSign { subject });
    }
    let constraints = certificate
        .name_constraints()
        .map_err(|error| malformed(error.to_string()))?;
    if let Some(constraints) = constraints {
        let permitted = constraints.value.permitted_subtrees.iter().flatten();
        let excluded = constraints.value.excluded_subtrees.iter().flatten();
        if permitted
            .chain(excluded)
            .any(|subtree| matches!(subtree.base, GeneralName::URI(_)))
        {
            return Err(AuthorityFault::UriConstraint { subject });
        }
    }
    let validity = certificate.validity();
    let period = Period {
        not_before: from_timestamp(validity.not_before.timestamp()),
        not_after: from_timestamp(validity.not_after.timestamp()),
    };
    Ok((anchor.to_owned(), period))
}

/// Why a CA bundle or its CRLs cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum InvalidTrust {
    /// The CA bundle holds no certificate.
    #[error("the CA bundle holds no PEM certificate; add at least one CA")]
    NoAuthority,
    /// The PEM text of the CA bundle is broken.
    #[error("the CA bundle is no PEM text: {detail}")]
    CaPem {
        /// What is wrong with it.
        detail: String,
    },
    /// An entry of the CA bundle cannot be trusted as a CA.
    #[error("entry {entry} of the CA bundle: {fault}")]
    Authority {
        /// Which entry, counted from 1.
        entry: usize,
        /// What is wrong with it.
        #[source]
        fault: AuthorityFault,
    },
    /// CRLs were given, but there is none in them.
    #[error("the CRL text holds no PEM CRL; leave it out if revocation is not used")]
    NoCrl,
    /// An entry of the CRLs cannot be used.
    #[error("entry {entry} of the CRLs is no usable CRL: {detail}")]
    Crl {
        /// Which entry, counted from 1.
        entry: usize,
        /// What is wrong with it.
        detail: String,
    },
    /// Two trusted CAs have one name and different keys, and a CRL bears that name: nobody can
    /// tell for which of them it is.
    #[error(
        "two trusted CAs are named {issuer} with different keys, so a CRL of that name fits only \
         one of them; give every CA its own name"
    )]
    AmbiguousCrl {
        /// The name, quoted and escaped.
        issuer: String,
    },
    /// `max_intermediates` is larger than the path verifier can follow.
    #[error(
        "max_intermediates is {value}, at most {} are possible",
        TrustLimits::MAX_INTERMEDIATES
    )]
    MaxIntermediates {
        /// The value that was given.
        value: usize,
    },
}

/// Why a certificate cannot be trusted as a CA.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AuthorityFault {
    /// The bytes are no certificate.
    #[error("it is malformed: {detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
    },
    /// It is no CA: a node's own certificate, for example.
    #[error("{subject} is no CA (basic constraints); put only CAs into the bundle")]
    NotAnAuthority {
        /// Its subject, quoted and escaped.
        subject: String,
    },
    /// Its key usage does not permit it to sign certificates.
    #[error("{subject} may not sign certificates (key usage)")]
    MayNotSign {
        /// Its subject, quoted and escaped.
        subject: String,
    },
    /// It constrains URI names. The path verifier then refuses every chain below it.
    #[error("{subject} has a name constraint on URIs, which no chain below it would pass")]
    UriConstraint {
        /// Its subject, quoted and escaped.
        subject: String,
    },
}
