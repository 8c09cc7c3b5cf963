//! The revocation lists of an authority.

use std::time::Duration;

use rcgen::{CertificateRevocationListParams, RevokedCertParams, SerialNumber};
use rustls_pki_types::UnixTime;

use super::{Authority, AuthorityError, date};
use crate::Serial;
use crate::clock::after;

/// How long a CRL is current: a week.
const CRL_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// A certificate that is to be refused from some time on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Revocation {
    /// Its serial number.
    pub serial: Serial,
    /// When it was revoked.
    pub time: UnixTime,
}

impl Revocation {
    /// Joins a serial number and a time.
    #[must_use]
    pub const fn new(serial: Serial, time: UnixTime) -> Self {
        Self { serial, time }
    }
}

/// What is different about a revocation list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CrlOptions {
    /// Its number: each list must count higher than the one before. Default: `this_update` in
    /// seconds since 1970.
    pub number: Option<u64>,
    /// When it was made. Default: now.
    pub this_update: Option<UnixTime>,
    /// When the next one is due. Default: a week after `this_update`.
    pub next_update: Option<UnixTime>,
}

pub(super) fn issue(
    authority: &Authority,
    revoked: &[Revocation],
    options: &CrlOptions,
) -> Result<String, AuthorityError> {
    let this_update = options.this_update.unwrap_or_else(|| authority.clock.now());
    let next_update = options
        .next_update
        .unwrap_or_else(|| after(this_update, CRL_LIFE));
    if next_update <= this_update {
        return Err(AuthorityError::Dates {
            first: this_update.as_secs(),
            last: next_update.as_secs(),
        });
    }
    let number = options.number.unwrap_or_else(|| this_update.as_secs());
    let revoked_certs = revoked
        .iter()
        .map(|entry| {
            Ok(RevokedCertParams {
                serial_number: SerialNumber::from_slice(entry.serial.as_bytes()),
                revocation_time: date(entry.time)?,
                reason_code: None,
                invalidity_date: None,
            })
        })
        .collect::<Result<_, AuthorityError>>()?;
    let list = CertificateRevocationListParams {
        this_update: date(this_update)?,
        next_update: date(next_update)?,
        crl_number: SerialNumber::from_slice(&number.to_be_bytes()),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(&authority.issuer)?.pem()?)
}
