//! `verify`: whether a node would accept a certificate, by the very check that nodes use.

use std::path::{Path, PathBuf};

use clap::Args;
use quicraft_certs::{
    CertificateDer, CertificateRefusal, ClusterName, NodeId, NodeIdentity, PeerCertificate,
    PeerRole, Trust, TrustLimits, UnixTime, WallClock, check, private_key_hash, read_private_key,
    read_public,
};

use crate::arguments::{cluster_name, node_id};
use crate::date::{date, distance};
use crate::failure::Failure;
use crate::folder::{CA_FILE, CRL_FILE};
use crate::pem::{certificates, first_certificate};
use crate::report::Report;

/// Ask whether nodes would accept a certificate, in both roles; exit 1 if not
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// The certificate, and after it its intermediates
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// The trusted CAs: a file, or a folder with ca.crt and perhaps crl.pem
    #[arg(long, value_name = "PATH")]
    ca: PathBuf,
    /// The CRLs [default: crl.pem in the folder of --ca, if there is one]
    #[arg(long, value_name = "FILE")]
    crl: Option<PathBuf>,
    /// Check too that this key belongs to the certificate
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Check too that it is of this cluster
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    cluster: Option<ClusterName>,
    /// Check too that it is of this node
    #[arg(long, value_name = "N", value_parser = node_id)]
    id: Option<NodeId>,
}

impl Verify {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let shown = self.cert.display().to_string();
        report.field("cert", shown.as_str());
        let chain = certificates(&self.cert)?;
        match self.judge(&chain, &mut report)? {
            Ok(identity) => {
                report.line(format!(
                    "{shown} is accepted: node {} of {}",
                    identity.node(),
                    identity.cluster()
                ));
                report.field("identity", identity.uri());
            }
            Err((rule, text)) => {
                report.say_no();
                report.line(format!("{shown} is refused: {text}"));
                report.field("rule", rule);
                report.field("refusal", text);
            }
        }
        Ok(report)
    }

    /// The identity, or the rule that fails and what to do about it.
    fn judge(
        &self,
        chain: &[CertificateDer<'static>],
        report: &mut Report,
    ) -> Result<Result<NodeIdentity, (&'static str, String)>, Failure> {
        let cluster = match (&self.cluster, PeerCertificate::from_chain(chain)) {
            (Some(cluster), _) => cluster.clone(),
            (None, Ok(certificate)) => certificate.identity().cluster().clone(),
            (None, Err(refusal)) => return Ok(Err(in_words(&refusal))),
        };
        let trust = self.trust(cluster, report)?;
        let now = WallClock::system().now();
        let identity = match judge_roles(chain, &trust, now) {
            Ok(identity) => identity,
            Err(refusal) => return Ok(Err(in_words(&refusal))),
        };
        if let Some(expected) = self.id
            && identity.node() != expected
        {
            return Ok(Err((
                "wrong_node",
                format!("it is of node {}, not {expected}", identity.node()),
            )));
        }
        if let Some(key) = &self.key {
            let hash = private_key_hash(&read_private_key(key)?, &key.display().to_string())?;
            if first_certificate(&self.cert)?.1.key_hash != hash {
                return Ok(Err((
                    "key_mismatch",
                    format!("{} is not its key", key.display()),
                )));
            }
        }
        Ok(Ok(identity))
    }

    fn trust(&self, cluster: ClusterName, report: &mut Report) -> Result<Trust, Failure> {
        let is_folder = self.ca.is_dir();
        let ca = if is_folder {
            self.ca.join(CA_FILE)
        } else {
            self.ca.clone()
        };
        let beside = self.ca.join(CRL_FILE);
        let crl: Option<&Path> = match &self.crl {
            Some(crl) => Some(crl),
            None if is_folder && beside.exists() => Some(&beside),
            None => None,
        };
        let lists = crl.map(read_public).transpose()?.unwrap_or_default();
        report.field("crl", crl.map(|path| path.display().to_string()));
        if crl.is_none() {
            report.line("revocation is not checked, because no CRL was given");
        }
        let trust = Trust::from_pem(cluster, &read_public(&ca)?, &lists, TrustLimits::default())
            .map_err(|error| Failure::new("trust", format!("{}: {error}", ca.display())))?;
        Ok(trust)
    }
}

fn judge_roles(
    chain: &[CertificateDer<'_>],
    trust: &Trust,
    now: UnixTime,
) -> Result<NodeIdentity, CertificateRefusal> {
    let (own, intermediates) = chain
        .split_first()
        .ok_or(CertificateRefusal::NoCertificate)?;
    check(PeerRole::Acceptor, own, intermediates, trust, now)?;
    check(PeerRole::Dialer, own, intermediates, trust, now)
}

/// The rule that fails, and the refusal with dates that people read and what to do.
pub(crate) fn in_words(refusal: &CertificateRefusal) -> (&'static str, String) {
    let what = match refusal {
        CertificateRefusal::Expired { not_after, now } => format!(
            "a certificate of the chain expired on {}, {}",
            date(*not_after),
            distance(*now, *not_after)
        ),
        CertificateRefusal::NotYetValid { not_before, now } => format!(
            "a certificate of the chain is not valid before {}, {}",
            date(*not_before),
            distance(*now, *not_before)
        ),
        CertificateRefusal::StaleCrl { next_update, now } => format!(
            "the CRL was to be replaced on {}, {}, and the grace is over",
            date(*next_update),
            distance(*now, *next_update)
        ),
        refusal => refusal.to_string(),
    };
    (refusal.label(), format!("{what}; {}", refusal.advice()))
}
