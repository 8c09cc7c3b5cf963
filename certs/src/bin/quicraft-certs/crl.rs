//! `crl`: the list of what the authority has revoked, made again before the last one is too old.

use std::path::{Path, PathBuf};

use clap::Args;
use quicraft_certs::{
    Audience, Authority, CertificateDer, CrlFacts, CrlOptions, Overwrite, Revocation, StagedFiles,
    is_crl_of,
};
use rustls_pki_types::pem::PemObject;

use crate::authority::{AuthorityArgs, OpenAuthority, time};
use crate::date::{DAY, date};
use crate::failure::Failure;
use crate::folder::{CRL_FILE, overwrite, tell_files};
use crate::pem::crls;
use crate::report::Report;

/// Make crl.pem again; nodes refuse everybody a day after its next update has passed
#[derive(Debug, Args)]
pub(crate) struct Crl {
    #[command(flatten)]
    authority: AuthorityArgs,
    #[command(flatten)]
    list: ListArgs,
}

/// How a list is to be.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// In how many days the next list is due
    #[arg(long, value_name = "N", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3_650))]
    days: u64,
    /// The file of the list [default: crl.pem in the folder of the CA]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file also if it is not an older list of this CA
    #[arg(long)]
    overwrite: bool,
}

impl Crl {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let mut open = self.authority.open()?;
        let target = self.list.expect_target(&open)?;
        self.list.write(&mut open, target, &mut report)?;
        Ok(report)
    }
}

/// Where a list goes, and the number that it must be above.
pub(crate) struct Target {
    path: PathBuf,
    replaced_number: u64,
    overwrite: Overwrite,
}

impl ListArgs {
    /// Finds out whether the list may be written, before anything is revoked.
    pub(crate) fn expect_target(&self, open: &OpenAuthority) -> Result<Target, Failure> {
        let path = self
            .out
            .clone()
            .unwrap_or_else(|| open.folder.join(CRL_FILE));
        let mut target = Target {
            path,
            replaced_number: 0,
            overwrite: overwrite(self.overwrite),
        };
        if self.overwrite || !target.path.exists() {
            return Ok(target);
        }
        if let Some(former) = former_list(&target.path, &open.authority)? {
            target.replaced_number = former.number.unwrap_or(0);
            target.overwrite = Overwrite::Replace;
        }
        Ok(target)
    }

    /// Makes the list of everything that the record says is revoked.
    pub(crate) fn write(
        &self,
        open: &mut OpenAuthority,
        target: Target,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let revoked = open
            .record
            .entries()
            .iter()
            .filter_map(|entry| Some((entry, entry.revoked?)))
            .map(|(entry, at)| {
                let serial = entry.serial.parse().map_err(|error| {
                    Failure::new("bad_record", format!("serial {}: {error}", entry.serial))
                })?;
                Ok(Revocation::new(serial, time(at)))
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let now = open.authority.now();
        let next_update = now.as_secs().saturating_add(self.days * DAY);
        let number = open.record.next_crl_number(target.replaced_number);
        let mut options = CrlOptions::default();
        options.number = Some(number);
        options.this_update = Some(now);
        options.next_update = Some(time(next_update));
        let text = open.authority.crl_of(&revoked, &options)?;
        // The number first: a list whose number is used again would be two lists of one number.
        open.record.save()?;
        let mut files = StagedFiles::new(target.overwrite);
        files.add(&target.path, &text, Audience::Everybody)?;
        files.commit()?;
        report.line(format!(
            "CRL {number} of cluster {}: {} revoked certificates, next update {}",
            open.authority.cluster(),
            revoked.len(),
            date(next_update)
        ));
        report.field("crl_number", number);
        report.field("revoked", revoked.len());
        report.field("this_update", date(now.as_secs()));
        report.field("next_update", date(next_update));
        tell_files(std::slice::from_ref(&target.path), report);
        report.line(format!(
            "bring {} to every node as {CRL_FILE}; from then on it must be made again before its \
             next update",
            target.path.display()
        ));
        Ok(())
    }
}

/// The newest list in a file that holds lists of this authority alone; `None` if there is no file.
/// Anything else is refused, because it would be lost with the replacement.
pub(crate) fn former_list(path: &Path, authority: &Authority) -> Result<Option<CrlFacts>, Failure> {
    if !path.exists() {
        return Ok(None);
    }
    let shown = path.display();
    let own = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes())
        .map_err(|error| Failure::new("bad_ca", error.to_string()))?;
    let mut newest: Option<CrlFacts> = None;
    for list in crls(path)? {
        let facts = CrlFacts::read(&list)?;
        if !is_crl_of(&list, &own) {
            return Err(Failure::new(
                "other_crl",
                format!(
                    "{shown} holds the list of another CA ({}); give another --out, or add \
                     --overwrite",
                    facts.issuer
                ),
            ));
        }
        if newest
            .as_ref()
            .is_none_or(|known| known.number < facts.number)
        {
            newest = Some(facts);
        }
    }
    newest.map(Some).ok_or_else(|| {
        Failure::new(
            "path_exists",
            format!("{shown} holds no CRL; give another --out, or add --overwrite to replace it"),
        )
    })
}
