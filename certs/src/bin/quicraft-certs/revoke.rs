//! `revoke`: a certificate, or all of a node, is refused from now on; the list says so at once.

use std::path::{Path, PathBuf};

use clap::Args;
use quicraft_certs::{AuthorityError, NodeId, Serial};

use crate::arguments::node_id;
use crate::authority::{AuthorityArgs, OpenAuthority};
use crate::crl::ListArgs;
use crate::failure::Failure;
use crate::pem::{first_certificate, hex};
use crate::record::Entry;
use crate::report::Report;

/// Revoke a certificate, or all certificates of a node, and make crl.pem again
#[derive(Debug, Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    authority: AuthorityArgs,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct What {
    /// All certificates of this node that have not expired
    #[arg(long, value_name = "N", value_parser = node_id)]
    id: Option<NodeId>,
    /// The certificate in this file
    #[arg(long, value_name = "FILE")]
    cert: Option<PathBuf>,
    /// The certificate with this serial number, as `inspect` and openssl print it
    #[arg(long, value_name = "HEX")]
    serial: Option<Serial>,
}

impl Revoke {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let mut open = self.authority.open()?;
        let target = self.list.expect_target(&open)?;
        let serials = match &self.what {
            What { id: Some(node), .. } => of_node(*node, &open)?,
            What {
                cert: Some(path), ..
            } => vec![of_file(path, &mut open)?],
            What {
                serial: Some(serial),
                ..
            } => vec![of_serial(serial, &open)?],
            What { .. } => Vec::new(),
        };
        let now = open.authority.now().as_secs();
        let mut newly = 0_usize;
        for entry in open.record.entries_mut() {
            if serials.contains(&entry.serial) && entry.revoked.is_none() {
                entry.revoked = Some(now);
                newly += 1;
            }
        }
        for serial in &serials {
            report.line(format!("revoked {serial}"));
        }
        if newly == 0 {
            report.line("nothing new: it was revoked before");
        }
        report.field("serials", serials);
        report.field("newly_revoked", newly);
        self.list.write(&mut open, target, &mut report)?;
        Ok(report)
    }
}

/// The serial numbers of all certificates of a node that somebody could still accept.
fn of_node(node: NodeId, open: &OpenAuthority) -> Result<Vec<String>, Failure> {
    let now = open.authority.now().as_secs();
    let of_node = |entry: &&Entry| entry.node == node.get();
    let serials: Vec<String> = open
        .record
        .entries()
        .iter()
        .filter(of_node)
        .filter(|entry| entry.not_after >= now)
        .map(|entry| entry.serial.clone())
        .collect();
    if !serials.is_empty() {
        return Ok(serials);
    }
    let known = open.record.entries().iter().any(|entry| of_node(&entry));
    Err(Failure::new(
        "unknown_certificate",
        if known {
            format!("all certificates of node {node} have expired; there is nothing to revoke")
        } else {
            format!(
                "this CA has no record of a certificate for node {node}; revoke the certificate \
                 itself with --cert FILE"
            )
        },
    ))
}

/// The serial number of a certificate in a file. One that is not in the record is taken down if
/// this authority has signed it.
fn of_file(path: &Path, open: &mut OpenAuthority) -> Result<String, Failure> {
    let (der, facts) = first_certificate(path)?;
    let identity = open.authority.issued(&der).map_err(|error| match error {
        AuthorityError::NotIssuedHere => Failure::new(
            "not_issued_here",
            format!(
                "{} was not issued by this CA; give the --ca that issued it",
                path.display()
            ),
        ),
        error => error.into(),
    })?;
    if open.record.find(&facts.serial).is_none() {
        open.record.add_entry(Entry {
            serial: facts.serial.to_string(),
            node: identity.node().get(),
            not_before: facts.not_before,
            not_after: facts.not_after,
            key_hash: hex(&facts.key_hash),
            revoked: None,
        });
    }
    Ok(facts.serial.to_string())
}

fn of_serial(serial: &Serial, open: &OpenAuthority) -> Result<String, Failure> {
    if open.record.find(serial).is_some() {
        return Ok(serial.to_string());
    }
    Err(Failure::new(
        "unknown_certificate",
        format!(
            "this CA has no record of certificate {serial}; check the number with `quicraft-certs \
             inspect`, or revoke the certificate itself with --cert FILE"
        ),
    ))
}
