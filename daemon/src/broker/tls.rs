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
    use std::net::Ipv4Addr;
    use std::sync::Arc;

    use rustls::pki_types::PrivatePkcs8KeyDer;
    use rustls::version::{TLS12, TLS13};
    use rustls::{ProtocolVersion, ServerConfig, SupportedProtocolVersion};
    use tidegate_config::{Tls, TlsVersion, Url};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::client_config;
    use crate::broker::dial::Dialer;

    /// A broker whose certificate is for `broker.example`.
    struct Broker {
        alpn: &'static str,
        versions: &'static [&'static SupportedProtocolVersion],
    }

    const BROKER: Broker = Broker { alpn: "mqtt", versions: &[&TLS12, &TLS13] };

    /// What was agreed: the name asked for, the protocol, the version.
    type Agreed = (Option<String>, Option<Vec<u8>>, Option<ProtocolVersion>);

    /// An uplink with these settings dials the broker, by its address.
    fn dial(broker: &Broker, tls: Tls) -> Result<Agreed, String> {
        let signed = rcgen::generate_simple_self_signed(["broker.example".to_owned()]).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let ca = directory.path().join("ca.pem");
        std::fs::write(&ca, signed.cert.pem()).unwrap();
        let key = PrivatePkcs8KeyDer::from(signed.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(broker.versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![signed.cert.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![broker.alpn.as_bytes().to_vec()];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let url = Url { encrypted: true, ..Url::plain("127.0.0.1", port) };
            let mut settings = tidegate_config::Broker::new("plant-7", url.clone());
            settings.tls = Some(Tls { ca: Some(ca), ..tls });
            let accept = async {
                let (tcp, _) = listener.accept().await.unwrap();
                TlsAcceptor::from(Arc::new(config)).accept(tcp).await
            };
            let dialer = Dialer::new();
            let (accepted, dialled) = tokio::join!(accept, dialer.dial(&settings, &url));
            dialled.map_err(|error| error.to_string())?;
            let accepted = accepted.map_err(|error| error.to_string())?;
            let connection = accepted.get_ref().1;
            let name = connection.server_name().map(str::to_owned);
            Ok((name, connection.alpn_protocol().map(<[u8]>::to_vec), connection.protocol_version()))
        })
    }

    fn by_name() -> Tls {
        Tls { server_name: Some("broker.example".into()), ..Tls::default() }
    }

    #[test]
    fn the_broker_is_asked_for_by_server_name_and_has_to_have_it() {
        assert_eq!(dial(&BROKER, by_name()).unwrap().0.as_deref(), Some("broker.example"));
        let other = Tls { server_name: Some("other.example".into()), ..Tls::default() };
        for wrong in [Tls::default(), other] {
            let error = dial(&BROKER, wrong).unwrap_err();
            assert!(error.contains("certificate"), "{error}");
        }
    }

    #[test]
    fn a_protocol_is_agreed_on_if_it_is_offered() {
        let offering = |alpn: &[&str]| {
            let alpn = alpn.iter().map(|name| (*name).to_owned()).collect();
            dial(&Broker { alpn: "x-amzn-mqtt-ca", ..BROKER }, Tls { alpn, ..by_name() })
        };
        let agreed = offering(&["mqtt", "x-amzn-mqtt-ca"]).unwrap();
        assert_eq!(agreed.1.as_deref(), Some(&b"x-amzn-mqtt-ca"[..]));
        assert_eq!(offering(&[]).unwrap().1, None);
        assert!(offering(&["mqtt"]).is_err());
    }

    #[test]
    fn a_version_below_the_least_is_refused() {
        const OLD: Broker = Broker { versions: &[&TLS12], ..BROKER };
        assert_eq!(dial(&OLD, by_name()).unwrap().2, Some(ProtocolVersion::TLSv1_2));
        assert_eq!(dial(&BROKER, by_name()).unwrap().2, Some(ProtocolVersion::TLSv1_3));
        let strict = || Tls { version_min: TlsVersion::V13, ..by_name() };
        assert!(dial(&OLD, strict()).is_err());
        assert_eq!(dial(&BROKER, strict()).unwrap().2, Some(ProtocolVersion::TLSv1_3));
    }

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
