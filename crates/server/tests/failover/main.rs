//! Two servers over one PostgreSQL, an active one and a standby, as processes of their own under load. The active one is
//! killed, frozen past its lease, frozen while its append waits in the database, and cut from the database: each time
//! sales go on with the other, nothing that was told is lost or contradicted, and the one that was
//! taken over from answers nothing more. And the database itself is killed.
//!
//! `ONSALE_FAILOVERS` says how often (30); `ONSALE_SEED` where the seeds begin.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod buyers;
#[path = "../support/process.rs"]
mod process;
mod proxy;
mod refused;
mod replicated;
mod streams;
mod tls;

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use buyers::{Crowd, EVENT, client, position};
use onsale_services::{Authority, Server, postgres, postgres_with_tls, wait_until};
use process::{KEY, Process};
use proxy::Proxy;
use rustix::process::{Pid, Signal, kill_process};

const BUYERS: u64 = 4;
/// How soon sales must go on.
const GO_ON: Duration = Duration::from_secs(10);
/// How long a single request of the test itself may take.
const PATIENCE: Duration = Duration::from_secs(20);
const SETTINGS: [(&str, &str); 5] = [
    ("ONSALE_DURABILITY", "os"),
    ("ONSALE_JOURNAL_LEASE_MS", "400"),
    ("ONSALE_JOURNAL_WAIT_MS", "6000"),
    ("ONSALE_SHARDS", "2"),
    ("RUST_LOG", "error"),
];

/// An event that never sells out.
const DEFINITION: &str = r#"{"name":"E","currency":"EUR","quotas":[{"id":"q","capacity":50000000}],
    "ticket_types":[{"id":"free","name":"Free","price":0,"quotas":["q"]}]}"#;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn sql(url: &str, sql: &str) -> Option<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let rows = client.simple_query(sql).await.unwrap();
        rows.into_iter().find_map(|row| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        })
    })
}

/// A server, its data folder and its way to the database.
struct Node {
    data: PathBuf,
    proxy: Proxy,
    authority: Option<PathBuf>,
    process: Process,
}

impl Node {
    /// One that goes through TLS where there is an authority, in a file, that the database's certificate is of.
    fn start(data: PathBuf, database: &Server, authority: Option<PathBuf>) -> Node {
        let proxy = Proxy::start(database.port());
        let process = serve(&data, &proxy, authority.as_deref());
        Node { data, proxy, authority, process }
    }

    fn start_again(&mut self) {
        self.process.kill();
        self.process = serve(&self.data, &self.proxy, self.authority.as_deref());
    }

    fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.process.child.id()).ok().and_then(Pid::from_raw);
        kill_process(id.unwrap(), signal).unwrap();
    }

    fn status(&self, path: &str) -> u16 {
        let answer = client(&self.process.url, PATIENCE).request("GET", path, &[], None);
        answer.map_or(0, |answer| answer.status)
    }
}

fn serve(data: &Path, proxy: &Proxy, authority: Option<&Path>) -> Process {
    let mode = if authority.is_some() { "require" } else { "disable" };
    let url = format!("postgres://onsale@127.0.0.1:{}/postgres?sslmode={mode}", proxy.port);
    let trust = authority.map(|file| ("SSL_CERT_FILE", file.to_str().unwrap()));
    let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(trust).collect();
    Process::serve(data, &["--journal", &url, "--standby", "--segment-mib", "1"], &settings)
}

/// Two servers, a database, and buyers at work.
struct Stage {
    database: Server,
    nodes: [Node; 2],
    crowd: Arc<Crowd>,
    buyers: Vec<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Stage {
    fn start(capacity: u64) -> Stage {
        Stage::over(postgres(), None, capacity)
    }

    fn over(database: Server, authority: Option<&Authority>, capacity: u64) -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let authority = authority.map(|authority| authority.write(folder.path()));
        let node = |name| Node::start(folder.path().join(name), &database, authority.clone());
        let first = node("0");
        wait_until("the first is active", || first.status("/readyz") == 200);
        let nodes = [first, node("1")];
        let definition = DEFINITION.replace("50000000", &capacity.to_string());
        let send = |method, condition: (&str, &str), body: &str| {
            let client = client(&nodes[0].process.url, PATIENCE);
            client.request(method, EVENT, &[condition], Some(body)).unwrap().status
        };
        assert_eq!(send("PUT", ("if-none-match", "*"), &definition), 201);
        assert_eq!(send("PATCH", ("if-match", "*"), r#"{"state":"open"}"#), 200);
        let crowd = Arc::new(Crowd::default());
        let stage = Stage { database, nodes, crowd, buyers: Vec::new(), _folder: folder };
        stage.tell_urls();
        stage
    }

    fn let_buyers_in(&mut self) {
        for buyer in 0..BUYERS {
            let crowd = self.crowd.clone();
            self.buyers.push(std::thread::spawn(move || crowd.buy(buyer)));
        }
    }

    /// Freezes a server while a statement of one of its connections waits for a table, which it then has. `meanwhile` makes it
    /// need the table.
    fn freeze_where_it_waits(
        &self,
        node: &Node,
        table: &str,
        connection: &str,
        meanwhile: impl FnOnce(),
    ) {
        let url = self.database.url();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let lock = runtime.block_on(async {
            let (client, connection) =
                tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            let lock = format!("BEGIN; LOCK TABLE onsale.{table} IN SHARE MODE");
            client.batch_execute(&lock).await.unwrap();
            client
        });
        let waits = format!(
            "SELECT count(*) > 0 FROM pg_locks l JOIN pg_stat_activity a USING (pid) \
             WHERE NOT l.granted AND l.relation = 'onsale.{table}'::regclass AND a.application_name LIKE '{connection}'"
        );
        meanwhile();
        wait_until("a statement waits", || sql(url, &waits).as_deref() == Some("t"));
        node.signal(Signal::STOP);
        runtime.block_on(lock.batch_execute("COMMIT")).unwrap();
    }

    fn tell_urls(&self) {
        *self.crowd.urls.lock().unwrap() = [0, 1].map(|n: usize| self.nodes[n].process.url.clone());
    }

    fn start_again(&mut self, which: usize) {
        self.nodes[which].start_again();
        self.tell_urls();
        let node = &self.nodes[which];
        wait_until("the standby follows", || node.status("/readyz") == 503);
    }

    /// Asks a server that was taken over from, on connections of their own; gives what it answers once they are read.
    fn ask_the_other(&self, which: usize) -> Vec<Late> {
        let url = self.nodes[which].process.url.clone();
        let ask = |n: u64| {
            let url = url.clone();
            move || {
                let order = r#"{"customer":"late","items":[{"ticket_type":"free","quantity":1}]}"#;
                let (method, path, body) = match n % 4 {
                    0 => ("GET", format!("{EVENT}/availability"), None),
                    1 => ("POST", format!("{EVENT}/orders"), Some(order)),
                    2 => ("GET", "/v1/organizers/o/events/unknown".to_owned(), None),
                    _ => ("GET", "/v1/organizers/o/events".to_owned(), None),
                };
                let key = format!("late-{n}-{}", std::process::id());
                let headers = [("idempotency-key", key.as_str())];
                let headers = if method == "POST" { &headers[..] } else { &[] };
                let answer =
                    client(&url, Duration::from_secs(8)).request(method, &path, headers, body);
                answer.ok().map(|answer| (answer.status, position(&answer)))
            }
        };
        (0..8).map(|n| std::thread::spawn(ask(n))).collect()
    }

    /// Ends the load, and holds all that was told against the database.
    fn finish(mut self) {
        self.crowd.over.store(true, SeqCst);
        for buyer in self.buyers.drain(..) {
            buyer.join().unwrap();
        }
        let wrong = self.crowd.wrong.lock().unwrap();
        assert!(wrong.is_empty(), "{} answers are wrong, the first: {}", wrong.len(), wrong[0]);
        let url = format!("{}?sslmode=disable", self.database.url());
        let audit = onsale::audit::audit_rows(&url).unwrap();
        assert!(audit.report.ok, "{}", audit.to_text());
        let active = self.crowd.seller.load(SeqCst);
        let client = client(&self.nodes[active].process.url, PATIENCE);
        let mut orders = self.crowd.orders.lock().unwrap().clone();
        let told = orders.len();
        orders.sort_unstable();
        orders.dedup();
        assert_eq!(orders.len(), told, "an order's code was told twice");
        for code in &orders {
            let answer =
                client.request("GET", &format!("{EVENT}/orders/{code}"), &[], None).unwrap();
            assert_eq!(answer.status, 200, "order {code} was acknowledged: {}", answer.problem());
        }
        assert!(audit.report.orders.confirmed >= told as u64);
        let order_rows = "SELECT count(*) FROM onsale.records WHERE type = 'order_placed'";
        let in_sql: u64 = sql(self.database.url(), order_rows).unwrap().parse().unwrap();
        assert_eq!(in_sql, audit.report.orders.confirmed);
    }
}

/// What a server answers that was asked after it was taken over from: status and position, or nothing.
type Late = std::thread::JoinHandle<Option<(u16, Option<u64>)>>;

/// What happens to the active server.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Killed,
    Frozen,
    FrozenInAppend,
    FrozenInFiles,
    Cut,
}

#[test]
fn sales_go_on_with_the_standby_and_nothing_is_lost_or_answered_twice() {
    const FAULTS: [Fault; 5] =
        [Fault::Killed, Fault::Frozen, Fault::FrozenInAppend, Fault::FrozenInFiles, Fault::Cut];
    let (rounds, mut seed) = (number("ONSALE_FAILOVERS", 30), number("ONSALE_SEED", 1));
    let mut stage = Stage::start(50_000_000);
    stage.let_buyers_in();
    let mut longest = Duration::ZERO;
    for round in 0..rounds {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        stage.crowd.wait_for_sales(None, 1 + (seed >> 33) % 60, GO_ON);
        let active = stage.crowd.seller.load(SeqCst);
        let fault = FAULTS[(round % 5) as usize];
        let took = strike(&mut stage, active, fault);
        println!("round {round}: {fault:?}, sales went on after {took:?}");
        longest = longest.max(took);
    }
    println!("the longest: {longest:?}; {} sold", stage.crowd.sold());
    stage.finish();
}

/// Strikes the active server, waits until the other has sold, and sees that the one that was struck answers nothing.
fn strike(stage: &mut Stage, active: usize, fault: Fault) -> Duration {
    let other = 1 - active;
    let node = &stage.nodes[active];
    match fault {
        Fault::Killed => node.signal(Signal::KILL),
        Fault::Frozen => node.signal(Signal::STOP),
        Fault::FrozenInAppend => {
            stage.freeze_where_it_waits(node, "batches", "onsale shard%", || {});
        }
        // Small files are copied in a transaction that holds the head row; a cursor that was put changes them.
        Fault::FrozenInFiles => {
            stage.freeze_where_it_waits(node, "files", "onsale control", || {
                let path = format!("/v1/streams/sales/cursors/c-{}", stage.crowd.sold());
                let url = node.process.url.clone();
                // Its answer waits for the head row, too, and is none where it is frozen.
                std::thread::spawn(move || {
                    let body = Some(r#"{"positions":{"0":0}}"#);
                    client(&url, PATIENCE).request("PUT", &path, &[], body).is_ok()
                });
            });
        }
        Fault::Cut => node.proxy.cut(),
    }
    let took = stage.crowd.wait_for_sales(Some(other), 1, GO_ON);
    let asked = match fault {
        Fault::Killed => Vec::new(),
        _ => stage.ask_the_other(active),
    };
    if !matches!(fault, Fault::Killed | Fault::Cut) {
        stage.nodes[active].signal(Signal::CONT);
    }
    if matches!(fault, Fault::Cut) {
        stage.nodes[active].proxy.heal();
    }
    for answer in asked {
        let answer = answer.join().unwrap();
        let is_none = answer.is_none_or(|(status, position)| status == 503 && position.is_none());
        assert!(is_none, "after it was {fault:?} the server answered {answer:?}");
    }
    stage.start_again(active);
    took
}

#[test]
fn sales_go_on_when_the_database_was_killed() {
    let kills = number("ONSALE_FAILOVERS", 20);
    let mut stage = Stage::start(50_000_000);
    stage.let_buyers_in();
    for kill in 0..kills {
        stage.crowd.wait_for_sales(None, 1 + kill * 7 % 50, GO_ON);
        stage.database.restart();
        // The standby may have been faster.
        let took = stage.crowd.wait_for_sales(None, BUYERS + 1, PATIENCE);
        println!("kill {kill}: sales went on after {took:?}");
        for which in 0..2 {
            if stage.nodes[which].process.child.try_wait().unwrap().is_some() {
                stage.start_again(which);
            }
        }
    }
    stage.finish();
}

#[test]
fn a_sale_is_sold_out_exactly_while_servers_change() {
    let mut stage = Stage::start(400);
    stage.let_buyers_in();
    for fault in [Fault::Killed, Fault::Frozen] {
        stage.crowd.wait_for_sales(None, 60, GO_ON);
        let active = stage.crowd.seller.load(SeqCst);
        strike(&mut stage, active, fault);
    }
    let crowd = stage.crowd.clone();
    wait_until("all is sold", || crowd.refused.load(SeqCst) > 2 * BUYERS);
    // Each of the orders that were asked of a server that was taken over from has its key, and was not carried out.
    assert_eq!(crowd.sold(), 400);
    stage.finish();
}

#[test]
fn an_inspection_judges_what_is_in_the_database() {
    let stage = Stage::start(10);
    let url = stage.database.url();
    let inspect = |more: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_onsale"));
        let output = command.args(["journal", "inspect", url]).args(more).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, shown) = inspect(&[]);
    assert!(code == Some(0) && !shown.contains("WRONG"), "{shown}");
    assert!(inspect(&["--json"]).1.contains(r#""ok":true"#));
    for change in [
        "UPDATE onsale.batches SET records = set_byte(records, 20, 1 + get_byte(records, 20) % 250) WHERE first = 1",
        "DELETE FROM onsale.batches WHERE first = 1",
    ] {
        let with_one = format!("{change} AND shard = 1 RETURNING 'x'");
        assert_eq!(sql(url, &with_one).as_deref(), Some("x"), "{change}");
        let (code, shown) = inspect(&[]);
        let wrong = shown.lines().filter(|line| line.contains("WRONG: shard 1")).count();
        assert_eq!((code, wrong), (Some(1), 1), "{change}: {shown}");
        assert!(inspect(&["--json"]).1.contains(r#""ok":false"#), "{change}");
    }
}

#[test]
fn a_standby_takes_over_through_tls() {
    let authority = Authority::new();
    let database = postgres_with_tls(&authority.certificate("127.0.0.1"));
    let mut stage = Stage::over(database, Some(&authority), 50_000_000);
    stage.let_buyers_in();
    for fault in [Fault::Killed, Fault::Frozen, Fault::Cut] {
        stage.crowd.wait_for_sales(None, 20, GO_ON);
        let active = stage.crowd.seller.load(SeqCst);
        strike(&mut stage, active, fault);
    }
    let (with, without) = tls::connections(&stage.database);
    assert!(with > 1 && without == 0, "{with} with TLS, {without} without");
    stage.finish();
}

#[test]
fn a_standby_says_where_the_active_server_is() {
    let stage = Stage::start(10);
    let standby = &stage.nodes[1];
    wait_until("the standby follows", || standby.status("/readyz") == 503);
    let ask = |method: &str, path: &str| {
        client(&standby.process.url, PATIENCE).request(method, path, &[], Some("{}")).unwrap()
    };
    let active = stage.nodes[0].process.url.clone();
    let told = |answer: &onsale::http_client::Response, kind: &str| {
        let json = answer.json();
        assert_eq!(answer.status, 503, "{json}");
        assert_eq!(json["type"], format!("/problems/{kind}"));
        assert_eq!((&json["role"], &json["active"]), (&"standby".into(), &active.as_str().into()));
        assert_eq!(answer.header("retry-after"), Some("1"));
    };
    wait_until("it knows", || ask("GET", "/readyz").json()["active"].is_string());
    told(&ask("GET", "/readyz"), "not-ready");
    told(&ask("POST", &format!("{EVENT}/orders")), "not-active");
    told(&ask("GET", "/v1/streams/sales/shards"), "not-active");
    assert_eq!(standby.status("/healthz"), 200);
    // What it has of the log is what the other one wrote.
    let figures = |node: &Node| {
        let client = client(&node.process.url, PATIENCE);
        String::from_utf8(client.request("GET", "/metrics", &[], None).unwrap().body).unwrap()
    };
    let figure = |page: &str, name: &str| -> u64 {
        let mut lines = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        lines.next().unwrap_or_else(|| panic!("no {name} in {page}")).parse().unwrap()
    };
    assert_eq!(figure(&figures(standby), "onsale_active"), 0);
    let shard = "onsale_shard_durable_position{shard=\"0\"}";
    wait_until("it has all", || {
        figure(&figures(standby), shard) == figure(&figures(&stage.nodes[0]), shard)
    });
    assert_eq!(figure(&figures(&stage.nodes[0]), "onsale_active"), 1);
    // It asks as much of a head as the server will that it becomes.
    for (host, status) in [("t", "200"), ("a b", "400"), ("a..b", "400"), ("t:65536", "400")] {
        let address = standby.process.url.strip_prefix("http://").unwrap();
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /healthz HTTP/1.1\r\nhost: {host}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        assert_eq!(answer.contains(r#""field":"Host""#), status == "400", "{host}: {answer}");
    }
    // A third that is no standby is told who is active.
    let folder = tempfile::tempdir().unwrap();
    let third = std::process::Command::new(env!("CARGO_BIN_EXE_onsale"))
        .args(["serve", "--listen", "127.0.0.1:0", "--journal", stage.database.url(), "--data"])
        .arg(folder.path())
        .envs(SETTINGS)
        .env("ONSALE_KEY", KEY)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&third.stderr).into_owned();
    assert_eq!(third.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("another server, {active}, is active")), "{said}");
    assert!(said.contains("--standby"), "{said}");
    stage.finish();
}
