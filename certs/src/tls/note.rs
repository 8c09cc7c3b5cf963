//! Why one handshake refused the certificate of its peer. TLS libraries hand on what the peer may
//! know, so the exact reason goes beside them.

use std::sync::{Arc, OnceLock};

use crate::CertificateRefusal;

/// Keeps why one handshake refused the peer's certificate, for the end that refused it.
///
/// It is given to [`client_config_noting`](crate::client_config_noting) or
/// [`server_config_noting`](crate::server_config_noting) and asked after a handshake that failed.
/// A clone is the same note.
#[derive(Clone, Debug, Default)]
pub struct RefusalNote(Arc<OnceLock<CertificateRefusal>>);

impl RefusalNote {
    /// An empty note, for one handshake.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The exact reason, if this end has refused the certificate. It is not for the peer.
    #[must_use]
    pub fn refusal(&self) -> Option<&CertificateRefusal> {
        self.0.get()
    }

    /// The first reason stays: a handshake ends with it.
    pub(super) fn write(&self, refusal: &CertificateRefusal) {
        self.0.get_or_init(|| refusal.clone());
    }
}
