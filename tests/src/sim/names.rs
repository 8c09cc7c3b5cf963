//! Names that resolve to what a test says, and to something else a moment later.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use quicraft_transport::{PeerAddress, Resolver};

/// The names of a cluster, as all its nodes resolve them. Clones are the same names.
#[derive(Debug, Clone, Default)]
pub struct Names {
    known: Arc<Mutex<BTreeMap<String, Vec<SocketAddr>>>>,
}

impl Names {
    /// From now on `host` resolves to these addresses, with the ports that they have.
    pub fn set(&self, host: &str, addresses: Vec<SocketAddr>) {
        self.known().insert(host.to_owned(), addresses);
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Vec<SocketAddr>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, address: &PeerAddress) -> io::Result<Vec<SocketAddr>> {
        if let Ok(ip) = address.host().parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(ip, address.port())]);
        }
        match self.known().get(address.host()) {
            Some(found) => Ok(found.clone()),
            None => Err(io::Error::new(
                io::ErrorKind::NotFound,
                "nobody has this name",
            )),
        }
    }
}

impl Resolver for Names {
    fn resolve(&self, address: PeerAddress) -> BoxFuture<'static, io::Result<Vec<SocketAddr>>> {
        ready(self.find(&address)).boxed()
    }
}
