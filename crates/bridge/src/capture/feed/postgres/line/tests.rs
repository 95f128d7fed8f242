//! Servers that say nothing, that end the feed, and that are only idle.

use std::future::Future;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that does with each connection what a test says.
async fn server<F: Future<Output = ()> + Send + 'static>(
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

async fn opened(config: ReplicationConfig, limits: Limits) -> Result<Line, Error> {
    timeout(PATIENCE, Line::open(config, limits, |_| Ok(()))).await.expect("it ends in time")
}

async fn next(line: &mut Line) -> Result<ReplicationEvent, Error> {
    timeout(PATIENCE, line.next()).await.expect("it comes in time")
}

fn at(address: SocketAddr) -> ReplicationConfig {
    let mut config = ReplicationConfig::new("127.0.0.1", "user", "", "db", "slot", "slot");
    config.port = address.port();
    config
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag], length.as_slice(), body].concat()
}

/// Answers as PostgreSQL does until changes are to be sent.
async fn begin_as_postgres(stream: &mut TcpStream) {
    let length = stream.read_u32().await.unwrap() as usize;
    stream.read_exact(&mut vec![0; length - 4]).await.unwrap();
    let ready = message(b'Z', b"I");
    let welcome = [message(b'R', &[0; 4]), ready.clone()].concat();
    stream.write_all(&welcome).await.unwrap();
    for answer in 0..2 {
        assert_eq!(stream.read_u8().await.unwrap(), b'Q');
        let length = stream.read_u32().await.unwrap() as usize;
        stream.read_exact(&mut vec![0; length - 4]).await.unwrap();
        let column = |text: &[u8]| [&[0, 0, 0, u8::try_from(text.len()).unwrap()], text].concat();
        let row = [vec![0, 4], column(b"1"), column(b"1"), column(b"0/1"), column(b"db")].concat();
        let who = [message(b'D', &row), message(b'C', b"IDENTIFY_SYSTEM\0"), ready.clone()];
        let answers = [who.concat(), message(b'W', &[0; 3])];
        stream.write_all(&answers[answer]).await.unwrap();
    }
}

fn keep_alive() -> Vec<u8> {
    message(b'd', &[b"k".as_slice(), &[0; 17]].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_the_connection_and_says_nothing_is_given_up() {
    let address = server(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let limits = Limits { open: Duration::from_millis(300), ..Limits::default() };
    let error = opened(at(address), limits).await.err().expect("it is not open");
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("sent nothing for 300ms"), "{error}");
}

/// Whoever does not wait for it any more leaves no connection behind.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_nobody_waits_for_is_ended() {
    let (seen, mut ended) = watch::channel(0);
    let address = server(move |mut stream| {
        let seen = seen.clone();
        async move {
            seen.send_modify(|connections| *connections += 1);
            while stream.read_u8().await.is_ok() {}
            seen.send_modify(|connections| *connections -= 1);
        }
    })
    .await;
    let limits = Limits { open: PATIENCE * 10, ..Limits::default() };
    {
        let opening = Line::open(at(address), limits, |_| Ok(()));
        tokio::select! {
            _ = opening => panic!("it can't be open"),
            is_there = timeout(PATIENCE, ended.wait_for(|connections| *connections == 1)) => {
                is_there.expect("it connects").unwrap();
            }
        }
    }
    let is_ended = timeout(PATIENCE, ended.wait_for(|connections| *connections == 0)).await;
    is_ended.expect("the connection ends").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_says_nothing_any_more_is_given_up() {
    let address = server(|mut stream| async move {
        begin_as_postgres(&mut stream).await;
        stream.write_all(&keep_alive()).await.unwrap();
        while stream.read_u8().await.is_ok() {}
    })
    .await;
    let limits = Limits { silence: Duration::from_secs(1), ..Limits::default() };
    let mut line = opened(at(address), limits).await.unwrap();
    assert!(matches!(next(&mut line).await, Ok(ReplicationEvent::KeepAlive { .. })));
    let error = next(&mut line).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(error.to_string().contains("sent nothing for 1s"), "{error}");
}

/// Behind the tunnel that the stream goes through where it goes through TLS, a server that is silent from the first is given up as
/// soon, and one that falls silent.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_server_behind_the_tunnel_is_given_up() {
    for begins in [false, true] {
        let address = server(move |mut stream| async move {
            if begins {
                begin_as_postgres(&mut stream).await;
                stream.write_all(&keep_alive()).await.unwrap();
            }
            while stream.read_u8().await.is_ok() {}
        })
        .await;
        let far = TcpStream::connect(address).await.unwrap();
        let mut config = at(address);
        config.host = crate::capture::feed::tunnel::through(far, address.port())
            .unwrap()
            .display()
            .to_string();
        assert!(config.is_unix_socket());
        let limits = match begins {
            true => Limits { silence: Duration::from_secs(1), ..Limits::default() },
            false => Limits { open: Duration::from_millis(300), ..Limits::default() },
        };
        let error = match opened(config, limits).await {
            Ok(mut line) => {
                assert!(begins && next(&mut line).await.is_ok());
                next(&mut line).await.unwrap_err()
            }
            Err(error) => error,
        };
        assert!(error.is_transient(), "{error}");
        let rule = if begins { "sent nothing for 1s" } else { "sent nothing for 300ms" };
        assert!(error.to_string().contains(rule), "{error}");
    }
}

/// However much comes before it, also as much as the runtime looks at in one turn.
#[tokio::test(flavor = "multi_thread")]
async fn why_the_server_ended_the_feed_is_told() {
    for before in (0..=260).step_by(4).chain(124..132).chain(252..260) {
        let address = server(move |mut stream| async move {
            begin_as_postgres(&mut stream).await;
            let why = message(b'E', b"SFATAL\0C57P01\0Mthe administrator says so\0\0");
            let sent = [keep_alive().repeat(before), why].concat();
            stream.write_all(&sent).await.unwrap();
            while stream.read_u8().await.is_ok() {}
        })
        .await;
        let mut line = opened(at(address), Limits::default()).await.unwrap();
        let error = loop {
            match next(&mut line).await {
                Ok(_) => {}
                Err(error) => break error.to_string(),
            }
        };
        assert!(error.contains("the administrator says so"), "after {before}: {error}");
    }
}

/// A real server that has nothing to tell is heard of in time, and one behind a line that went dead is not.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_server_is_not_a_silent_one() {
    let postgres = onsale_services::postgres();
    let mut db = crate::database::Database::open(postgres.url()).await.unwrap();
    db.run("CREATE TABLE t (n INT); CREATE PUBLICATION slot FOR TABLE t").await.unwrap();
    db.run("SELECT pg_create_logical_replication_slot('slot', 'pgoutput')").await.unwrap();
    let parsed = crate::database::parse(postgres.url()).unwrap();
    let far = SocketAddr::from(([127, 0, 0, 1], parsed.get_ports()[0]));
    let (dead, is_dead) = watch::channel(false);
    let proxy = server(move |mut near| {
        let mut is_dead = is_dead.clone();
        async move {
            let mut far = TcpStream::connect(far).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                dies = is_dead.wait_for(|dead| *dead) => drop(dies),
            }
            std::future::pending::<()>().await;
        }
    })
    .await;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let mut config = at(proxy);
    config.user = text(parsed.get_user());
    config.password = parsed
        .get_password()
        .map_or_else(String::new, |password| String::from_utf8(password.to_vec()).unwrap());
    config.database = text(parsed.get_dbname());
    let silence = Duration::from_secs(6);
    let limits = Limits { silence, ..Limits::default() };
    let mut line = opened(config, limits).await.unwrap();
    let begin = Instant::now();
    while begin.elapsed() < silence * 3 {
        next(&mut line).await.expect("it is heard of");
    }
    dead.send_replace(true);
    let error = loop {
        match next(&mut line).await {
            Ok(_) => {}
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("sent nothing for 6s"), "{error}");
}
