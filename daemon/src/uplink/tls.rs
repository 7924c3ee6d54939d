//! TLS towards the cloud: rustls with ring; files are read anew at each connect.

use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use tidegate_config::{Tls, TlsVersion};

use crate::pem::{self, PemError};

/// TLS could not be set up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    /// A file is missing or is not PEM of the kind it should be.
    #[error(transparent)]
    File(#[from] PemError),
    /// The system has no certificate authorities.
    #[error("no certificate authorities found on this system; install ca-certificates or set tls.ca")]
    NoRoots,
    /// The host of the URL can be in no certificate.
    #[error("the host name cannot be in a certificate: {0}")]
    HostName(#[from] rustls::pki_types::InvalidDnsNameError),
    /// Certificate and key do not fit.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The client's side of TLS, as the configuration wants it.
pub(crate) fn client_config(tls: &Tls) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = match tls.version_min {
        TlsVersion::V12 => rustls::ALL_VERSIONS,
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)?
        .with_root_certificates(roots(tls.ca.as_deref())?);
    let mut config = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            builder.with_client_auth_cert(pem::certificates(cert)?, pem::private_key(key)?)?
        }
        _ => builder.with_no_client_auth(),
    };
    config.alpn_protocols = tls.alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Ok(Arc::new(config))
}

fn roots(ca: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let store = match ca {
        Some(path) => pem::authorities(path)?,
        None => {
            let mut store = RootCertStore::empty();
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            store
        }
    };
    if store.is_empty() { Err(TlsError::NoRoots) } else { Ok(store) }
}

#[cfg(test)]
mod tests {
    use super::client_config;
    use tidegate_config::Tls;

    #[test]
    fn a_file_that_is_missing_or_not_pem_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let tls = Tls { ca: Some(path.clone()), ..Tls::default() };
        for content in [None, Some("no pem")] {
            if let Some(content) = content {
                std::fs::write(&path, content).unwrap();
            }
            let error = client_config(&tls).unwrap_err().to_string();
            assert!(error.contains("ca.pem"), "{error}");
        }
    }
}
