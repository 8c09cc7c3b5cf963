//! Tells when the revocation lists come to their end: before it, at it, and when nobody gets in any
//! more because of it. What follows from it is decided in the check of certificates.

use quicraft_certs::{CrlDue, CrlStage, Trust, UnixTime};

use crate::event::Event;

/// What was told of the list that is due first.
#[derive(Debug, Default)]
pub(super) struct CrlWatch {
    told: Option<CrlDue>,
}

impl CrlWatch {
    /// What there is to tell now: each stage of a list once.
    pub(super) fn look(&mut self, trust: &Trust, now: UnixTime) -> Option<Event> {
        let due = trust.crl_due(now);
        let due = due.filter(|due| due.stage > CrlStage::Fresh);
        if self.told == due {
            return None;
        }
        self.told.clone_from(&due);
        due.map(|due| Event::CrlDue {
            issuer: due.issuer,
            next_update: due.next_update,
            stage: due.stage,
        })
    }
}
