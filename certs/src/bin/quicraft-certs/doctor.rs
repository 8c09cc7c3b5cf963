//! `doctor`: looks at a folder as a node would load it, and says what is wrong and what to type.

use std::fs;
use std::path::PathBuf;

use clap::Args;
use quicraft_certs::{
    CRL_NOTICE, CertificateFacts, ClusterName, CredentialError, CredentialFiles,
    CredentialSettings, Credentials, CrlFacts, NodeId, StagedFiles, WallClock, private_key_hash,
    read_public,
};
use serde_json::json;

use crate::arguments::{cluster_name, node_id};
use crate::date::{DAY, date, distance};
use crate::failure::{Failure, explain};
use crate::folder::{CA_FILE, CRL_FILE, certificate_file, key_file};
use crate::needs_renewal::due;
use crate::pem::{certificates, crls, facts};
use crate::report::Report;
use crate::verify::in_words;

/// How long before its end a trusted CA is to be replaced: half a year. Every node must get the new
/// one before any node shows a certificate of it.
const CA_NOTICE: u64 = 180 * DAY;

/// Look at a node's folder as the node would load it: what is wrong, and what to type; exit 1 if
/// the node would not start
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// The folder with ca.crt, node-N.crt, node-N.key and perhaps crl.pem
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Look at this node alone [default: every node in the folder]
    #[arg(long, value_name = "N", value_parser = node_id)]
    id: Option<NodeId>,
    /// The cluster that the certificates must be of
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    cluster: Option<ClusterName>,
}

/// How far two clocks may differ without a word: as much as certificates allow for.
const CLOCK_SKEW: u64 = 5 * 60;

/// What was found.
#[derive(Default)]
struct Findings(Vec<Finding>);

struct Finding {
    is_error: bool,
    what: String,
    remedy: String,
}

impl Findings {
    fn error(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(true, what.into(), remedy.into());
    }

    fn warning(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.push(false, what.into(), remedy.into());
    }

    fn push(&mut self, is_error: bool, what: String, remedy: String) {
        self.0.push(Finding {
            is_error,
            what,
            remedy,
        });
    }
}

impl Doctor {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        if !self.folder.is_dir() {
            return Err(Failure::new(
                "no_folder",
                format!(
                    "{} is no folder; give the one with ca.crt and node-N.crt",
                    self.folder.display()
                ),
            ));
        }
        let now = WallClock::system().now().as_secs();
        let mut report = Report::done();
        let mut findings = Findings::default();
        self.look_at_folder(&mut findings)?;
        self.look_at_authorities(now, &mut findings);
        self.look_at_clock(now, &mut findings);
        let nodes = self.nodes()?;
        if nodes.is_empty() {
            findings.error(
                "there is no certificate of a node (node-N.crt)",
                format!(
                    "quicraft-certs node issue --cluster NAME --id N --ca DIR --ca-key FILE --out {}",
                    self.folder.display()
                ),
            );
        }
        for node in &nodes {
            self.look_at_node(*node, now, &mut findings, &mut report);
        }
        tell(findings, &nodes, report)
    }

    /// The nodes whose certificates or keys lie in the folder, or the one that was asked for.
    fn nodes(&self) -> Result<Vec<NodeId>, Failure> {
        if let Some(node) = self.id {
            return Ok(vec![node]);
        }
        let mut nodes: Vec<NodeId> = self
            .names()?
            .iter()
            .filter_map(|name| {
                let name = name.strip_prefix("node-")?;
                let id = name
                    .strip_suffix(".crt")
                    .or_else(|| name.strip_suffix(".key"))?;
                id.parse().ok()
            })
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        Ok(nodes)
    }

    fn names(&self) -> Result<Vec<String>, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                "read",
                format!("{} cannot be read: {error}", self.folder.display()),
            )
        };
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed)? {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Files that should not be there, and a folder that others can write to.
    fn look_at_folder(&self, findings: &mut Findings) -> Result<(), Failure> {
        #[cfg(unix)]
        if let Ok(metadata) = fs::metadata(&self.folder) {
            use std::os::unix::fs::MetadataExt;
            let mode = metadata.mode() & 0o777;
            if mode & 0o022 != 0 {
                findings.error(
                    format!(
                        "{} has mode {mode:03o}, so others can exchange the files in it",
                        self.folder.display()
                    ),
                    format!("chmod go-w {}", self.folder.display()),
                );
            }
        }
        let authorities: Vec<[u8; 32]> = self
            .authorities()
            .unwrap_or_default()
            .into_iter()
            .map(|facts| facts.key_hash)
            .collect();
        for name in self.names()? {
            let path = self.folder.join(&name);
            if let Some(staged) = name.strip_suffix(StagedFiles::SUFFIX) {
                let target = staged.rsplit_once('.').map_or(staged, |(target, _)| target);
                findings.warning(
                    format!(
                        "{} was left by a command that did not finish",
                        path.display()
                    ),
                    format!(
                        "if a key does not fit its certificate, mv {} {}; otherwise rm it",
                        path.display(),
                        self.folder.join(target).display()
                    ),
                );
            }
            // A key is read without asking who else can: it is not used, only recognised.
            let hash = read_public(&path)
                .ok()
                .filter(|_| path.is_file() && name.ends_with(".key"))
                .and_then(|pem| private_key_hash(&pem, &name).ok());
            if hash.is_some_and(|hash| authorities.contains(&hash)) {
                findings.error(
                    format!(
                        "{} is the key of the CA: whoever has it can make nodes",
                        path.display()
                    ),
                    format!("mv {} to a machine that is no node", path.display()),
                );
            }
        }
        Ok(())
    }

    fn authorities(&self) -> Result<Vec<CertificateFacts>, Failure> {
        let path = self.folder.join(CA_FILE);
        certificates(&path)?
            .iter()
            .map(|der| facts(der, &path))
            .collect()
    }

    fn look_at_authorities(&self, now: u64, findings: &mut Findings) {
        let path = self.folder.join(CA_FILE);
        if !path.exists() {
            findings.error(
                format!("{} is missing", path.display()),
                format!("cp DIR/{CA_FILE} {}", path.display()),
            );
            return;
        }
        // What is wrong with the bundle as such, a node says when it loads it.
        for authority in self.authorities().unwrap_or_default() {
            let CertificateFacts {
                subject, not_after, ..
            } = &authority;
            let end = date(*not_after);
            if *not_after < now {
                findings.warning(
                    format!("the CA {subject} has expired ({end})"),
                    "quicraft-certs bundle, without it",
                );
            } else if *not_after < now.saturating_add(CA_NOTICE) {
                findings.warning(
                    format!(
                        "the CA {subject} ends {} ({end}), and with it all its certificates",
                        distance(now, *not_after)
                    ),
                    "quicraft-certs ca init for a new CA, then quicraft-certs bundle with both",
                );
            }
        }
    }

    /// A list is dated when it is made, so one of tomorrow says that it is not yet today here. The
    /// dates of certificates, which begin earlier, are for the node to judge.
    fn look_at_clock(&self, now: u64, findings: &mut Findings) {
        let path = self.folder.join(CRL_FILE);
        let lists = if path.exists() {
            crls(&path).unwrap_or_default()
        } else {
            Vec::new()
        };
        let newest = lists
            .iter()
            .filter_map(|list| CrlFacts::read(list).ok())
            .map(|list| list.this_update)
            .max();
        if let Some(made) = newest
            && made > now.saturating_add(CLOCK_SKEW)
        {
            findings.error(
                format!(
                    "it is {} here, and {} was made on {}: the clock is behind",
                    date(now),
                    path.display(),
                    date(made)
                ),
                "date, and set the clock of this machine",
            );
        }
    }

    /// What the node itself would say, and what it will say soon.
    fn look_at_node(&self, node: NodeId, now: u64, findings: &mut Findings, report: &mut Report) {
        let mut files = CredentialFiles::new(
            self.folder.join(CA_FILE),
            certificate_file(&self.folder, node),
            key_file(&self.folder, node),
        );
        let crl = self.folder.join(CRL_FILE);
        if crl.exists() {
            files = files.with_crl(crl.clone());
        }
        let mut settings = CredentialSettings::default();
        settings.expected_cluster.clone_from(&self.cluster);
        settings.expected_node = Some(node);
        let credentials = match Credentials::load(&files, &settings) {
            Ok(credentials) => credentials,
            Err(error) => {
                let (what, remedy) = self.remedy(node, &error);
                findings.error(format!("node {node}: {what}"), remedy);
                return;
            }
        };
        report.line(format!(
            "{}: until {}",
            credentials.identity(),
            date(credentials.not_after())
        ));
        let certificate = credentials.certificate();
        if now >= due(certificate.not_before(), certificate.not_after(), None) {
            findings.warning(
                format!(
                    "node {node}: the certificate ends {} ({})",
                    distance(now, certificate.not_after()),
                    date(certificate.not_after())
                ),
                self.renew(node),
            );
        }
        if let Some(next_update) = credentials.trust().crl_next_update()
            && now.saturating_add(CRL_NOTICE.as_secs()) >= next_update
        {
            findings.warning(
                format!(
                    "{} is to be replaced {} ({}); a day later nodes refuse everybody",
                    crl.display(),
                    distance(now, next_update),
                    date(next_update)
                ),
                "quicraft-certs crl --ca DIR --ca-key FILE",
            );
        }
    }

    /// What is wrong, in words, and what to type about it.
    fn remedy(&self, node: NodeId, error: &CredentialError) -> (String, String) {
        let folder = self.folder.display();
        let issue = format!(
            "quicraft-certs node issue --cluster NAME --id {node} --ca DIR --ca-key FILE --out \
             {folder} --overwrite"
        );
        match error {
            CredentialError::ExposedKey { file, .. } => {
                (explain(error), format!("chmod 600 {file}"))
            }
            CredentialError::Refused { file, refusal, .. } => {
                let (rule, words) = in_words(refusal);
                let remedy = match rule {
                    "expired" => self.renew(node),
                    "not_yet_valid" => "date, and set the clock of this machine".to_owned(),
                    "stale_crl" | "unknown_revocation_status" | "foreign_crl" => {
                        "quicraft-certs crl --ca DIR --ca-key FILE".to_owned()
                    }
                    "unknown_issuer" => {
                        "quicraft-certs bundle --ca FILE --ca FILE --out DIR".to_owned()
                    }
                    _ => issue,
                };
                (format!("peers would refuse {file}: {words}"), remedy)
            }
            CredentialError::OtherCluster { found, .. } => (
                explain(error),
                format!(
                    "quicraft-certs doctor {folder} --cluster {found}, or bring the right files"
                ),
            ),
            CredentialError::Trust { .. } => (
                explain(error),
                "quicraft-certs bundle --ca FILE --out DIR --overwrite".to_owned(),
            ),
            _ => (explain(error), issue),
        }
    }

    fn renew(&self, node: NodeId) -> String {
        format!(
            "quicraft-certs renew --cert {} --ca DIR --ca-key FILE --overwrite",
            certificate_file(&self.folder, node).display()
        )
    }
}

fn tell(findings: Findings, nodes: &[NodeId], mut report: Report) -> Result<Report, Failure> {
    let mut errors = 0_usize;
    let mut listed = Vec::new();
    for Finding {
        is_error,
        what,
        remedy,
    } in findings.0
    {
        let level = if is_error { "error" } else { "warning" };
        errors += usize::from(is_error);
        report.line(format!("{level}: {what}; type: {remedy}"));
        listed.push(json!({"level": level, "what": what, "type": remedy}));
    }
    let ids: Vec<u64> = nodes.iter().map(|node| node.get()).collect();
    report.field("nodes", ids);
    report.field("errors", errors);
    report.field("findings", listed);
    if errors > 0 {
        report.say_no();
    } else {
        report.line("a node can start with this folder");
    }
    Ok(report)
}
