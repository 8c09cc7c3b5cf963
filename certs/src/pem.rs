//! PEM text of something that was read before. The text that was read is not used again: an
//! operator may have put a key beside a certificate.

/// PEM text of DER bytes, under a label such as `CERTIFICATE`: base64 in lines of 64 characters
/// (RFC 7468).
#[must_use]
pub fn pem_text(label: &str, der: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    /// 48 bytes are 64 characters.
    const LINE_BYTES: usize = 48;

    let mut text = format!("-----BEGIN {label}-----\n");
    for line in der.chunks(LINE_BYTES) {
        for group in line.chunks(3) {
            let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
            let bits = (byte(0) << 16) | (byte(1) << 8) | byte(2);
            for position in 0..4_usize {
                if position > group.len() {
                    text.push('=');
                } else {
                    let index = (bits >> (18 - 6 * position)) & 0x3f;
                    text.push(char::from(ALPHABET[index as usize]));
                }
            }
        }
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

#[cfg(test)]
mod tests {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;

    use super::*;

    #[test]
    fn pem_text_is_read_back_at_every_length() {
        for length in 0..200_u8 {
            let bytes: Vec<u8> = (0..length).collect();
            let der = CertificateDer::from(bytes);
            let text = pem_text("CERTIFICATE", &der);
            assert!(text.lines().all(|line| line.len() <= 64), "{length}");
            let back = CertificateDer::from_pem_slice(text.as_bytes());
            assert_eq!(back.ok(), Some(der), "{length}");
        }
    }
}
