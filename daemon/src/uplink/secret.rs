//! Passwords, read anew at each connect, so that a rotated one needs no restart. A secret's text is in no log and in no
//! error.

use std::path::{Path, PathBuf};

use tidegate_config::Secret;

/// The secret could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SecretError {
    /// The service manager has handed over no credentials.
    #[error("credential '{0}': CREDENTIALS_DIRECTORY is not set; add LoadCredential={0}:PATH to the unit")]
    NoCredentials(String),
    /// The file is not there, or not to be read by this user.
    #[error("password file {path}: {1}", path = .0.display())]
    Unreadable(PathBuf, std::io::Error),
    /// The variable is not set, or is not text.
    #[error("environment variable {0} is not set to a text")]
    NoVariable(String),
}

/// Reads a secret from where the configuration says. A line break at its end is not part of it.
pub(crate) fn read(secret: &Secret) -> Result<String, SecretError> {
    match secret {
        Secret::Env(name) => std::env::var(name).map_err(|_| SecretError::NoVariable(name.clone())),
        Secret::File(path) => read_file(path),
        Secret::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
            Some(directory) => read_file(&Path::new(&directory).join(name)),
            None => Err(SecretError::NoCredentials(name.clone())),
        },
    }
}

fn read_file(path: &Path) -> Result<String, SecretError> {
    let text = std::fs::read_to_string(path).map_err(|error| SecretError::Unreadable(path.into(), error))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::read;
    use tidegate_config::Secret;

    #[test]
    fn a_file_is_read_without_its_line_break() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, " se cret\r\n").unwrap();
        assert_eq!(read(&Secret::File(path)).unwrap(), " se cret");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = read(&Secret::File("/no/such/file".into())).unwrap_err().to_string();
        assert!(error.contains("/no/such/file"), "{error}");
        let error = read(&Secret::Env("TIDEGATE_NO_SUCH_VARIABLE".into())).unwrap_err().to_string();
        assert!(error.contains("TIDEGATE_NO_SUCH_VARIABLE"), "{error}");
    }
}
