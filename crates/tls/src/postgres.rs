//! PostgreSQL with and without TLS, as `sslmode` in its address says.
//!
//! `disable`: without. `prefer`, which is the default: with TLS if the server has it. `require`: never without. Where TLS is
//! used the certificate and its name are verified, so `require` does what `verify-full` does in PostgreSQL's own programs.

use std::error::Error as _;
use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_postgres::config::{SslMode, SslNegotiation};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Error, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::{TlsStream, Wrong};

/// A request for TLS: its length, and a code in the place of a protocol's version.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

const MODES: &str = "sslmode must be disable, prefer or require; require verifies the certificate and its name here, as \
                     verify-full does elsewhere";
const ROOTS: &str = "sslrootcert is not known here: name a PEM file of all that is to be trusted in the environment's \
                     SSL_CERT_FILE";

const CLIENTS: &str = "sslcert and sslkey are not known here: no certificate of a client can be shown, so the database must go by user \
                       and password";

/// What a connection with TLS runs over.
pub type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

/// Reads the address of a database: a URL or a list of keys and values, as PostgreSQL's own programs take it.
///
/// # Errors
/// Why it makes no sense.
pub fn parse(url: &str) -> Result<Config, String> {
    let parsed: Result<Config, Error> = url.parse();
    let config = parsed.map_err(|error| {
        let why = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        let told = [
            ("`sslmode`", MODES),
            ("`sslrootcert`", ROOTS),
            ("`sslcert`", CLIENTS),
            ("`sslkey`", CLIENTS),
        ];
        let told = told.iter().find(|(option, _)| why.contains(option));
        told.map_or(why.clone(), |(_, rule)| (*rule).to_owned())
    })?;
    if config.get_ssl_negotiation() == SslNegotiation::Direct {
        return Err("sslnegotiation must be postgres: direct is not spoken here".to_owned());
    }
    Ok(config)
}

/// Connects, with or without TLS. The connection must be polled for the client to do anything.
///
/// # Errors
/// As [`Config::connect`]; [`explain`] tells those of TLS.
pub async fn connect(config: &Config) -> Result<(Client, Connection<Socket, Stream>), Error> {
    config.connect(MakeRustlsConnect::new((*crate::config()).clone())).await
}

/// What is wrong with TLS, if that is why there is no connection.
#[must_use]
pub fn explain(error: &Error) -> Option<Wrong> {
    if let Some(Wrong { why, way_out }) = crate::explain(error) {
        let way_out = format!("{way_out}; or go without TLS, {OVER}: sslmode=disable");
        return Some(Wrong { why, way_out });
    }
    match error.source()?.to_string().as_str() {
        "server does not support TLS" => Some(none()),
        "no hostname provided for TLS handshake" => Some(Wrong {
            why: "TLS: the address has no host whose certificate could be verified".to_owned(),
            way_out: format!("name one, or go without TLS, {OVER}: sslmode=disable"),
        }),
        _ => None,
    }
}

const OVER: &str = "over a network that can be trusted";

fn none() -> Wrong {
    Wrong {
        why: "sslmode=require, but the server does not speak TLS".to_owned(),
        way_out: format!("switch it on there (ssl = on), or go without, {OVER}: sslmode=disable"),
    }
}

/// Makes a connection for a client that can't speak TLS by itself; gives nothing where it is to go without.
///
/// # Errors
/// The server can't be reached, has no TLS though that is required, or there is something wrong with TLS.
pub async fn secured(
    config: &Config,
    host: &str,
    port: u16,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let mode = config.get_ssl_mode();
    if mode == SslMode::Disable {
        return Ok(None);
    }
    let mut stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    stream.write_all(&SSL_REQUEST).await?;
    match (stream.read_u8().await?, mode) {
        (b'S', _) => crate::connect(host, stream).await.map(Some),
        (_, SslMode::Prefer) => Ok(None),
        _ => Err(io::Error::new(io::ErrorKind::Unsupported, none())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_how_tls_is_used() {
        let mode =
            |option: &str| parse(&format!("postgres://u@h/n{option}")).map(|c| c.get_ssl_mode());
        assert_eq!(mode(""), Ok(SslMode::Prefer));
        assert_eq!(mode("?sslmode=disable"), Ok(SslMode::Disable));
        assert_eq!(mode("?sslmode=require&channel_binding=require"), Ok(SslMode::Require));
        let rows = [
            ("?sslmode=verify-full", "sslmode must be disable, prefer or require"),
            ("?sslmode=allow", "sslmode must be disable, prefer or require"),
            ("?sslrootcert=ca.pem", "SSL_CERT_FILE"),
            ("?sslcert=me.pem&sslkey=me.key", "no certificate of a client"),
            ("?sslkey=me.key", "no certificate of a client"),
            ("?sslnegotiation=direct", "sslnegotiation must be postgres"),
            ("?whatever=1", "whatever"),
        ];
        for (option, rule) in rows {
            let told = mode(option).unwrap_err();
            assert!(told.contains(rule), "{option}: {told}");
        }
    }
}
