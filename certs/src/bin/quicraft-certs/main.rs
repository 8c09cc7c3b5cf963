//! The command `quicraft-certs`: certificates for the nodes of a cluster, in the hands of an
//! operator. Each subcommand is one file: it parses, calls the library, and says what happened.

mod arguments;
mod authority;
mod bundle;
mod ca_adopt;
mod ca_init;
mod crl;
mod date;
mod doctor;
mod failure;
mod fingerprint;
mod folder;
mod inspect;
mod needs_renewal;
mod node_csr;
mod node_issue;
mod node_sign;
mod pem;
mod record;
mod renew;
mod report;
mod revoke;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use arguments::Arguments;

fn main() -> ExitCode {
    let words: Vec<OsString> = std::env::args_os().collect();
    match Arguments::try_parse_from(&words) {
        Ok(arguments) => {
            let (command, json) = (arguments.name(), arguments.json);
            match arguments.run() {
                Ok(report) => report.print(command, json),
                Err(failure) => failure.print(command, json),
            }
        }
        Err(error) => arguments::refuse(&error, &words),
    }
}
