//! The way of the replication stream where it goes through TLS.
//!
//! The client that reads the stream would bring a second library of cryptography for that, and roots of its own. So it is
//! not told: it speaks into a socket in a folder that only this user may enter, and from there on it is this program's
//! TLS, as for every other connection.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use onsale_tls::TlsStream;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener};
use tokio::time::timeout;
use tokio_postgres::Config;

use crate::database::WAIT;

/// Connects to a database through TLS, for one client that connects to the socket in the folder that is given, as
/// PostgreSQL's own programs do; nothing is given where the database is to be spoken to without TLS.
///
/// # Errors
/// It can't be reached, has no TLS though that is required, or there is something wrong with TLS.
pub(super) async fn open(config: &Config, host: &str, port: u16) -> io::Result<Option<PathBuf>> {
    match secured(config, host, port, WAIT).await? {
        Some(far) => through(far, port).map(Some),
        None => Ok(None),
    }
}

async fn secured(
    config: &Config,
    host: &str,
    port: u16,
    limit: Duration,
) -> io::Result<Option<TlsStream<TcpStream>>> {
    let connected = timeout(limit, onsale_tls::postgres::secured(config, host, port)).await;
    let silent = format!("the server said nothing about TLS for {limit:?}");
    connected.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, silent))?
}

/// For one client, a way to what is already connected: the folder of the socket.
pub(super) fn through(
    mut far: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    port: u16,
) -> io::Result<PathBuf> {
    let folder = tempfile::Builder::new().prefix("onsale-").tempdir()?;
    let path = std::path::absolute(folder.path())?;
    let listener = UnixListener::bind(path.join(format!(".s.PGSQL.{port}")))?;
    tokio::spawn(async move {
        let near = timeout(WAIT, listener.accept()).await;
        // For one only, and nothing is left on the disk.
        drop((listener, folder));
        if let Ok(Ok((mut near, _))) = near {
            // Whoever reads the stream is told by its end.
            let _ = copy_bidirectional(&mut near, &mut far).await;
        }
    });
    Ok(path)
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    /// How long anything may take.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A server that takes connections, answers the request for TLS, or not even that, and says nothing more.
    async fn silent(answers: &'static [u8]) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    stream.read_exact(&mut [0; 8]).await.unwrap();
                    stream.write_all(answers).await.unwrap();
                    while stream.read_u8().await.is_ok() {}
                });
            }
        });
        port
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_that_says_nothing_about_tls_is_given_up() {
        let limit = Duration::from_millis(300);
        for answers in [&b""[..], b"S"] {
            let port = silent(answers).await;
            let url = format!("postgres://u:p@localhost:{port}/n?sslmode=require");
            let config = crate::database::parse(&url).unwrap();
            let error = timeout(PATIENCE, secured(&config, "127.0.0.1", port, limit)).await;
            let error = error.expect("it ends in time").expect_err("it is not open");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
            assert!(error.to_string().contains("nothing about TLS for 300ms"), "{error}");
        }
    }
}
