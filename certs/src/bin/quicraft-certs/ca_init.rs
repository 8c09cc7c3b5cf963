//! `ca init`: a new authority for one cluster, its key apart from its certificate.

use std::path::{Path, PathBuf, absolute};

use clap::Args;
use quicraft_certs::{
    Audience, Authority, AuthorityOptions, ClusterName, StagedFiles, WallClock, private_key_hash,
};

use crate::arguments::cluster_name;
use crate::authority::time;
use crate::date::{DAY, date};
use crate::failure::Failure;
use crate::folder::{CA_FILE, overwrite, tell_files};
use crate::pem::hex;
use crate::record::Record;
use crate::report::Report;

/// Make a CA for one cluster: ca.crt, its key, and its record beside the key
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The name of the cluster, such as prod.example; its CA certifies no other
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    cluster: ClusterName,
    /// The folder of the CA's certificate; made if needed
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The file of the CA's key, in another folder: whoever has it can make nodes
    #[arg(long, value_name = "FILE")]
    ca_key: PathBuf,
    /// How many days the CA is valid
    #[arg(long, value_name = "N", default_value_t = 3650)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=36_500))]
    days: u64,
    /// Replace a CA that is there; what it has issued can then no longer be revoked
    #[arg(long)]
    overwrite: bool,
}

impl Init {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let certificate = self.out.join(CA_FILE);
        if same_folder(&self.out, &self.ca_key) {
            return Err(Failure::usage(format!(
                "{} would lie in {}, whose files go to every node; give a --ca-key in another \
                 folder",
                self.ca_key.display(),
                self.out.display()
            )));
        }
        let now = WallClock::system().now().as_secs();
        let mut options = AuthorityOptions::default();
        options.not_after = Some(time(now.saturating_add(self.days * DAY)));
        let authority = Authority::with_options(self.cluster, options)?;
        let key_hash = private_key_hash(authority.key_pem().as_bytes(), "the new key")?;
        let record = Record::beside(&self.ca_key);
        let text = Record::empty(authority.cluster().as_str(), &key_hash)?;
        let mut files = StagedFiles::new(overwrite(self.overwrite));
        // The certificate last: an authority without it is none, so a crash leaves nothing that
        // could be used without its record.
        files.add(&record, &text, Audience::Owner)?;
        files.add(&self.ca_key, authority.key_pem(), Audience::Owner)?;
        files.add(&certificate, authority.root_pem(), Audience::Everybody)?;
        files.commit()?;

        let mut report = Report::done();
        report.line(format!(
            "CA of cluster {} until {}",
            authority.cluster(),
            date(authority.not_after())
        ));
        report.field("cluster", authority.cluster().as_str());
        report.field("not_after", date(authority.not_after()));
        report.field("key_hash", hex(&key_hash));
        let key = self.ca_key.display().to_string();
        let record_name = record.display().to_string();
        report.field("ca_key", key.as_str());
        report.field("record", record_name.as_str());
        tell_files(&[certificate, self.ca_key, record], &mut report);
        report.line(format!(
            "keep {key} and {record_name} off the nodes, and back both up"
        ));
        Ok(report)
    }
}

/// Whether a file would lie directly in a folder, whatever way their paths are written.
fn same_folder(folder: &Path, file: &Path) -> bool {
    let parent = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let known = |path: &Path| path.canonicalize().ok();
    match (known(folder), known(parent)) {
        (Some(folder), Some(parent)) => folder == parent,
        // Neither is there yet, so the texts are all there is.
        (None, None) => absolute(folder).ok() == absolute(parent).ok(),
        _ => false,
    }
}
