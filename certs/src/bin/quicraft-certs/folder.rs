//! The folder that a node gets: which files, and when which of them may be replaced.

use std::path::{Path, PathBuf};

use quicraft_certs::{
    Audience, CertificateDer, NodeCertificate, NodeId, Overwrite, StagedFiles, WriteError,
};
use rustls_pki_types::pem::PemObject;

use crate::date::date;
use crate::failure::Failure;
use crate::pem::{certificates, hex};
use crate::report::Report;

/// The name of the trusted CAs in every folder.
pub(crate) const CA_FILE: &str = "ca.crt";

/// The name of the CRLs in every folder.
pub(crate) const CRL_FILE: &str = "crl.pem";

pub(crate) fn certificate_file(folder: &Path, node: NodeId) -> PathBuf {
    folder.join(format!("node-{node}.crt"))
}

pub(crate) fn key_file(folder: &Path, node: NodeId) -> PathBuf {
    folder.join(format!("node-{node}.key"))
}

pub(crate) fn request_file(folder: &Path, node: NodeId) -> PathBuf {
    folder.join(format!("node-{node}.csr"))
}

pub(crate) const fn overwrite(is_asked: bool) -> Overwrite {
    if is_asked {
        Overwrite::Replace
    } else {
        Overwrite::Never
    }
}

/// Refuses a file that is there and may not be replaced: before anything is issued, so that no
/// certificate is in the record that nobody has.
pub(crate) fn expect_free(path: &Path, overwrite: Overwrite) -> Result<(), Failure> {
    if overwrite == Overwrite::Never && path.symlink_metadata().is_ok() {
        let file = path.to_path_buf();
        return Err(WriteError::Exists { file }.into());
    }
    Ok(())
}

/// Whether `ca.crt` must be written into a folder. One that holds the CA stays, alone or among
/// others: a bundle must not become smaller by a new certificate.
pub(crate) fn lacks_ca(folder: &Path, root_pem: &str) -> Result<bool, Failure> {
    let path = folder.join(CA_FILE);
    if !path.exists() {
        return Ok(true);
    }
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes())
        .map_err(|error| Failure::new("bad_ca", format!("the CA's certificate: {error}")))?;
    if certificates(&path)?.contains(&root) {
        return Ok(false);
    }
    Err(Failure::new(
        "other_ca",
        format!(
            "{} holds other CAs; give another --out, or trust both with `quicraft-certs bundle`",
            path.display()
        ),
    ))
}

/// What is written into a node's folder.
pub(crate) struct NodeFiles<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) certificate: &'a NodeCertificate,
    /// `None` where the node has its key already.
    pub(crate) key_pem: Option<&'a str>,
    pub(crate) with_ca: bool,
    pub(crate) overwrite: Overwrite,
}

impl NodeFiles<'_> {
    /// Writes the files, and says so.
    pub(crate) fn write(&self, report: &mut Report) -> Result<(), Failure> {
        let node = self.certificate.identity().node();
        let mut files = StagedFiles::new(self.overwrite);
        let mut written = Vec::new();
        if self.with_ca {
            let path = self.folder.join(CA_FILE);
            files.add(&path, self.certificate.root_pem(), Audience::Everybody)?;
            written.push(path);
        }
        // The key before its certificate: after a crash between the two, the certificate still
        // lies beside its place, where `doctor` finds it.
        if let Some(key_pem) = self.key_pem {
            let path = key_file(self.folder, node);
            files.add(&path, key_pem, Audience::Owner)?;
            written.push(path);
        }
        let path = certificate_file(self.folder, node);
        files.add(
            &path,
            self.certificate.certificate_pem(),
            Audience::Everybody,
        )?;
        written.push(path);
        files.commit()?;
        describe(self.certificate, report);
        tell_files(&written, report);
        Ok(())
    }
}

fn describe(certificate: &NodeCertificate, report: &mut Report) {
    let identity = certificate.identity();
    report.line(format!(
        "node {} of {}: certificate {} until {}",
        identity.node(),
        identity.cluster(),
        certificate.serial(),
        date(certificate.not_after())
    ));
    report.field("identity", identity.uri());
    report.field("cluster", identity.cluster().as_str());
    report.field("node", identity.node().get());
    report.field("serial", certificate.serial().to_string());
    report.field("not_before", date(certificate.not_before()));
    report.field("not_after", date(certificate.not_after()));
    report.field("key_hash", hex(&certificate.key_hash()));
}

/// Says which files were written.
pub(crate) fn tell_files(written: &[PathBuf], report: &mut Report) {
    let names: Vec<String> = written
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    report.line(format!("wrote {}", names.join(", ")));
    report.field("written", names);
}
