//! TLS towards devices: rustls with ring, versions 1.2 and 1.3.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tidegate_config::ListenerTls;

use crate::pem::{self, PemError};

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file is missing or is not PEM of the kind it should be.
    #[error(transparent)]
    File(#[from] PemError),
    /// The authorities of devices cannot be used.
    #[error("tls.client_ca: {0}")]
    ClientCa(#[from] rustls::server::VerifierBuilderError),
    /// Certificate and key do not fit.
    #[error("tls: {0}")]
    Rustls(#[from] rustls::Error),
}

/// The server's side of TLS, as the configuration wants it.
pub(super) fn server_config(tls: &ListenerTls) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let authorities = Arc::new(pem::authorities(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(authorities, provider);
            let verifier = if tls.require_client_cert { verifier } else { verifier.allow_unauthenticated() };
            builder.with_client_cert_verifier(verifier.build()?)
        }
    };
    let mut config = builder.with_single_cert(pem::certificates(&tls.cert)?, pem::private_key(&tls.key)?)?;
    // A device that comes back resumes by a ticket of its own: it saves the costly part of the handshake, and we keep
    // nothing for it.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = ring::Ticketer::new()?;
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::server_config;
    use tidegate_config::ListenerTls;

    #[test]
    fn files_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let signed = rcgen::generate_simple_self_signed(["gateway".to_owned()]).unwrap();
        std::fs::write(path("good.crt"), signed.cert.pem()).unwrap();
        std::fs::write(path("good.key"), signed.signing_key.serialize_pem()).unwrap();
        std::fs::write(path("empty.pem"), "").unwrap();
        let tls = |cert: &str, key: &str, ca: Option<&str>| ListenerTls {
            cert: path(cert),
            key: path(key),
            client_ca: ca.map(path),
            require_client_cert: ca.is_some(),
            identity: None,
        };
        assert!(server_config(&tls("good.crt", "good.key", Some("good.crt"))).is_ok());
        for (settings, said) in [
            (tls("missing.crt", "good.key", None), "missing.crt"),
            (tls("empty.pem", "good.key", None), "empty.pem"),
            (tls("good.crt", "good.crt", None), "good.crt"),
            (tls("good.crt", "good.key", Some("empty.pem")), "empty.pem"),
        ] {
            let error = server_config(&settings).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
