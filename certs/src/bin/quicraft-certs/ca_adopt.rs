//! `ca adopt`: a record for an authority that has none, because the library made it or because the
//! record was lost.

use clap::Args;
use quicraft_certs::{Audience, Overwrite, StagedFiles};

use crate::authority::AuthorityArgs;
use crate::crl::former_list;
use crate::failure::Failure;
use crate::folder::{CRL_FILE, expect_free, tell_files};
use crate::record::{Entry, Record};
use crate::report::Report;

/// Start a record for a CA that has none, from the revocations in its crl.pem
#[derive(Debug, Args)]
pub(crate) struct Adopt {
    #[command(flatten)]
    authority: AuthorityArgs,
}

impl Adopt {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let (authority, key_hash) = self.authority.load()?;
        let path = self.authority.record_path();
        expect_free(&path, Overwrite::Never)?;
        let crl = self.authority.folder().join(CRL_FILE);
        let known = former_list(&crl, &authority)?;
        let mut files = StagedFiles::new(Overwrite::Never);
        let text = Record::empty(authority.cluster().as_str(), &key_hash)?;
        files.add(&path, &text, Audience::Owner)?;
        files.commit()?;
        let mut report = Report::done();
        let mut revoked = 0_usize;
        if let Some(known) = &known {
            let mut record = Record::open(&path, &key_hash)?;
            for serial in &known.revoked {
                record.add_entry(Entry {
                    serial: serial.to_string(),
                    node: 0,
                    not_before: 0,
                    not_after: 0,
                    key_hash: String::new(),
                    revoked: Some(known.this_update),
                });
            }
            record.seen_crl_number(known.number.unwrap_or(0));
            record.save()?;
            revoked = known.revoked.len();
        }
        report.line(format!(
            "record of the CA of cluster {}: {revoked} revoked certificates",
            authority.cluster()
        ));
        report.field("cluster", authority.cluster().as_str());
        report.field("revoked", revoked);
        report.warn(
            "certificates that were issued before are not in the record; revoke them with --cert",
        );
        tell_files(&[path], &mut report);
        Ok(report)
    }
}
