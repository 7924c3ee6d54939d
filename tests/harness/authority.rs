//! A certificate authority of a test's own, made by the openssl command.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::must::Must;

/// An authority, and the folder with what it has issued.
#[derive(Debug)]
pub struct Authority {
    dir: TempDir,
}

const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

impl Authority {
    /// A new authority, with its certificate in `ca.crt`.
    pub fn new() -> Self {
        let authority = Self { dir: TempDir::new().must("make a temporary folder") };
        let [ca, key] = ["ca.crt", "ca.key"].map(|name| authority.path(name));
        openssl(&format!("req -x509 {NEW_KEY} -days 2 -subj /CN=ca -keyout {key} -out {ca}"));
        authority
    }

    /// Issues `NAME.crt` and `NAME.key` with this common name and these alternative names (as openssl writes them).
    pub fn issue(&self, name: &str, common_name: &str, alternatives: &str) {
        let [request, key, cert, extensions] =
            ["csr", "key", "crt", "ext"].map(|ending| self.path(&format!("{name}.{ending}")));
        let lines = format!("subjectAltName={alternatives}\nbasicConstraints=CA:FALSE\n");
        fs::write(&extensions, lines).must("write the extensions");
        openssl(&format!("req -new {NEW_KEY} -subj /CN={common_name} -keyout {key} -out {request}"));
        let [ca, ca_key] = ["ca.crt", "ca.key"].map(|name| self.path(name));
        openssl(&format!(
            "x509 -req -in {request} -CA {ca} -CAkey {ca_key} -CAcreateserial -days 2 -extfile {extensions} -out {cert}"
        ));
    }

    /// The path of a file of this authority.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().must("a path in UTF-8").to_owned()
    }
}

fn openssl(arguments: &str) {
    let output = Command::new("openssl").args(arguments.split_whitespace()).output();
    let output = output.must("run openssl (apt-get install openssl)");
    assert!(output.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}
