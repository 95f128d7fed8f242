//! Redis with and without TLS: `rediss://` and `redis://`.

use std::io;
use std::time::Duration;

use redis::aio::{MultiplexedConnection, PubSub};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _,
    RedisError, RedisResult,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::rustls::{self, AlertDescription};
use crate::{TlsStream, Wrong};

/// Reads an address: `redis://[user][:password@]host[:port][/database]`, or `rediss://…` for TLS.
///
/// # Errors
/// It is of another form.
pub fn parse(url: &str) -> RedisResult<ConnectionInfo> {
    // Not left to the client: there `#insecure` at the end means that nothing is verified.
    let Some(rest) = url.strip_prefix("rediss://") else { return url.into_connection_info() };
    let info = format!("redis://{rest}").into_connection_info()?;
    let secure = match info.addr() {
        ConnectionAddr::Tcp(host, port) if !rest.contains('#') => ConnectionAddr::TcpTls {
            host: host.clone(),
            port: *port,
            insecure: false,
            tls_params: None,
        },
        _ => {
            let rule = "rediss:// must lead to a host, and nothing can stand after a #";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, rule).into());
        }
    };
    Ok(info.set_addr(secure))
}

/// Reads addresses with commas between them. One without a scheme is like the first, but for host and port.
///
/// # Errors
/// One is of another form.
pub fn parse_all(urls: &str) -> RedisResult<Vec<ConnectionInfo>> {
    let mut found: Vec<ConnectionInfo> = Vec::new();
    for url in urls.split(',').map(str::trim) {
        let info = match found.first() {
            Some(first) if !url.contains("://") => at_place(first.clone(), url)
                .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "must be host:port"))?,
            _ => parse(url)?,
        };
        found.push(info);
    }
    Ok(found)
}

/// The same address with another host and port, `host:port`; without a host it is the same one. None: it is of another form.
#[must_use]
pub fn at_place(info: ConnectionInfo, place: &str) -> Option<ConnectionInfo> {
    let (told, port) = place.rsplit_once(':')?;
    let to: u16 = port.parse().ok()?;
    let mut addr = info.addr().clone();
    match &mut addr {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            *port = to;
            if !matches!(told, "" | "?") {
                told.clone_into(host);
            }
        }
        _ => return None,
    }
    Some(info.set_addr(addr))
}

/// Connects. An answer may take so long, and so may the connection.
///
/// # Errors
/// The server can't be reached or refuses us, or there is something wrong with TLS.
pub async fn connect(
    info: &ConnectionInfo,
    connect_wait: Duration,
    answer_wait: Duration,
) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(connect_wait))
        .set_response_timeout(Some(answer_wait));
    let ConnectionAddr::TcpTls { host, port, .. } = info.addr() else {
        let client = Client::open(info.clone())?;
        return client.get_multiplexed_async_connection_with_config(&config).await;
    };
    let secured = timeout(connect_wait, secured(host, *port)).await;
    let silent = |_| {
        let why = format!("TLS: no answer within {connect_wait:?}");
        let way_out = "check that TLS is spoken at this port".to_owned();
        io::Error::new(io::ErrorKind::InvalidData, Wrong { why, way_out })
    };
    let stream = secured.map_err(silent)??;
    let begun = MultiplexedConnection::new_with_config(info.redis_settings(), stream, config);
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let begun = timeout(answer_wait, begun).await.map_err(late)?;
    let (connection, driver) = begun.map_err(told_late)?;
    // It ends with the last clone of the connection.
    tokio::spawn(driver);
    Ok(connection)
}

/// What a server says of TLS only once it has seen our part of it. The client keeps no more than the text of such an error.
fn told_late(error: RedisError) -> RedisError {
    let wanted = rustls::Error::AlertReceived(AlertDescription::CertificateRequired);
    match crate::explain(&wanted) {
        Some(wrong) if error.to_string().contains(&wanted.to_string()) => {
            io::Error::new(io::ErrorKind::InvalidData, wrong).into()
        }
        _ => error,
    }
}

/// A connection of its own that is told what is published.
///
/// # Errors
/// As [`connect`].
pub async fn listen(info: &ConnectionInfo) -> RedisResult<PubSub> {
    match info.addr() {
        ConnectionAddr::TcpTls { host, port, .. } => {
            PubSub::new(info.redis_settings(), secured(host, *port).await?).await
        }
        _ => Client::open(info.clone())?.get_async_pubsub().await,
    }
}

async fn secured(host: &str, port: u16) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    crate::connect(host, stream).await
}
