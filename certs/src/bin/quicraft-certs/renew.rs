//! `renew`: new dates for a node, with the key that it has or with a new one.

use std::path::{Path, PathBuf};

use clap::Args;
use quicraft_certs::{AuthorityError, NodeIdentity};

use crate::authority::{AuthorityArgs, LifeArgs};
use crate::failure::Failure;
use crate::folder::{NodeFiles, certificate_file, expect_free, key_file, lacks_ca, overwrite};
use crate::pem::first_certificate;
use crate::report::Report;

/// Certify a node again: the same node, the same key unless --new-key, new dates
#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// The certificate that the node has
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    #[command(flatten)]
    authority: AuthorityArgs,
    /// The folder for the new files [default: that of --cert, with --overwrite]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Make a new key too; a roster that pins the old one must learn it
    #[arg(long)]
    new_key: bool,
    #[command(flatten)]
    life: LifeArgs,
    /// Replace the files that are there
    #[arg(long)]
    overwrite: bool,
}

impl Renew {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let mut open = self.authority.open()?;
        let (der, facts) = first_certificate(&self.cert)?;
        let identity = open
            .authority
            .issued(&der)
            .map_err(|error| self.foreign(error))?;
        let node = identity.node();
        if let Some(entry) = open.record.find(&facts.serial)
            && entry.revoked.is_some()
        {
            return Err(Failure::new(
                "revoked",
                format!(
                    "certificate {} is revoked and not renewed; make a new one with \
                     `quicraft-certs node issue --id {node}`",
                    facts.serial
                ),
            ));
        }
        let folder = self.folder();
        let overwrite = overwrite(self.overwrite);
        expect_free(&certificate_file(folder, node), overwrite)?;
        if self.new_key {
            expect_free(&key_file(folder, node), overwrite)?;
        } else {
            open.refuse_revoked_key(&facts.key_hash)?;
        }
        let with_ca = lacks_ca(folder, open.authority.root_pem())?;
        let mut options = open.options(&self.life, &mut report)?;
        options
            .extra_dns
            .extend(other_names(&facts.dns_names, &identity));
        let (certificate, issued) = if self.new_key {
            let issued = open.authority.issue_with(node, &options)?;
            (issued.certificate().clone(), Some(issued))
        } else {
            (open.authority.reissue(&der, &options)?, None)
        };
        open.take_down(&certificate)?;
        NodeFiles {
            folder,
            certificate: &certificate,
            key_pem: issued.as_ref().map(quicraft_certs::IssuedNode::key_pem),
            with_ca,
            overwrite,
        }
        .write(&mut report)?;
        report.line(format!(
            "the old certificate {} stays valid until it expires or is revoked",
            facts.serial
        ));
        report.field("former_serial", facts.serial.to_string());
        Ok(report)
    }

    fn folder(&self) -> &Path {
        match (&self.out, self.cert.parent()) {
            (Some(folder), _) => folder,
            (None, Some(folder)) if !folder.as_os_str().is_empty() => folder,
            (None, _) => Path::new("."),
        }
    }

    fn foreign(&self, error: AuthorityError) -> Failure {
        let shown = self.cert.display();
        match error {
            AuthorityError::NotIssuedHere => Failure::new(
                "not_issued_here",
                format!(
                    "{shown} was not issued by this CA; give the --ca that issued it, or move the \
                     node to this one with `quicraft-certs node issue`"
                ),
            ),
            error => error.into(),
        }
    }
}

/// The DNS names that the old certificate had beside that of its identity.
fn other_names(names: &[String], identity: &NodeIdentity) -> Vec<String> {
    let own = identity.dns_name();
    names.iter().filter(|name| **name != own).cloned().collect()
}
