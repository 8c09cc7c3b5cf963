//! The cryptography that everything here uses. It must not know what it is used for.

use std::sync::{Arc, LazyLock};

use library::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::CryptoProvider;
#[cfg(feature = "aws-lc-rs")]
use rustls::crypto::aws_lc_rs as library;
#[cfg(not(feature = "aws-lc-rs"))]
use rustls::crypto::ring as library;
use rustls::sign::SigningKey;
use rustls_pki_types::PrivateKeyDer;

/// The cryptographic provider of every handshake and check. It is a value of our own, never the default of the
/// process: two libraries of a host may set that one, or set it differently.
pub(crate) fn provider() -> &'static Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(chosen()));
    &PROVIDER
}

#[cfg(not(feature = "aws-lc-rs"))]
fn chosen() -> CryptoProvider {
    library::default_provider()
}

/// With the hybrid key exchange first: traffic that is recorded today is not read by the quantum
/// computer of a later day. A peer that has none still gets the share of X25519, without another
/// round trip.
#[cfg(feature = "aws-lc-rs")]
fn chosen() -> CryptoProvider {
    use library::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};

    CryptoProvider {
        kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1],
        ..library::default_provider()
    }
}

/// The key in a form that can sign. The caller wipes its bytes.
pub(crate) fn signing_key(key: &PrivateKeyDer<'_>) -> Result<Arc<dyn SigningKey>, rustls::Error> {
    library::sign::any_supported_type(key)
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
