//! One address for several servers, as a load balancer gives it: a connection goes to the next server that takes it.

use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// It ends with the test.
pub struct Front {
    pub url: String,
    port: u16,
    inner: Arc<Inner>,
}

struct Inner {
    /// Ports of the servers; none where one is down.
    servers: Mutex<Vec<Option<u16>>>,
    next: AtomicUsize,
    over: AtomicBool,
}

impl Front {
    pub fn before(servers: Vec<u16>) -> Front {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let servers = Mutex::new(servers.into_iter().map(Some).collect());
        let (next, over) = (AtomicUsize::new(0), AtomicBool::new(false));
        let inner = Arc::new(Inner { servers, next, over });
        let of_thread = inner.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if of_thread.over.load(Ordering::Relaxed) {
                    break;
                }
                // Where nobody takes it, it is closed.
                let Some(server) = of_thread.connect() else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || carry(from, to));
                }
            }
        });
        Front { url: format!("http://127.0.0.1:{port}"), port, inner }
    }

    /// Says where one of the servers is now; none: it is down.
    pub fn set(&self, which: usize, port: Option<u16>) {
        self.inner.servers.lock().unwrap()[which] = port;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.inner.over.store(true, Ordering::Relaxed);
        // So that it comes to look.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Inner {
    fn connect(&self) -> Option<TcpStream> {
        let servers = self.servers.lock().unwrap().clone();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let in_turn = servers.iter().cycle().skip(first % servers.len()).take(servers.len());
        in_turn.flatten().find_map(|port| TcpStream::connect(("127.0.0.1", *port)).ok())
    }
}

/// Carries bytes one way until either end closes; then both are closed.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    // An end that is killed is how it is meant to end.
    let _ = io::copy(&mut from, &mut to);
    for end in [from, to] {
        let _ = end.shutdown(Shutdown::Both);
    }
}
