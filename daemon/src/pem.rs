//! Certificates and keys from PEM files, with errors that name the file.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file is missing or is not PEM of the kind it should be.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}", path = .path.display())]
pub(crate) struct PemError {
    path: PathBuf,
    why: String,
}

impl PemError {
    fn new(path: &Path, why: impl ToString) -> Self {
        PemError { path: path.into(), why: why.to_string() }
    }
}

/// All certificates of a file; at least one.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let fail = |error: Error| PemError::new(path, error);
    let found =
        CertificateDer::pem_file_iter(path).map_err(fail)?.collect::<Result<Vec<_>, _>>().map_err(fail)?;
    if found.is_empty() { Err(PemError::new(path, "no certificate in this file")) } else { Ok(found) }
}

/// The key of a file.
pub(crate) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| PemError::new(path, error))
}

/// The authorities of a file; at least one.
pub(crate) fn authorities(path: &Path) -> Result<RootCertStore, PemError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(path)? {
        store.add(certificate).map_err(|error| PemError::new(path, error))?;
    }
    Ok(store)
}
