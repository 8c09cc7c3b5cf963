//! `node issue`: key and certificate of a node, made where the authority is.

use std::path::PathBuf;

use clap::Args;
use quicraft_certs::{ClusterName, NodeId};

use crate::arguments::{cluster_name, node_id};
use crate::authority::{AuthorityArgs, LifeArgs};
use crate::failure::Failure;
use crate::folder::{NodeFiles, certificate_file, expect_free, key_file, lacks_ca, overwrite};
use crate::report::Report;

/// Make the key and the certificate of a node
#[derive(Debug, Args)]
pub(crate) struct Issue {
    /// The cluster of the node: that of the CA
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    cluster: ClusterName,
    /// The node id, 1 or more; ids are never used again for another node
    #[arg(long, value_name = "N", value_parser = node_id)]
    id: NodeId,
    #[command(flatten)]
    authority: AuthorityArgs,
    /// The folder for ca.crt, node-N.crt and node-N.key; made if needed
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    life: LifeArgs,
    /// Replace node-N.crt and node-N.key if they are there
    #[arg(long)]
    overwrite: bool,
}

impl Issue {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let mut open = self.authority.open()?;
        open.expect_cluster(&self.cluster)?;
        let overwrite = overwrite(self.overwrite);
        expect_free(&certificate_file(&self.out, self.id), overwrite)?;
        expect_free(&key_file(&self.out, self.id), overwrite)?;
        let with_ca = lacks_ca(&self.out, open.authority.root_pem())?;
        let options = open.options(&self.life, &mut report)?;
        let issued = open.authority.issue_with(self.id, &options)?;
        open.take_down(issued.certificate())?;
        open.warn_of_others(issued.certificate(), &mut report);
        NodeFiles {
            folder: &self.out,
            certificate: issued.certificate(),
            key_pem: Some(issued.key_pem()),
            with_ca,
            overwrite,
        }
        .write(&mut report)?;
        report.line(format!(
            "whoever has the key can vote as node {}; it belongs on that node alone",
            self.id
        ));
        Ok(report)
    }
}
