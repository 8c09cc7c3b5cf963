//! `inspect`: what the certificates, requests and lists in a file say.

use std::path::{Path, PathBuf};

use clap::Args;
use quicraft_certs::{
    CertificateDer, CertificateFacts, CertificateRequest, CrlFacts, PeerCertificate, WallClock,
    pem_text, read_public,
};
use rustls_pki_types::CertificateRevocationListDer;
use rustls_pki_types::pem::SectionKind;
use serde_json::{Value, json};

use crate::date::{date, distance};
use crate::failure::Failure;
use crate::pem::{facts, hex, is_private_key, sections};
use crate::report::Report;

/// Show what a file says: certificates, requests, CRLs. It judges nothing: see verify
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// The file, in PEM
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

impl Inspect {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let text = read_public(&self.file)?;
        let now = WallClock::system().now().as_secs();
        let mut entries: Vec<Value> = Vec::new();
        for (kind, der) in sections(&text, &self.file)? {
            if !entries.is_empty() {
                report.line("");
            }
            let entry = match kind {
                SectionKind::Certificate => {
                    certificate(&CertificateDer::from(der), &self.file, now, &mut report)?
                }
                SectionKind::Crl => list(&der, &self.file, now, &mut report)?,
                SectionKind::Csr => request(&der, &self.file, &mut report)?,
                kind if is_private_key(kind) => {
                    report.line("private key: not shown; see `quicraft-certs fingerprint`");
                    json!({"kind": "private key"})
                }
                _ => {
                    report.line("a section of another kind");
                    json!({"kind": "other"})
                }
            };
            entries.push(entry);
        }
        report.field("file", self.file.display().to_string());
        report.field("entries", entries);
        Ok(report)
    }
}

/// The names of a list, or what stands for none.
fn joined(names: &[String]) -> String {
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

fn certificate(
    der: &CertificateDer<'static>,
    path: &Path,
    now: u64,
    report: &mut Report,
) -> Result<Value, Failure> {
    let facts = facts(der, path)?;
    let identity = PeerCertificate::from_chain(std::slice::from_ref(der))
        .map(|certificate| certificate.identity().clone());
    let authority = facts.authority.as_ref().map(|ca| {
        let depth = ca
            .path_length
            .map_or_else(|| "none".to_owned(), |depth| depth.to_string());
        format!(
            "yes, path length {depth}, bound to {}",
            joined(&ca.permitted_dns)
        )
    });
    report.line(match (&identity, &authority) {
        (_, Some(_)) => "certificate of a CA".to_owned(),
        (Ok(identity), None) => format!(
            "certificate of node {} of {}",
            identity.node(),
            identity.cluster()
        ),
        (Err(refusal), None) => format!("certificate of no node: {refusal}"),
    });
    let mut show = |name: &str, value: String| report.line(format!("  {name:<12} {value}"));
    show("subject", facts.subject.clone());
    show("issuer", facts.issuer.clone());
    show("serial", facts.serial.to_string());
    show("not before", when(facts.not_before, now));
    show("not after", when(facts.not_after, now));
    show("URI names", joined(&facts.uris));
    show("DNS names", joined(&facts.dns_names));
    show("usages", joined(&facts.usages));
    show("CA", authority.unwrap_or_else(|| "no".to_owned()));
    show("key", facts.key_kind.clone());
    show("key hash", hex(&facts.key_hash));
    show("SHA-256", hex(&facts.fingerprint));
    Ok(certificate_json(
        &facts,
        identity.ok().map(|identity| identity.uri()),
    ))
}

fn certificate_json(facts: &CertificateFacts, identity: Option<String>) -> Value {
    json!({
        "kind": if facts.authority.is_some() { "authority" } else { "certificate" },
        "identity": identity,
        "subject": facts.subject,
        "issuer": facts.issuer,
        "self_issued": facts.self_issued,
        "serial": facts.serial.to_string(),
        "not_before": date(facts.not_before),
        "not_after": date(facts.not_after),
        "uris": facts.uris,
        "dns_names": facts.dns_names,
        "usages": facts.usages,
        "path_length": facts.authority.as_ref().and_then(|ca| ca.path_length),
        "permitted_dns": facts.authority.as_ref().map(|ca| ca.permitted_dns.clone()),
        "key": facts.key_kind,
        "key_hash": hex(&facts.key_hash),
        "sha256": hex(&facts.fingerprint),
    })
}

fn when(time: u64, now: u64) -> String {
    format!("{} ({})", date(time), distance(now, time))
}

fn list(der: &[u8], path: &Path, now: u64, report: &mut Report) -> Result<Value, Failure> {
    let facts = CrlFacts::read(&CertificateRevocationListDer::from(der)).map_err(|refusal| {
        Failure::new(
            refusal.label(),
            format!("a CRL in {}: {refusal}", path.display()),
        )
    })?;
    let number = facts
        .number
        .map_or_else(|| "none".to_owned(), |number| number.to_string());
    let next = facts
        .next_update
        .map_or_else(|| "none".to_owned(), |time| when(time, now));
    let revoked: Vec<String> = facts.revoked.iter().map(ToString::to_string).collect();
    report.line("CRL");
    let mut show = |name: &str, value: String| report.line(format!("  {name:<12} {value}"));
    show("issuer", facts.issuer.clone());
    show("number", number);
    show("this update", when(facts.this_update, now));
    show("next update", next);
    show("revoked", joined(&revoked));
    Ok(json!({
        "kind": "crl",
        "issuer": facts.issuer,
        "number": facts.number,
        "this_update": date(facts.this_update),
        "next_update": facts.next_update.map(date),
        "revoked": revoked,
    }))
}

fn request(der: &[u8], path: &Path, report: &mut Report) -> Result<Value, Failure> {
    let text = pem_text("CERTIFICATE REQUEST", der);
    let request = CertificateRequest::from_pem(text.as_bytes())
        .map_err(|error| Failure::new("bad_request", format!("{}: {error}", path.display())))?;
    let claimed = request.claimed().map(ToString::to_string);
    report.line("request, signed by its own key");
    let mut show = |name: &str, value: String| report.line(format!("  {name:<12} {value}"));
    show(
        "asks for",
        claimed.clone().unwrap_or_else(|| "no identity".to_owned()),
    );
    show("key hash", hex(&request.key_hash()));
    Ok(json!({
        "kind": "request",
        "claimed": claimed,
        "key_hash": hex(&request.key_hash()),
    }))
}
