//! `node csr`: the key of a node, made on the node, and the request for its certificate.

use std::path::PathBuf;

use clap::Args;
use quicraft_certs::{
    Audience, ClusterName, NodeId, NodeIdentity, NodeRequest, StagedFiles, read_private_key,
};

use crate::arguments::{cluster_name, node_id};
use crate::failure::Failure;
use crate::folder::{key_file, overwrite, request_file, tell_files};
use crate::pem::hex;
use crate::report::Report;

/// On the node: make its key, which stays there, and a request for the CA
#[derive(Debug, Args)]
pub(crate) struct Csr {
    /// The cluster of the node
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    cluster: ClusterName,
    /// The node id, 1 or more
    #[arg(long, value_name = "N", value_parser = node_id)]
    id: NodeId,
    /// The folder for node-N.key and node-N.csr; made if needed
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Use this key instead of making one
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Replace node-N.key and node-N.csr if they are there
    #[arg(long)]
    overwrite: bool,
}

impl Csr {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let identity = NodeIdentity::new(self.cluster, self.id);
        let request = match &self.key {
            None => NodeRequest::new(&identity)?,
            Some(path) => {
                let pem = read_private_key(path)?;
                let text = str::from_utf8(&pem).map_err(|_| {
                    Failure::new("bad_key", format!("{} is no PEM file", path.display()))
                })?;
                NodeRequest::with_key(&identity, text)?
            }
        };
        let mut files = StagedFiles::new(overwrite(self.overwrite));
        let mut written = Vec::new();
        if self.key.is_none() {
            let path = key_file(&self.out, self.id);
            files.add(&path, request.key_pem(), Audience::Owner)?;
            written.push(path);
        }
        let path = request_file(&self.out, self.id);
        files.add(&path, request.request_pem(), Audience::Everybody)?;
        written.push(path.clone());
        files.commit()?;

        let mut report = Report::done();
        report.line(format!("request of {identity}"));
        report.field("identity", identity.uri());
        report.field("cluster", identity.cluster().as_str());
        report.field("node", identity.node().get());
        report.field("key_hash", hex(&request.key_hash()));
        tell_files(&written, &mut report);
        report.line(format!(
            "send {} to the CA, and there type: quicraft-certs node sign --csr {} --cluster {} --id \
             {} --ca DIR --ca-key FILE --out DIR",
            path.display(),
            path.file_name().unwrap_or_default().display(),
            identity.cluster(),
            identity.node()
        ));
        Ok(report)
    }
}
