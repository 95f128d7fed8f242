//! A Redis Cluster: several servers that share the slots of keys between them.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use crate::server::{Server, wait_until};
use crate::{Certificate, start_redis};

/// Slots that a cluster shares out.
const SLOTS: usize = 16_384;
/// How long a server may take for one command, moving a large key included.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A Redis Cluster.
pub struct RedisCluster {
    /// Its servers: the primaries first, then the replicas as they were added.
    pub nodes: Vec<Server>,
    options: Vec<String>,
    certificate: Option<Certificate>,
}

/// A Redis Cluster of so many primaries, without replicas yet. It keeps nothing on the disk unless the options say so.
pub fn redis_cluster(primaries: usize, options: &[&str]) -> RedisCluster {
    let options = options.iter().map(|option| (*option).to_owned()).collect();
    make(primaries, RedisCluster { nodes: Vec::new(), options, certificate: None })
}

/// The same with TLS, which its nodes speak among themselves, too; each has a port for it ([`Server::tls_port`]).
pub fn redis_cluster_with_tls(primaries: usize, certificate: &Certificate) -> RedisCluster {
    let certificate = Some(certificate.clone());
    make(primaries, RedisCluster { nodes: Vec::new(), options: Vec::new(), certificate })
}

fn make(primaries: usize, mut cluster: RedisCluster) -> RedisCluster {
    for number in 0..primaries {
        let node = start_redis(&cluster.options, true, cluster.certificate.as_ref());
        let first = SLOTS * number / primaries;
        let last = SLOTS * (number + 1) / primaries - 1;
        say(&node, &["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        say(&node, &["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
        cluster.meet(node);
    }
    cluster.settle();
    cluster
}

impl RedisCluster {
    /// Where a client finds it: the addresses of all its servers, with commas.
    pub fn url(&self) -> String {
        let others = self.nodes[1..].iter().map(|node| format!(",127.0.0.1:{}", node.port()));
        self.nodes[0].url().to_owned() + &others.collect::<String>()
    }

    /// Adds a replica of a node, waits until it has all, and gives its number.
    pub fn add_replica(&mut self, of: usize) -> usize {
        let node = start_redis(&self.options, true, self.certificate.as_ref());
        self.meet(node);
        self.settle();
        let (replica, primary) = (self.nodes.len() - 1, id(&self.nodes[of]));
        say(&self.nodes[replica], &["CLUSTER", "REPLICATE", &primary]);
        wait_until("a replica that follows", || {
            let told = say(&self.nodes[replica], &["INFO", "replication"]);
            told.iter().any(|line| line == "master_link_status:up")
        });
        replica
    }

    /// Makes a replica the primary of what its own primary had, which may be dead.
    pub fn promote(&self, replica: usize) {
        say(&self.nodes[replica], &["CLUSTER", "FAILOVER", "TAKEOVER"]);
    }

    /// The slot of a key.
    pub fn slot_of(&self, key: &str) -> String {
        let said = say(&self.nodes[0], &["CLUSTER", "KEYSLOT", key]);
        said[0].trim_start_matches(':').to_owned()
    }

    /// Which node has the keys of a slot.
    ///
    /// # Panics
    /// Where there are none.
    pub fn holder_of(&self, slot: &str) -> usize {
        let has = |node: &Server| !say(node, &["CLUSTER", "GETKEYSINSLOT", slot, "1"]).is_empty();
        self.nodes.iter().position(has).expect("the slot has keys")
    }

    /// Moves a slot to another primary, one key at a time, as a resharding does it; `between` runs before each key and before
    /// the slot has its new owner. Gives how many keys there were.
    pub fn move_slot(&self, slot: &str, to: usize, mut between: impl FnMut()) -> usize {
        let (source, target) = (&self.nodes[self.holder_of(slot)], &self.nodes[to]);
        let (source_id, target_id) = (id(source), id(target));
        say(target, &["CLUSTER", "SETSLOT", slot, "IMPORTING", &source_id]);
        say(source, &["CLUSTER", "SETSLOT", slot, "MIGRATING", &target_id]);
        let (port, mut moved) = (target.port().to_string(), 0);
        loop {
            between();
            let keys = say(source, &["CLUSTER", "GETKEYSINSLOT", slot, "1"]);
            let Some(key) = keys.first() else { break };
            say(source, &["MIGRATE", "127.0.0.1", &port, key, "0", "10000"]);
            moved += 1;
        }
        // The new owner first: a slot is never without one. It takes an epoch above those that it knows of.
        self.agree();
        for node in [target, source] {
            say(node, &["CLUSTER", "SETSLOT", slot, "NODE", &target_id]);
        }
        self.agree();
        moved
    }

    /// Waits until all know of the same epoch. A slot whose new owner had a lower one than the old would be given back.
    fn agree(&self) {
        wait_until("a cluster whose nodes agree", || {
            let epoch = |node: &Server| {
                let told = say(node, &["CLUSTER", "INFO"]);
                told.into_iter().find(|line| line.starts_with("cluster_current_epoch:"))
            };
            let first = epoch(&self.nodes[0]);
            self.nodes.iter().all(|node| epoch(node) == first)
        });
    }

    fn meet(&mut self, node: Server) {
        if let Some(first) = self.nodes.first() {
            let port = if self.certificate.is_some() { node.tls_port() } else { node.port() };
            let (port, bus) = (port.to_string(), node.second_port().to_string());
            say(first, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        self.nodes.push(node);
    }

    /// Waits until all know all, and every slot has an owner.
    fn settle(&self) {
        let known = format!("cluster_known_nodes:{}", self.nodes.len());
        wait_until("a cluster whose nodes know each other", || {
            self.nodes.iter().all(|node| {
                let told = say(node, &["CLUSTER", "INFO"]);
                let has = |wanted: &str| told.iter().any(|line| line == wanted);
                has("cluster_state:ok") && has(&known)
            })
        });
    }
}

fn id(node: &Server) -> String {
    say(node, &["CLUSTER", "MYID"]).remove(0)
}

fn say(node: &Server, words: &[&str]) -> Vec<String> {
    ask_redis(node.port(), words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Asks the Redis on a port of this machine; gives its answer line by line, without what says how long each is.
///
/// # Errors
/// It can't be reached, does not answer in time, or answers with an error.
pub fn ask_redis(port: u16, words: &[&str]) -> io::Result<Vec<String>> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
    let parts: String = words.iter().map(|w| format!("${}\r\n{w}\r\n", w.len())).collect();
    // What follows is answered last, so all is there once that is.
    let end = "*2\r\n$4\r\nECHO\r\n$7\r\nthe-end\r\n";
    stream.write_all(format!("*{}\r\n{parts}{end}", words.len()).as_bytes())?;
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        match line? {
            line if line == "the-end" => return Ok(lines),
            line if line.starts_with('-') => return Err(io::Error::other(line)),
            line if line.starts_with(['$', '*']) => {}
            line => lines.push(line),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}
