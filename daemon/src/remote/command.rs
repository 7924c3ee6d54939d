//! A command with new settings: read, and checked to be from whom it should be.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{ED25519, UnparsedPublicKey};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;

/// What stands before the 32 bytes of an ed25519 key (RFC 8410, 4 and 10.1).
const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// New settings, and which they are.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    /// Greater than that of any command before.
    pub(crate) sequence: u64,
    /// Which gateway is meant.
    gateway: Option<String>,
    /// What is laid over the settings; as it was if it is left out.
    pub(crate) config: Option<String>,
    /// What stands beside the rules; as it was if it is left out.
    pub(crate) rules: Option<String>,
}

/// A command that somebody has signed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signed {
    /// The command, as text: that is what the signature is of.
    signed: String,
    /// In base64.
    signature: String,
}

/// Reads a command for this gateway. With `public_key` it has to be signed, and to name the gateway, so that what was
/// signed for one is of no use at another.
///
/// # Errors
/// Why it is none, in words for who sent it.
pub(crate) fn read(payload: &[u8], gateway: &str, public_key: Option<&Path>) -> Result<Command, String> {
    let command: Command = match public_key {
        Some(public_key) => {
            let signed: Signed = serde_json::from_slice(payload).map_err(|error| {
                format!("this gateway takes signed commands, `{{\"signed\": \"…\", \"signature\": \"…\"}}`: {error}")
            })?;
            verify(&signed, public_key)?;
            parse(signed.signed.as_bytes())?
        }
        None => parse(payload)?,
    };
    match &command.gateway {
        Some(meant) if meant != gateway => Err(format!("it is for gateway `{meant}`; this is `{gateway}`")),
        None if public_key.is_some() => Err("a signed command has to name its `gateway`".to_owned()),
        _ if command.config.is_none() && command.rules.is_none() => {
            Err("it has neither `config` nor `rules`".to_owned())
        }
        _ => Ok(command),
    }
}

fn parse(text: &[u8]) -> Result<Command, String> {
    serde_json::from_slice(text).map_err(|error| format!("it is no command: {error}"))
}

fn verify(signed: &Signed, public_key: &Path) -> Result<(), String> {
    let key = key(public_key)?;
    let signature = STANDARD.decode(signed.signature.trim());
    let signature = signature.map_err(|error| format!("the signature is not base64: {error}"))?;
    let key = UnparsedPublicKey::new(&ED25519, key);
    key.verify(signed.signed.as_bytes(), &signature)
        .map_err(|_| "the signature is not that of the gateway's `public_key`".to_owned())
}

/// Reads the key of a PEM file, as `openssl pkey -pubout` writes it.
///
/// # Errors
/// Why there is none.
pub(crate) fn key(path: &Path) -> Result<Vec<u8>, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", path.display());
    let info = SubjectPublicKeyInfoDer::from_pem_file(path).map_err(|error| failed(&error))?;
    let key = info.as_ref().strip_prefix(&ED25519_PREFIX).filter(|key| key.len() == 32);
    key.map(<[u8]>::to_vec).ok_or_else(|| failed(&"this is no ed25519 key"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    use super::{ED25519_PREFIX, key, read};

    fn pem(label: &str, der: &[u8]) -> String {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    }

    fn signed(pair: &Ed25519KeyPair, text: &str) -> String {
        let signature = STANDARD.encode(pair.sign(text.as_bytes()));
        serde_json::json!({ "signed": text, "signature": signature }).to_string()
    }

    #[test]
    fn commands_without_a_key() {
        let read = |text: &str| read(text.as_bytes(), "g", None);
        let command = read(r#"{"sequence": 7, "config": "x = 1"}"#).unwrap();
        assert_eq!((command.sequence, command.config.as_deref(), command.rules), (7, Some("x = 1"), None));
        assert!(read(r#"{"sequence": 7, "gateway": "g", "rules": ""}"#).is_ok());
        for (text, said) in [
            ("", "no command"),
            ("{}", "missing field `sequence`"),
            (r#"{"sequence": -1, "rules": ""}"#, "no command"),
            (r#"{"sequence": 1, "rule": ""}"#, "unknown field `rule`"),
            (r#"{"sequence": 1}"#, "neither `config` nor `rules`"),
            (r#"{"sequence": 1, "gateway": "h", "rules": ""}"#, "for gateway `h`; this is `g`"),
        ] {
            let why = read(text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }

    #[test]
    fn what_is_signed_is_the_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.pub");
        let [pair, other] =
            [[1; 32], [2; 32]].map(|seed| Ed25519KeyPair::from_seed_unchecked(&seed).unwrap());
        let der = [&ED25519_PREFIX, pair.public_key().as_ref()].concat();
        fs::write(&path, pem("PUBLIC KEY", &der)).unwrap();
        let read = |text: &str| read(text.as_bytes(), "g", Some(&path));
        let text = r#"{"sequence": 7, "gateway": "g", "config": "x = 1"}"#;
        assert_eq!(read(&signed(&pair, text)).unwrap().sequence, 7);
        let changed = signed(&pair, text).replace("x = 1", "x = 2");
        let unnamed = signed(&pair, r#"{"sequence": 7, "config": ""}"#);
        let garbled = r#"{"signed": "", "signature": "?"}"#.to_owned();
        for (text, said) in [
            (text.to_owned(), "takes signed commands"),
            (signed(&other, text), "not that of the gateway"),
            (changed, "not that of the gateway"),
            (unnamed, "has to name its `gateway`"),
            (garbled, "not base64"),
        ] {
            let why = read(&text).unwrap_err();
            assert!(why.contains(said), "{text}: {why}");
        }
    }

    #[test]
    fn keys_of_another_kind_are_none() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.pub");
        assert!(key(&path).unwrap_err().contains("config.pub"));
        for text in [String::new(), pem("PUBLIC KEY", b"something else"), pem("PRIVATE KEY", &[0; 44])] {
            fs::write(&path, text).unwrap();
            assert!(key(&path).is_err());
        }
    }
}
