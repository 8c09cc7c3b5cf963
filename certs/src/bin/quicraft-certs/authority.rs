//! The authority that a command works with: where its parts lie, and whether they can be used now.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use quicraft_certs::{
    Authority, AuthorityError, CertificateRefusal, ClusterName, IssueOptions, NodeCertificate,
    PeerRole, Trust, TrustLimits, UnixTime, check, private_key_hash,
};
use rustls_pki_types::pem::PemObject;

use crate::date::{DAY, date};
use crate::failure::Failure;
use crate::record::Record;
use crate::report::Report;
use crate::verify::in_words;

/// How long a node's certificate is valid if nothing else is said.
const NODE_DAYS: u64 = 90;

/// Where the parts of an authority lie.
#[derive(Debug, Args)]
pub(crate) struct AuthorityArgs {
    /// The folder of the CA, with ca.crt and crl.pem
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,
    /// The key of the CA
    #[arg(long, value_name = "FILE")]
    ca_key: PathBuf,
    /// The record of what the CA has issued [default: beside the key, KEY.record.json]
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
}

/// How a node's certificate is to be.
#[derive(Debug, Args)]
pub(crate) struct LifeArgs {
    /// How many days the certificate is valid [default: 90, or until the CA ends]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: Option<u64>,
    /// One more DNS name within the cluster, for other tools; may be repeated
    #[arg(long, value_name = "NAME")]
    dns: Vec<String>,
}

/// An authority that may issue now, with its record.
pub(crate) struct OpenAuthority {
    pub(crate) authority: Authority,
    pub(crate) folder: PathBuf,
    pub(crate) record: Record,
}

impl AuthorityArgs {
    /// Opens the authority and locks its record.
    pub(crate) fn open(&self) -> Result<OpenAuthority, Failure> {
        let (authority, key_hash) = self.load()?;
        let record = Record::open(&self.record_path(), &key_hash)?;
        Ok(OpenAuthority {
            authority,
            folder: self.ca.clone(),
            record,
        })
    }

    pub(crate) fn record_path(&self) -> PathBuf {
        self.record
            .clone()
            .unwrap_or_else(|| Record::beside(&self.ca_key))
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.ca
    }

    /// Loads the authority, and refuses one that may not issue any more. Returns it with the hash
    /// of its public key.
    pub(crate) fn load(&self) -> Result<(Authority, [u8; 32]), Failure> {
        let certificate = self.ca.join("ca.crt");
        let (shown, key) = (certificate.display(), self.ca_key.display());
        if !certificate.exists() {
            return Err(Failure::new(
                "no_ca",
                format!(
                    "{shown} is missing; --ca is the folder that `quicraft-certs ca init --out` \
                     has made"
                ),
            ));
        }
        if !self.ca_key.exists() {
            return Err(Failure::new(
                "no_ca_key",
                format!("{key} is missing; --ca-key is the file that `ca init --ca-key` has made"),
            ));
        }
        let authority =
            Authority::load(&certificate, &self.ca_key).map_err(|error| match error {
                AuthorityError::KeyMismatch => Failure::new(
                    "key_mismatch",
                    format!("{key} is not the key of {shown}; give the --ca-key of this CA"),
                ),
                AuthorityError::BadCertificate { detail } => Failure::new(
                    "bad_ca",
                    format!(
                        "{shown} is not the certificate of one CA ({detail}); --ca is the CA's own \
                     folder, not one with a bundle"
                    ),
                ),
                AuthorityError::BadKey { detail } => {
                    Failure::new("bad_key", format!("{key} holds no usable key: {detail}"))
                }
                error => error.into(),
            })?;
        let now = authority.now().as_secs();
        if authority.not_after() < now {
            return Err(Failure::new(
                "expired_ca",
                format!(
                    "the CA in {shown} has expired ({}); make a new one with `quicraft-certs ca \
                     init` and trust both with `quicraft-certs bundle`",
                    date(authority.not_after())
                ),
            ));
        }
        if authority.not_before() > now {
            return Err(Failure::new(
                "clock",
                format!(
                    "the CA in {shown} is not valid before {}, and it is {} here; set the clock of \
                     this machine",
                    date(authority.not_before()),
                    date(now)
                ),
            ));
        }
        let key_hash = private_key_hash(authority.key_pem().as_bytes(), &key.to_string())?;
        Ok((authority, key_hash))
    }
}

impl OpenAuthority {
    /// Refuses a cluster that this authority does not certify.
    pub(crate) fn expect_cluster(&self, cluster: &ClusterName) -> Result<(), Failure> {
        let own = self.authority.cluster();
        if own == cluster {
            return Ok(());
        }
        Err(Failure::new(
            "wrong_cluster",
            format!(
                "the CA in {} is of cluster {own}, not {cluster}; type --cluster {own}, or give the \
                 --ca of {cluster}",
                self.folder.display()
            ),
        ))
    }

    /// The dates and names of a new certificate. It ends with its authority at the latest.
    pub(crate) fn options(
        &self,
        life: &LifeArgs,
        report: &mut Report,
    ) -> Result<IssueOptions, Failure> {
        let now = self.authority.now().as_secs();
        let end = self.authority.not_after();
        let asked = now.saturating_add(life.days.unwrap_or(NODE_DAYS) * DAY);
        if asked > end && life.days.is_some() {
            let left = (end - now) / DAY;
            return Err(Failure::new(
                "outlives_ca",
                format!(
                    "the CA ends on {}, before the certificate would; type --days {left} or less, \
                     or make a new CA with `quicraft-certs ca init`",
                    date(end)
                ),
            ));
        }
        if asked > end {
            report.warn(format!(
                "the certificate ends with its CA on {}; make a new CA with `quicraft-certs ca init` \
                 before that",
                date(end)
            ));
        }
        let mut options = IssueOptions::default();
        options.not_after = Some(time(asked.min(end)));
        options.extra_dns.clone_from(&life.dns);
        Ok(options)
    }

    /// Refuses a key that was revoked with a certificate.
    pub(crate) fn refuse_revoked_key(&self, key_hash: &[u8; 32]) -> Result<(), Failure> {
        let Some(entry) = self.record.revoked_key(key_hash) else {
            return Ok(());
        };
        Err(Failure::new(
            "revoked",
            format!(
                "this key was revoked with certificate {}; make a new one with `quicraft-certs node \
                 issue` or `quicraft-certs node csr`",
                entry.serial
            ),
        ))
    }

    /// Judges a new certificate as nodes will, and takes it down in the record: before anybody
    /// gets it.
    pub(crate) fn take_down(&mut self, certificate: &NodeCertificate) -> Result<(), Failure> {
        let cluster = self.authority.cluster().clone();
        prove(certificate, cluster, self.authority.now()).map_err(|refusal| {
            let (rule, words) = in_words(&refusal);
            Failure::new(
                rule,
                format!("nodes would refuse the new certificate: {words}"),
            )
        })?;
        self.record.add(certificate);
        self.record.save()
    }

    /// Warns if the node has another certificate that is still accepted.
    pub(crate) fn warn_of_others(&self, certificate: &NodeCertificate, report: &mut Report) {
        let node = certificate.identity().node();
        let now = self.authority.now().as_secs();
        let own = certificate.serial().to_string();
        for entry in self.record.valid_of(node, now) {
            if entry.serial != own {
                report.warn(format!(
                    "node {node} has another valid certificate, {} until {}; if that one is lost, \
                     type `quicraft-certs revoke --serial {}`",
                    entry.serial,
                    date(entry.not_after),
                    entry.serial
                ));
            }
        }
    }
}

fn prove(
    certificate: &NodeCertificate,
    cluster: ClusterName,
    now: UnixTime,
) -> Result<(), CertificateRefusal> {
    let malformed = |detail: String| CertificateRefusal::Other { detail };
    let chain =
        quicraft_certs::CertificateDer::pem_slice_iter(certificate.certificate_pem().as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| malformed(error.to_string()))?;
    let (own, intermediates) = chain
        .split_first()
        .ok_or(CertificateRefusal::NoCertificate)?;
    let root = certificate.root_pem().as_bytes();
    let trust = Trust::from_pem(cluster, root, b"", TrustLimits::default())
        .map_err(|error| malformed(error.to_string()))?;
    for role in [PeerRole::Acceptor, PeerRole::Dialer] {
        check(role, own, intermediates, &trust, now)?;
    }
    Ok(())
}

/// A time in seconds since 1970, as the library takes it.
pub(crate) fn time(seconds: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(seconds))
}
