//! What lies in PEM files, section by section.

use std::fmt::Write as _;
use std::path::Path;

use quicraft_certs::{CertificateDer, CertificateFacts, read_public};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::{PemObject, SectionKind};
use zeroize::Zeroize;

use crate::failure::Failure;

/// A section of a PEM file.
pub(crate) type Section = (SectionKind, Vec<u8>);

/// The sections of a text. `path` is for errors. Of a private key only that it is there is
/// returned, and not its bytes.
pub(crate) fn sections(text: &[u8], path: &Path) -> Result<Vec<Section>, Failure> {
    let mut sections = Section::pem_slice_iter(text)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| {
            Failure::new(
                "bad_pem",
                format!("{} is no PEM file: {error}", path.display()),
            )
        })?;
    for (kind, der) in &mut sections {
        if is_private_key(*kind) {
            der.zeroize();
        }
    }
    if sections.is_empty() {
        return Err(Failure::new(
            "bad_pem",
            format!(
                "{} holds nothing that is known (a PEM file has lines such as -----BEGIN CERTIFICATE-----)",
                path.display()
            ),
        ));
    }
    Ok(sections)
}

/// Whether a section holds a private key, in any of its forms.
pub(crate) const fn is_private_key(kind: SectionKind) -> bool {
    matches!(
        kind,
        SectionKind::PrivateKey | SectionKind::EcPrivateKey | SectionKind::RsaPrivateKey
    )
}

/// All certificates of a file, at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Failure> {
    let text = read_public(path)?;
    let found: Vec<CertificateDer<'static>> = sections(&text, path)?
        .into_iter()
        .filter_map(|(kind, der)| (kind == SectionKind::Certificate).then(|| der.into()))
        .collect();
    if found.is_empty() {
        return Err(Failure::new(
            "no_certificate",
            format!("{} holds no certificate", path.display()),
        ));
    }
    Ok(found)
}

/// All revocation lists of a file.
pub(crate) fn crls(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, Failure> {
    let text = read_public(path)?;
    Ok(sections(&text, path)?
        .into_iter()
        .filter_map(|(kind, der)| (kind == SectionKind::Crl).then(|| der.into()))
        .collect())
}

/// The first certificate of a file and what it says: that of the node, where intermediates follow.
pub(crate) fn first_certificate(
    path: &Path,
) -> Result<(CertificateDer<'static>, CertificateFacts), Failure> {
    let mut all = certificates(path)?;
    let first = all.swap_remove(0);
    let facts = facts(&first, path)?;
    Ok((first, facts))
}

/// What a certificate says. `path` is for errors.
pub(crate) fn facts(der: &CertificateDer<'_>, path: &Path) -> Result<CertificateFacts, Failure> {
    CertificateFacts::read(der).map_err(|refusal| {
        Failure::new(
            refusal.label(),
            format!("a certificate in {}: {refusal}", path.display()),
        )
    })
}

/// A hash as text: lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let (Ok(()) | Err(_)) = write!(text, "{byte:02x}");
        text
    })
}
