//! Why a command did not do its work: one line that says what to type instead.

use std::error::Error;
use std::process::ExitCode;

use quicraft_certs::{
    AuthorityError, CertificateRefusal, CredentialError, InvalidTrust, WriteError,
};
use serde_json::json;

use crate::report::write_both;

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    /// A fixed word for scripts.
    reason: &'static str,
    text: String,
    exit: u8,
}

impl Failure {
    /// It did not work.
    pub(crate) fn new(reason: &'static str, text: impl Into<String>) -> Self {
        Self {
            reason,
            text: text.into(),
            exit: 1,
        }
    }

    /// The command line makes no sense.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self {
            reason: "usage",
            text: text.into(),
            exit: 2,
        }
    }

    /// The same, with another exit code.
    pub(crate) const fn exiting_with(mut self, code: u8) -> Self {
        self.exit = code;
        self
    }

    pub(crate) fn print(self, command: &str, json: bool) -> ExitCode {
        let line: Vec<&str> = self.text.split_whitespace().collect();
        let line = line.join(" ");
        if json {
            let object = json!({
                "ok": false,
                "command": command,
                "reason": self.reason,
                "error": line,
                "exit": self.exit,
            });
            return write_both(&format!("{object}\n"), "", self.exit);
        }
        write_both("", &format!("quicraft-certs: {line}\n"), self.exit)
    }
}

/// The text of an error and of what caused it, each said once.
pub(crate) fn explain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let own = error.to_string();
        if !text.contains(&own) {
            text = format!("{text}: {own}");
        }
        cause = error.source();
    }
    text
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Exists { file } => Self::new(
                "path_exists",
                format!(
                    "{} exists; give another --out, or add --overwrite to replace it",
                    file.display()
                ),
            ),
            error => Self::new("write", explain(&error)),
        }
    }
}

impl From<CredentialError> for Failure {
    fn from(error: CredentialError) -> Self {
        let reason = match &error {
            CredentialError::Read { .. }
            | CredentialError::NotAFile { .. }
            | CredentialError::FileTooLarge { .. } => "read",
            CredentialError::ExposedKey { .. } => "exposed_key",
            CredentialError::KeyMismatch { .. } => "key_mismatch",
            CredentialError::OtherCluster { .. } => "wrong_cluster",
            CredentialError::OtherNode { .. } => "wrong_node",
            CredentialError::Trust { .. } => "trust",
            CredentialError::Refused { refusal, .. } => refusal.label(),
            _ => "bad_file",
        };
        Self::new(reason, explain(&error))
    }
}

impl From<AuthorityError> for Failure {
    fn from(error: AuthorityError) -> Self {
        let reason = match error {
            AuthorityError::File(error) => return error.into(),
            AuthorityError::KeyMismatch => "key_mismatch",
            AuthorityError::BadRequest { .. } => "bad_request",
            AuthorityError::NotIssuedHere => "not_issued_here",
            AuthorityError::Name { .. } => "bad_name",
            AuthorityError::Date { .. } | AuthorityError::Dates { .. } => "bad_date",
            AuthorityError::Crypto { .. } => "crypto",
            _ => "bad_file",
        };
        Self::new(reason, explain(&error))
    }
}

impl From<CertificateRefusal> for Failure {
    fn from(refusal: CertificateRefusal) -> Self {
        Self::new(refusal.label(), explain(&refusal))
    }
}

impl From<InvalidTrust> for Failure {
    fn from(error: InvalidTrust) -> Self {
        Self::new("trust", explain(&error))
    }
}
