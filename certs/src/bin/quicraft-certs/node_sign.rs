//! `node sign`: the certificate for a request. Of the request only the public key is used.

use std::path::PathBuf;

use clap::Args;
use quicraft_certs::{AuthorityError, CertificateRequest, ClusterName, NodeId, read_public};

use crate::arguments::{cluster_name, node_id};
use crate::authority::{AuthorityArgs, LifeArgs};
use crate::failure::Failure;
use crate::folder::{NodeFiles, certificate_file, expect_free, lacks_ca, overwrite};
use crate::report::Report;

/// At the CA: certify the key of a request; who the node is comes from --cluster and --id alone
#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// The request that `node csr` has made
    #[arg(long, value_name = "FILE")]
    csr: PathBuf,
    /// The cluster of the node: that of the CA
    #[arg(long, value_name = "NAME", value_parser = cluster_name)]
    cluster: ClusterName,
    /// The node id, 1 or more
    #[arg(long, value_name = "N", value_parser = node_id)]
    id: NodeId,
    #[command(flatten)]
    authority: AuthorityArgs,
    /// The folder for ca.crt and node-N.crt; made if needed
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    life: LifeArgs,
    /// Replace node-N.crt if it is there
    #[arg(long)]
    overwrite: bool,
}

impl Sign {
    pub(crate) fn run(self) -> Result<Report, Failure> {
        let mut report = Report::done();
        let mut open = self.authority.open()?;
        open.expect_cluster(&self.cluster)?;
        let request = self.read_request()?;
        open.refuse_revoked_key(&request.key_hash())?;
        let overwrite = overwrite(self.overwrite);
        expect_free(&certificate_file(&self.out, self.id), overwrite)?;
        let with_ca = lacks_ca(&self.out, open.authority.root_pem())?;
        let options = open.options(&self.life, &mut report)?;
        let certificate = open.authority.sign(self.id, &request, &options)?;
        open.take_down(&certificate)?;
        open.warn_of_others(&certificate, &mut report);
        NodeFiles {
            folder: &self.out,
            certificate: &certificate,
            key_pem: None,
            with_ca,
            overwrite,
        }
        .write(&mut report)?;
        report.line(format!(
            "bring ca.crt and node-{}.crt to the node, beside its key",
            self.id
        ));
        Ok(report)
    }

    fn read_request(&self) -> Result<CertificateRequest, Failure> {
        let shown = self.csr.display();
        let text = read_public(&self.csr)?;
        let request = CertificateRequest::from_pem(&text).map_err(|error| match error {
            AuthorityError::BadRequest { detail } => Failure::new(
                "bad_request",
                format!(
                    "{shown} cannot be signed: {detail}; make it with `quicraft-certs node csr` on \
                     the node"
                ),
            ),
            error => error.into(),
        })?;
        // Nothing is taken from it, but a request that names somebody else is the wrong file.
        if let Some(claimed) = request.claimed()
            && (claimed.node() != self.id || claimed.cluster() != &self.cluster)
        {
            return Err(Failure::new(
                "other_request",
                format!(
                    "{shown} was made for node {} of {}; type --id {} --cluster {}, or give the \
                     request of node {}",
                    claimed.node(),
                    claimed.cluster(),
                    claimed.node(),
                    claimed.cluster(),
                    self.id
                ),
            ));
        }
        Ok(request)
    }
}
