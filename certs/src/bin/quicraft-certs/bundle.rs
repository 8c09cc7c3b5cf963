//! `bundle`: the CAs that nodes trust, several while an old one is replaced by a new one.

use std::path::PathBuf;

use clap::Args;
use quicraft_certs::{
    Audience, CertificateDer, CertificateFacts, ClusterName, CrlFacts, StagedFiles, Trust,
    TrustLimits, WallClock, is_crl_of, pem_text,
};
use rustls_pki_types::CertificateRevocationListDer;

use crate::arguments::cluster_name;
use crate::date::{date, distance};
use crate::failure::Failure;
use crate::folder::{CA_FILE, CRL_FILE, overwrite, tell_files};
use crate::pem::{certificates, crls, facts};
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

/// A revocation list, and by which of the members it is signed.
struct List {
    der: CertificateRevocationListDer<'static>,
    member: usize,
}

impl Bundle {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let members = self.members()?;
        let cluster = self.cluster_of(&members)?;
        expect_dates(&members, &mut report)?;
        let lists = self.lists(&members)?;
        expect_every_list(&members, &lists)?;
        // Written anew: what else stood in a file is not copied, because it could be a key.
        let ca_text: String = members
            .iter()
            .map(|member| pem_text("CERTIFICATE", &member.der))
            .collect();
        let crl_text: String = lists
            .iter()
            .map(|list| pem_text("X509 CRL", &list.der))
            .collect();
        // What a node would say to it when it loads it.
        let trust = Trust::from_pem(
            cluster.clone(),
            ca_text.as_bytes(),
            crl_text.as_bytes(),
            TrustLimits::default(),
        )?;
        expect_fresh(&trust, &mut report)?;

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

    /// All lists, of which each must be that of a member.
    fn lists(&self, members: &[Member]) -> Result<Vec<List>, Failure> {
        let mut lists: Vec<List> = Vec::new();
        for path in &self.crl {
            for der in crls(path)? {
                let facts = CrlFacts::read(&der)?;
                let member = members
                    .iter()
                    .position(|member| is_crl_of(&der, &member.der));
                let Some(member) = member else {
                    return Err(Failure::new(
                        "foreign_crl",
                        format!(
                            "the list of {} in {} is signed by none of the CAs; add its --ca, or \
                             leave it out",
                            facts.issuer,
                            path.display()
                        ),
                    ));
                };
                lists.push(List { der, member });
            }
        }
        if lists.is_empty() && !self.crl.is_empty() {
            return Err(Failure::new(
                "no_crl",
                "the files of --crl hold no CRL; give files such as crl.pem",
            ));
        }
        Ok(lists)
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
fn expect_every_list(members: &[Member], lists: &[List]) -> Result<(), Failure> {
    if lists.is_empty() {
        return Ok(());
    }
    // Two certificates of one CA, the old and the renewed one, share a list.
    let has_list = |wanted: &Member| {
        lists
            .iter()
            .any(|list| members[list.member].facts.key_hash == wanted.facts.key_hash)
    };
    match members.iter().find(|member| !has_list(member)) {
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

/// A list that is too old to let anybody in is refused, one that is overdue is told.
fn expect_fresh(trust: &Trust, report: &mut Report) -> Result<(), Failure> {
    let now = WallClock::system().now();
    let Some(stale) = trust.crl_staleness(now) else {
        return Ok(());
    };
    let text = format!(
        "the list of {} was to be replaced {} ({}); make it again with `quicraft-certs crl`",
        stale.issuer,
        distance(now.as_secs(), stale.next_update),
        date(stale.next_update)
    );
    if stale.refusing {
        return Err(Failure::new("stale_crl", text));
    }
    report.warn(text);
    Ok(())
}
