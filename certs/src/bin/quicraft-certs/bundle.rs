//! `bundle`: the CAs that nodes trust, several while an old one is replaced by a new one.

use std::path::PathBuf;

use clap::Args;
use quicraft_certs::{
    Audience, CertificateDer, CertificateFacts, ClusterName, CrlFacts, StagedFiles, Trust,
    TrustLimits, WallClock, pem_text, read_public,
};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::SectionKind;

use crate::arguments::cluster_name;
use crate::date::date;
use crate::failure::Failure;
use crate::folder::{CA_FILE, CRL_FILE, overwrite, tell_files};
use crate::pem::{certificates, facts, sections};
use crate::report::Report;

/// Put several CAs, and their CRLs, into one folder for nodes: the overlap of a CA rotation
#[derive(Debug, Args)]
pub(crate) struct Bundle {
    /// A CA, or a bundle of them; repeat for each
    #[arg(long, value_name = "FILE", required = true)]
    ca: Vec<PathBuf>,
    /// A CRL; repeat for each. As soon as there is one, every CA needs one
    #[arg(long, value_name = "FILE")]
    crl: Vec<PathBuf>,
    /// The folder for ca.crt and crl.pem; made if needed
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The cluster that all CAs must certify [default: that of the first]
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    cluster: Option<ClusterName>,
    /// Replace ca.crt and crl.pem if they are there
    #[arg(long)]
    overwrite: bool,
}

/// A CA that goes into the bundle, and where it comes from.
struct Member {
    der: CertificateDer<'static>,
    facts: CertificateFacts,
    path: PathBuf,
}

impl Bundle {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let members = self.members()?;
        let cluster = self.cluster_of(&members)?;
        expect_dates(&members, &mut report)?;
        let (lists, crl_text) = self.lists()?;
        expect_every_list(&members, &lists)?;
        // Written anew: what else stood in a file is not copied, because it could be a key.
        let ca_text: String = members
            .iter()
            .map(|member| pem_text("CERTIFICATE", &member.der))
            .collect();
        // What a node would say to it when it loads it.
        let limits = TrustLimits::default();
        Trust::from_pem(
            cluster.clone(),
            ca_text.as_bytes(),
            crl_text.as_bytes(),
            limits,
        )?;

        let mut files = StagedFiles::new(overwrite(self.overwrite));
        let mut written = Vec::new();
        // The lists first: a node that meets a new CA without its list would refuse it.
        if !crl_text.is_empty() {
            let path = self.out.join(CRL_FILE);
            files.add(&path, &crl_text, Audience::Everybody)?;
            written.push(path);
        }
        let path = self.out.join(CA_FILE);
        files.add(&path, &ca_text, Audience::Everybody)?;
        written.push(path);
        files.commit()?;

        for member in &members {
            report.line(format!(
                "{} until {}",
                member.facts.subject,
                date(member.facts.not_after)
            ));
        }
        report.field("cluster", cluster.as_str());
        report.field("authorities", members.len());
        report.field("crls", lists.len());
        tell_files(&written, &mut report);
        report.line("bring them to every node, before any node shows a certificate of a new CA");
        Ok(report)
    }

    /// All CAs, each once.
    fn members(&self) -> Result<Vec<Member>, Failure> {
        let mut members: Vec<Member> = Vec::new();
        for path in &self.ca {
            for der in certificates(path)? {
                if members.iter().any(|member| member.der == der) {
                    continue;
                }
                let facts = facts(&der, path)?;
                if facts.authority.is_none() {
                    return Err(Failure::new(
                        "not_a_ca",
                        format!(
                            "{} holds a certificate that is no CA ({}); give only files such as \
                             ca.crt",
                            path.display(),
                            facts.subject
                        ),
                    ));
                }
                members.push(Member {
                    der,
                    facts,
                    path: path.clone(),
                });
            }
        }
        Ok(members)
    }

    /// The one cluster that all CAs may certify.
    fn cluster_of(&self, members: &[Member]) -> Result<ClusterName, Failure> {
        let mut cluster = self.cluster.clone();
        for member in members {
            let bound = member
                .facts
                .authority
                .iter()
                .flat_map(|ca| &ca.permitted_dns);
            for name in bound {
                let own: ClusterName = name.parse().map_err(|error| {
                    Failure::new("bad_ca", format!("{}: {error}", member.path.display()))
                })?;
                match &cluster {
                    None => cluster = Some(own),
                    Some(wanted) if *wanted == own => {}
                    Some(wanted) => {
                        return Err(Failure::new(
                            "wrong_cluster",
                            format!(
                                "the CA in {} is of cluster {own}, not {wanted}; a bundle is for \
                                 one cluster",
                                member.path.display()
                            ),
                        ));
                    }
                }
            }
        }
        cluster
            .ok_or_else(|| Failure::usage("no CA says for which cluster it is; add --cluster NAME"))
    }

    fn lists(&self) -> Result<(Vec<CrlFacts>, String), Failure> {
        let mut lists = Vec::new();
        let mut text = String::new();
        for path in &self.crl {
            for (kind, der) in sections(&read_public(path)?, path)? {
                if kind == SectionKind::Crl {
                    text.push_str(&pem_text("X509 CRL", &der));
                    lists.push(CrlFacts::read(&CertificateRevocationListDer::from(der))?);
                }
            }
        }
        if lists.is_empty() && !self.crl.is_empty() {
            return Err(Failure::new(
                "no_crl",
                "the files of --crl hold no CRL; give files such as crl.pem",
            ));
        }
        Ok((lists, text))
    }
}

/// An expired CA is refused, because it is there by mistake; one that ends soon is told.
fn expect_dates(members: &[Member], report: &mut Report) -> Result<(), Failure> {
    let now = WallClock::system().now().as_secs();
    for member in members {
        let CertificateFacts {
            subject, not_after, ..
        } = &member.facts;
        if *not_after < now {
            return Err(Failure::new(
                "expired_ca",
                format!(
                    "{subject} in {} has expired ({}); leave it out",
                    member.path.display(),
                    date(*not_after)
                ),
            ));
        }
        if member.facts.not_before > now {
            report.warn(format!(
                "{subject} is not valid before {}",
                date(member.facts.not_before)
            ));
        }
    }
    Ok(())
}

/// As soon as a node has one list, it refuses every certificate of a CA without one.
fn expect_every_list(members: &[Member], lists: &[CrlFacts]) -> Result<(), Failure> {
    if lists.is_empty() {
        return Ok(());
    }
    let without = members
        .iter()
        .find(|member| !lists.iter().any(|list| list.issuer == member.facts.subject));
    match without {
        None => Ok(()),
        Some(member) => Err(Failure::new(
            "missing_crl",
            format!(
                "no --crl is of {} in {}, so nodes would refuse all its certificates; make one \
                 with `quicraft-certs crl`, or leave all lists out",
                member.facts.subject,
                member.path.display()
            ),
        )),
    }
}
