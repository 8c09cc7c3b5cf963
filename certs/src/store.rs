//! The current credentials of a node, and how new ones take their place. It must not know
//! connections: a replacement acts on new handshakes, live links are swept by their owner, who is
//! told of it.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;
use rustls_pki_types::UnixTime;
use thiserror::Error;

use crate::log_limit::LogLimit;
use crate::{CertificateRefusal, CredentialError, Credentials, NodeIdentity, PeerRole, WallClock};

/// What is told of every refused certificate.
type Observer = Box<dyn Fn(PeerRole, &CertificateRefusal) + Send + Sync>;

/// Who is told of a replacement, while it wants to be.
type Follower = Box<dyn Fn() -> bool + Send + Sync>;

/// Holds the credentials that new handshakes use.
///
/// TLS configurations read it at every handshake, so credentials are replaced without a restart
/// and without touching a live link. All of them change as one: no handshake sees a new
/// certificate with old trust.
pub struct CredentialStore {
    identity: NodeIdentity,
    clock: WallClock,
    current: ArcSwap<Generation>,
    followers: Mutex<Vec<Follower>>,
    observer: OnceLock<Observer>,
    log_limit: LogLimit,
}

struct Generation {
    number: u64,
    credentials: Arc<Credentials>,
}

impl CredentialStore {
    /// Starts with credentials; they fix who this node is, and which clock is used.
    #[must_use]
    pub fn new(credentials: Credentials) -> Arc<Self> {
        Arc::new(Self {
            identity: credentials.identity().clone(),
            clock: credentials.clock().clone(),
            current: ArcSwap::from_pointee(Generation {
                number: 1,
                credentials: Arc::new(credentials),
            }),
            followers: Mutex::default(),
            observer: OnceLock::new(),
            log_limit: LogLimit::new(),
        })
    }

    /// The credentials that the next handshake uses.
    #[must_use]
    pub fn current(&self) -> Arc<Credentials> {
        Arc::clone(&self.current.load().credentials)
    }

    /// Replaces the credentials for all handshakes from now on.
    ///
    /// Whoever owns live links should check them again afterwards, with
    /// [`PeerCertificate::recheck`](crate::PeerCertificate::recheck): the new trust may no longer
    /// include a peer.
    ///
    /// # Errors
    ///
    /// [`ReplaceError`]; the former credentials stay in use. New ones with a CRL that is stale beyond
    /// its grace are refused as well.
    pub fn replace(&self, credentials: Credentials) -> Result<(), ReplaceError> {
        if credentials.identity() != &self.identity {
            return Err(ReplaceError::OtherIdentity {
                own: self.identity.clone(),
                found: credentials.identity().clone(),
            });
        }
        // They were valid when they were loaded, which may be long ago.
        credentials.verify(self.now())?;
        let credentials = Arc::new(credentials);
        // Two replacements at once both take effect, one after the other, each with a number.
        self.current.rcu(|former| Generation {
            number: former.number.saturating_add(1),
            credentials: Arc::clone(&credentials),
        });
        let generation = self.generation();
        self.followers().retain(|follower| follower());
        tracing::info!(
            target: "quicraft::link",
            node = %self.identity.node(),
            generation,
            "credentials replaced"
        );
        Ok(())
    }

    /// Who this node is; it never changes.
    #[must_use]
    pub fn identity(&self) -> NodeIdentity {
        self.identity.clone()
    }

    /// Counts the replacements: 1 at first, one more with each. A sweep of live links is due when
    /// it has changed.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.current.load().number
    }

    /// Names who is told of each replacement, for as long as it returns `true`: the owner of live
    /// links, who sweeps them then. It must be quick and must not replace credentials itself.
    pub fn on_replace(&self, follower: impl Fn() -> bool + Send + Sync + 'static) {
        self.followers().push(Box::new(follower));
    }

    fn followers(&self) -> std::sync::MutexGuard<'_, Vec<Follower>> {
        // A follower that panics leaves the list whole.
        self.followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The time by which certificates are judged.
    #[must_use]
    pub fn now(&self) -> UnixTime {
        self.clock.now()
    }

    /// Names who is told of every certificate that a handshake refuses, to count it by
    /// [`CertificateRefusal::label`]. The role is that of the peer. The log is bounded, this is
    /// not.
    ///
    /// It runs inside the handshake, so it must be quick. The peer has not proven that it holds
    /// the key of the certificate: nothing about a node may change because of it.
    ///
    /// Returns whether it was taken; there can be one only, for the life of the store.
    pub fn on_refusal(
        &self,
        observer: impl Fn(PeerRole, &CertificateRefusal) + Send + Sync + 'static,
    ) -> bool {
        self.observer.set(Box::new(observer)).is_ok()
    }

    /// Tells the observer, and the log within its bounds.
    pub(crate) fn tell(&self, role: PeerRole, refusal: &CertificateRefusal) {
        if let Some(observer) = self.observer.get() {
            observer(role, refusal);
        }
        let Some(left_out) = self.log_limit.admit(self.now()) else {
            return;
        };
        tracing::warn!(
            target: "quicraft::link",
            node = %self.identity.node(),
            %role,
            reason = refusal.label(),
            left_out,
            "certificate of a peer refused: {refusal}"
        );
    }

    pub(crate) fn time_provider(&self) -> Arc<WallClock> {
        Arc::new(self.clock.clone())
    }
}

impl fmt::Debug for CredentialStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialStore")
            .field("identity", &self.identity.uri())
            .field("generation", &self.generation())
            .finish_non_exhaustive()
    }
}

/// Why credentials do not take the place of the former ones.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ReplaceError {
    /// They are those of another node or cluster. A node does not change who it is while it runs.
    #[error("the new credentials are those of {found}, this node is {own}")]
    OtherIdentity {
        /// Who this node is.
        own: NodeIdentity,
        /// Whose the new credentials are.
        found: NodeIdentity,
    },
    /// They are not valid any more, or not by this node's clock.
    #[error("the new credentials are not valid now")]
    NotValid(#[from] CredentialError),
}
