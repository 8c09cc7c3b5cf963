//! The subcommands and how a command line that makes no sense is answered.

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use quicraft_certs::{ClusterName, NodeId};

use crate::failure::Failure;
use crate::report::Report;
use crate::{
    bundle, ca_adopt, ca_init, crl, doctor, fingerprint, inspect, needs_renewal, node_csr,
    node_issue, node_sign, renew, revoke, verify,
};

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 it did not work, or the answer is no; 2 the command line makes no sense.
`needs-renewal` answers by its exit code: 0 renew now, 1 not yet, 2 error.
With --json there is one JSON object on stdout, for errors too.";

/// Certificates for the nodes of a Quicraft cluster
#[derive(Debug, Parser)]
#[command(name = "quicraft-certs", version, after_help = EXIT_CODES)]
pub(crate) struct Arguments {
    /// Print one JSON object on stdout, for errors too
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The certificate authority (CA) of a cluster
    #[command(subcommand)]
    Ca(Ca),
    /// The certificate of a node
    #[command(subcommand)]
    Node(Node),
    Renew(renew::Renew),
    Revoke(revoke::Revoke),
    Crl(crl::Crl),
    Bundle(bundle::Bundle),
    Inspect(inspect::Inspect),
    Verify(verify::Verify),
    NeedsRenewal(needs_renewal::NeedsRenewal),
    Fingerprint(fingerprint::Fingerprint),
    Doctor(doctor::Doctor),
}

#[derive(Debug, Subcommand)]
enum Ca {
    Init(ca_init::Init),
    Adopt(ca_adopt::Adopt),
}

#[derive(Debug, Subcommand)]
enum Node {
    Issue(node_issue::Issue),
    Csr(node_csr::Csr),
    Sign(node_sign::Sign),
}

impl Arguments {
    /// The words of the subcommand, as they were typed.
    pub(crate) const fn name(&self) -> &'static str {
        match &self.command {
            Command::Ca(Ca::Init(_)) => "ca init",
            Command::Ca(Ca::Adopt(_)) => "ca adopt",
            Command::Node(Node::Issue(_)) => "node issue",
            Command::Node(Node::Csr(_)) => "node csr",
            Command::Node(Node::Sign(_)) => "node sign",
            Command::Renew(_) => "renew",
            Command::Revoke(_) => "revoke",
            Command::Crl(_) => "crl",
            Command::Bundle(_) => "bundle",
            Command::Inspect(_) => "inspect",
            Command::Verify(_) => "verify",
            Command::NeedsRenewal(_) => "needs-renewal",
            Command::Fingerprint(_) => "fingerprint",
            Command::Doctor(_) => "doctor",
        }
    }

    pub(crate) fn run(self) -> Result<Report, Failure> {
        match self.command {
            Command::Ca(Ca::Init(command)) => command.run(),
            Command::Ca(Ca::Adopt(command)) => command.run(),
            Command::Node(Node::Issue(command)) => command.run(),
            Command::Node(Node::Csr(command)) => command.run(),
            Command::Node(Node::Sign(command)) => command.run(),
            Command::Renew(command) => command.run(),
            Command::Revoke(command) => command.run(),
            Command::Crl(command) => command.run(),
            Command::Bundle(command) => command.run(),
            Command::Inspect(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::NeedsRenewal(command) => command.run(),
            Command::Fingerprint(command) => command.run(),
            Command::Doctor(command) => command.run(),
        }
    }
}

/// Answers a command line that is no command: help and version go to stdout, everything else is
/// one line.
pub(crate) fn refuse(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let text = error.render().to_string();
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return match std::io::stdout().write_all(text.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let json = words.iter().any(|word| word == "--json");
    let line = if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        no_command(&text)
    } else {
        one_line(&text)
    };
    Failure::usage(line).print("", json)
}

/// Where a subcommand is missing clap shows the whole help, which is not one line.
fn no_command(help: &str) -> String {
    let usage = help
        .lines()
        .find_map(|line| line.trim().strip_prefix("Usage: "))
        .unwrap_or("quicraft-certs");
    let typed = usage.split(" [").next().unwrap_or(usage);
    format!("there is no command in it; type `{typed} --help` to see them")
}

/// Reads a node id, and says what one is.
pub(crate) fn node_id(text: &str) -> Result<NodeId, String> {
    text.parse()
        .map_err(|error| format!("{error}; type a number from 1 to {}", u64::MAX))
}

/// Reads the name of a cluster, and says what one is.
pub(crate) fn cluster_name(text: &str) -> Result<ClusterName, String> {
    text.parse()
        .map_err(|error| format!("{error}; type DNS labels in lower case, such as prod.example"))
}

/// clap explains over several paragraphs: what is wrong, what was meant, the usage. They become one
/// line, without the hint to `--help` that follows.
fn one_line(text: &str) -> String {
    let wanted = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let mut joined = String::new();
    for line in wanted {
        let line = line.strip_prefix("error: ").unwrap_or(line);
        if !joined.is_empty() {
            let ends = joined.ends_with(':');
            let starts_part = line.starts_with("Usage:") || line.starts_with("tip:");
            joined.push_str(if starts_part && !ends { "; " } else { " " });
        }
        joined.push_str(line);
    }
    joined
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_definition_of_the_command_line_holds() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_refusal_of_clap_becomes_one_line() {
        let words = ["quicraft-certs", "node", "issue", "--id", "0"];
        let error = Arguments::try_parse_from(words).unwrap_err();
        let line = one_line(&error.render().to_string());
        assert!(!line.contains('\n'), "{line}");
        assert!(
            line.starts_with("invalid value '0' for '--id <N>'"),
            "{line}"
        );
    }

    proptest! {
        /// Whatever is typed is parsed or refused in one line; nothing panics.
        #[test]
        fn any_words_are_parsed_or_refused(words in prop::collection::vec(
            prop_oneof![
                Just("node".to_owned()), Just("issue".to_owned()), Just("ca".to_owned()),
                Just("--id".to_owned()), Just("--cluster".to_owned()), Just("revoke".to_owned()),
                Just("--serial".to_owned()), Just("--days".to_owned()), "[ -~]{0,12}",
            ],
            0..8,
        )) {
            let words = std::iter::once("quicraft-certs".to_owned()).chain(words);
            if let Err(error) = Arguments::try_parse_from(words) {
                prop_assert!(!one_line(&error.render().to_string()).contains('\n'));
            }
        }
    }
}
