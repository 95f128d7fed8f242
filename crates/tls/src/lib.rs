//! TLS for what Onsale connects to: webhooks, other servers over https, PostgreSQL, Redis.
//!
//! There is one configuration. A server's certificate is verified, always, and so is that it bears the name that was
//! connected to. What is trusted is what the system trusts, or what is in the file that `SSL_CERT_FILE` names; it is read
//! once in a process. Nothing switches that off: what goes without TLS says so in its address.

#[cfg(feature = "postgres")]
pub mod postgres;
#[cfg(feature = "redis")]
pub mod redis;

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io;
use std::sync::{Arc, OnceLock};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
pub use tokio_rustls::client::TlsStream;
pub use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};

/// What is trusted, and what was in the way of reading it.
struct Trust {
    config: Arc<ClientConfig>,
    is_empty: bool,
    troubles: String,
}

fn trust() -> &'static Trust {
    static TRUST: OnceLock<Trust> = OnceLock::new();
    TRUST.get_or_init(|| {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        let is_empty = roots.is_empty();
        let mut troubles = String::new();
        for error in found.errors {
            let _ = write!(troubles, "; {error}");
        }
        // Named, so that it is this one whatever others a build may have.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Trust { config: Arc::new(config), is_empty, troubles }
    })
}

/// The configuration of every client.
#[must_use]
pub fn config() -> Arc<ClientConfig> {
    Arc::clone(&trust().config)
}

/// The name, or the IP address, that a server's certificate must bear.
///
/// # Errors
/// It is neither.
pub fn name(host: &str) -> io::Result<ServerName<'static>> {
    // An IPv6 address in a URL stands in brackets.
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let name = ServerName::try_from(host);
    name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// What is wrong with TLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// What happened.
    pub why: String,
    /// What to do about it.
    pub way_out: String,
}

impl Error for Wrong {}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.why, self.way_out)
    }
}

/// Speaks TLS to a host over a connection to it.
///
/// # Errors
/// The connection breaks, or there is something [`Wrong`] with TLS, most often with the certificate.
pub async fn connect<S>(host: &str, stream: S) -> io::Result<TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let connected = TlsConnector::from(config()).connect(name(host)?, stream).await;
    connected.map_err(|error| match explain(&error) {
        Some(wrong) => io::Error::new(io::ErrorKind::InvalidData, wrong),
        None => error,
    })
}

/// What is wrong with TLS, if that is why something failed, however deep that is in the error's causes.
#[must_use]
pub fn explain(error: &(dyn Error + 'static)) -> Option<Wrong> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(wrong) = error.downcast_ref::<Wrong>() {
            return Some(wrong.clone());
        }
        if let Some(error) = error.downcast_ref::<rustls::Error>() {
            return Some(Wrong { why: format!("TLS: {error}"), way_out: way_out(error) });
        }
        // What an error of this kind is made of is not its source.
        next = match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            Some(inner) => Some(inner as &(dyn Error + 'static)),
            None => error.source(),
        };
    }
    None
}

fn way_out(error: &rustls::Error) -> String {
    let wrong = match error {
        rustls::Error::InvalidCertificate(wrong) => wrong,
        rustls::Error::AlertReceived(AlertDescription::CertificateRequired) => {
            return "the server wants certificates of its clients, and none can be shown here: let it go by user and \
                    password (Redis: tls-auth-clients no; PostgreSQL: no clientcert, and no cert, in pg_hba.conf)"
                .to_owned();
        }
        _ => return "check that TLS is spoken at this port".to_owned(),
    };
    match wrong {
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "use a name in the address that the certificate bears".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "renew the certificate".to_owned()
        }
        _ => {
            let way = "add its authority to those that the system trusts, or name a PEM file of all that is to be \
                       trusted in SSL_CERT_FILE";
            match trust() {
                Trust { is_empty: true, troubles, .. } => {
                    format!("{way} (nothing is trusted now{troubles})")
                }
                _ => way.to_owned(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_found_in_the_causes_and_told_with_a_way_out() {
        let of = |error: CertificateError| rustls::Error::InvalidCertificate(error);
        let rows = [
            (of(CertificateError::UnknownIssuer), "invalid peer certificate", "SSL_CERT_FILE"),
            (of(CertificateError::NotValidForName), "NotValidForName", "a name in the address"),
            (of(CertificateError::Expired), "Expired", "renew"),
            (rustls::Error::DecryptError, "decrypt", "check that TLS is spoken"),
            (
                rustls::Error::AlertReceived(AlertDescription::CertificateRequired),
                "CertificateRequired",
                "tls-auth-clients no",
            ),
        ];
        for (error, why, way_out) in rows {
            let deep = io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
            let wrong = explain(&deep).unwrap();
            assert!(wrong.why.starts_with("TLS: ") && wrong.why.contains(why), "{wrong}");
            assert!(wrong.way_out.contains(way_out), "{wrong}");
            assert_eq!(explain(&io::Error::other(wrong.clone())), Some(wrong));
        }
        assert_eq!(explain(&io::Error::other("something else")), None);
        assert_eq!(explain(&io::Error::from(io::ErrorKind::UnexpectedEof)), None);
    }

    #[test]
    fn a_host_is_a_name_or_an_address() {
        for host in ["db.example.org", "127.0.0.1", "::1", "[::1]"] {
            assert!(name(host).is_ok(), "{host}");
        }
        assert!(name("not a name").is_err());
    }
}
