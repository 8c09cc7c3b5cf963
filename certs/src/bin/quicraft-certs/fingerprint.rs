//! `fingerprint`: the hash of a public key, as a roster pins it.

use std::path::PathBuf;

use clap::Args;
use quicraft_certs::{
    CertificateDer, CertificateRequest, pem_text, private_key_hash, read_private_key, read_public,
};
use rustls_pki_types::pem::SectionKind;

use crate::failure::Failure;
use crate::pem::{Section, facts, hex, is_private_key, sections};
use crate::report::Report;

/// Print the SHA-256 of a public key (SPKI), as a roster pins it
///
/// The same as: openssl x509 -in FILE -noout -pubkey | openssl pkey -pubin -outform DER | openssl
/// dgst -sha256. It survives a renewal that keeps the key.
#[derive(Debug, Args)]
pub(crate) struct Fingerprint {
    /// A certificate, a request, or a private key
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Fingerprint {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let text = read_public(&self.file)?;
        let mut found = sections(&text, &self.file)?;
        let first = found.swap_remove(0);
        let hash = hex(&self.hash(first)?);
        let mut report = Report::done();
        report.line(hash.as_str());
        report.field("file", self.file.display().to_string());
        report.field("key_hash", hash);
        Ok(report)
    }

    fn hash(&self, (kind, der): Section) -> Result<[u8; 32], Failure> {
        match kind {
            SectionKind::Certificate => Ok(facts(&CertificateDer::from(der), &self.file)?.key_hash),
            SectionKind::Csr => {
                let text = pem_text("CERTIFICATE REQUEST", &der);
                Ok(CertificateRequest::from_pem(text.as_bytes())?.key_hash())
            }
            kind if is_private_key(kind) => {
                // Read again, as a node reads a key: not if others can read it too.
                let pem = read_private_key(&self.file)?;
                Ok(private_key_hash(&pem, &self.file.display().to_string())?)
            }
            _ => Err(Failure::new(
                "no_key",
                format!(
                    "{} holds no key; give a certificate, a request or a private key",
                    self.file.display()
                ),
            )),
        }
    }
}
