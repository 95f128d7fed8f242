//! The way of the replication stream where it goes through TLS.
//!
//! The client that reads the stream would bring a second library of cryptography for that, and roots of its own. So it is
//! not told: it speaks into a socket in a folder that only this user may enter, and from there on it is this program's
//! TLS, as for every other connection.

use std::io;
use std::path::PathBuf;

use tokio::io::copy_bidirectional;
use tokio::net::UnixListener;
use tokio::time::timeout;
use tokio_postgres::Config;

use crate::database::WAIT;

/// Connects to a database through TLS, for one client that connects to the socket in the folder that is given, as
/// PostgreSQL's own programs do; nothing is given where the database is to be spoken to without TLS.
///
/// # Errors
/// It can't be reached, has no TLS though that is required, or there is something wrong with TLS.
pub(super) async fn open(config: &Config, host: &str, port: u16) -> io::Result<Option<PathBuf>> {
    let connected = timeout(WAIT, onsale_tls::postgres::secured(config, host, port)).await;
    let Some(mut far) = connected.map_err(|_| io::ErrorKind::TimedOut)?? else { return Ok(None) };
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
    Ok(Some(path))
}
