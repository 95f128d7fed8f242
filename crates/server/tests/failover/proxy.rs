//! A way to the database that can be cut: then bytes go neither way and nothing is refused, as where a firewall drops
//! what comes.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// A way to a port of this machine. It ends with the test.
pub struct Proxy {
    pub port: u16,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    cut: Mutex<bool>,
    healed: Condvar,
    over: AtomicBool,
}

impl Gate {
    /// Waits as long as the way is cut.
    fn pass(&self) {
        let cut = self.cut.lock().unwrap();
        drop(self.healed.wait_while(cut, |cut| *cut).unwrap());
    }
}

impl Proxy {
    pub fn start(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let gate = Arc::new(Gate::default());
        let of_thread = gate.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if of_thread.over.load(Ordering::Relaxed) {
                    break;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (from, to) in [(&stream, &server), (&server, &stream)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let gate = of_thread.clone();
                    std::thread::spawn(move || carry(from, to, &gate));
                }
            }
        });
        Proxy { port, gate }
    }

    pub fn cut(&self) {
        *self.gate.cut.lock().unwrap() = true;
    }

    pub fn heal(&self) {
        *self.gate.cut.lock().unwrap() = false;
        self.gate.healed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.gate.over.store(true, Ordering::Relaxed);
        self.heal();
        // So that it comes to look.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream, gate: &Gate) {
    let mut buffer = vec![0; 64 << 10];
    from.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    loop {
        gate.pass();
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                match gate.over.load(Ordering::Relaxed) {
                    true => break,
                    false => continue,
                }
            }
            Err(_) => break,
        };
        gate.pass();
        if to.write_all(&buffer[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
