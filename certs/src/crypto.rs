//! The cryptography that everything here uses. It must not know what it is used for.

use std::sync::{Arc, LazyLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

/// The cryptographic provider of every handshake and check. It is a value of our own, never the default of the
/// process: two libraries of a host may set that one, or set it differently.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    &PROVIDER
}

/// SHA-256, taken from the provider: the tree holds no second implementation of it.
#[expect(
    clippy::expect_used,
    reason = "the suite is a constant of TLS 1.3, and a hash of zeros would make all keys equal"
)]
pub(crate) fn sha256(data: &[u8]) -> [u8; 32] {
    let suite = TLS13_AES_128_GCM_SHA256
        .tls13()
        .expect("the suite is one of TLS 1.3");
    let mut digest = [0; 32];
    digest.copy_from_slice(suite.common.hash_provider.hash(data).as_ref());
    digest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_sha256() {
        // The first test vector of FIPS 180-2.
        let digest = sha256(b"abc");
        let text: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            text,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
