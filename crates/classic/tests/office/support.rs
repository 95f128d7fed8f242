//! Databases, a server and a small HTTP client for the tests.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use onsale_classic::catalogue::{
    EventFields, Status, StockFields, TypeFields, save_event, save_stock, save_type, set_status,
};
use onsale_classic::database::Place;
use onsale_classic::orders::{Order, Wanted, sell};
use onsale_classic::serve::{Office, serve};
use onsale_classic::{Database, Error, accounts, time};
use onsale_services::Server;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

pub const EMAIL: &str = "ann@example.org";
pub const PASSWORD: &str = "a long password";

/// A database of its own, with whatever keeps it alive.
pub struct Kept<T> {
    pub runtime: Runtime,
    pub db: Database,
    _keep: T,
}

pub fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub fn sqlite() -> Kept<tempfile::TempDir> {
    let folder = tempfile::tempdir().unwrap();
    let runtime = runtime();
    let place = Place::Sqlite(folder.path().join("office.db"));
    let db = runtime.block_on(Database::open(place)).unwrap();
    Kept { runtime, db, _keep: folder }
}

/// A database of its own in a server that tests which run at the same time share: starting one takes seconds.
pub fn postgres() -> Kept<Arc<Server>> {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    static MADE: AtomicU32 = AtomicU32::new(0);
    let mut shared = SHARED.lock().unwrap();
    let server = shared.upgrade().unwrap_or_else(|| Arc::new(onsale_services::postgres()));
    *shared = Arc::downgrade(&server);
    drop(shared);
    let name = format!("office_{}", MADE.fetch_add(1, Ordering::Relaxed));
    let mut client = postgres::Client::connect(server.url(), postgres::NoTls).unwrap();
    client.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    drop(client);
    let runtime = runtime();
    let (host, _) = server.url().rsplit_once('/').unwrap();
    let url = format!("{host}/{name}");
    let db = runtime.block_on(Database::open(Place::Postgres(url))).unwrap();
    Kept { runtime, db, _keep: server }
}

/// Does the same on both databases.
pub fn on_both<F: Future<Output = ()>>(work: impl Fn(Database) -> F) {
    let sqlite = sqlite();
    sqlite.runtime.block_on(work(sqlite.db.clone()));
    let postgres = postgres();
    postgres.runtime.block_on(work(postgres.db.clone()));
}

/// An event on sale.
pub struct Sale {
    pub organizer: i64,
    pub stock: i64,
    /// Costs 25.00.
    pub paid: i64,
    pub free: i64,
}

pub fn fields(slug: &str) -> EventFields {
    EventFields {
        slug: slug.to_owned(),
        name: "Spring concert".to_owned(),
        description: "With <b>strings</b>".to_owned(),
        venue: "Hall".to_owned(),
        starts_at: time::plus_seconds(time::now(), 86_400),
        sale_opens_at: None,
        sale_closes_at: None,
        currency: "EUR".to_owned(),
        customer_limit: None,
        payment_minutes: 15,
    }
}

/// Two types that draw on one stock.
pub async fn concert(db: &Database, capacity: i64, customer_limit: Option<i64>) -> Sale {
    let organizer = accounts::add_organizer(db, "river", "River").await.unwrap();
    accounts::set_user(db, organizer, EMAIL, PASSWORD).await.unwrap();
    db.write(move |tx| {
        let fields = EventFields { customer_limit, ..fields("concert") };
        save_event(tx, organizer, None, &fields)?;
        let stock = StockFields { name: "Hall".to_owned(), capacity, blocked: 0 };
        let stock = save_stock(tx, organizer, "concert", None, &stock)?;
        let kind = |name: &str, price_minor, position| TypeFields {
            stock_id: stock,
            name: name.to_owned(),
            description: String::new(),
            price_minor,
            active: true,
            position,
        };
        let paid = save_type(tx, organizer, "concert", None, &kind("Seat", 2_500, 1))?;
        let free = save_type(tx, organizer, "concert", None, &kind("Lawn", 0, 2))?;
        set_status(tx, organizer, "concert", Status::OnSale)?;
        Ok(Sale { organizer, stock, paid, free })
    })
    .await
    .unwrap()
}

pub fn wanted(customer: &str, kind: i64, quantity: i64) -> Wanted {
    Wanted {
        customer: customer.to_owned(),
        lines: vec![(kind, quantity)],
        channel: "test".to_owned(),
        client_key: None,
    }
}

pub async fn buy(db: &Database, wanted: Wanted) -> Result<Order, Error> {
    db.write(move |tx| sell(tx, "concert", &wanted, time::now())).await
}

/// What a stock has: capacity, sold, blocked; and the tickets of orders that are not cancelled.
pub async fn stock(db: &Database, id: i64) -> (i64, i64, i64, i64) {
    db.read(move |tx| {
        let row = tx.one("SELECT capacity, sold, blocked FROM stocks WHERE id = $1", &[id.into()])?;
        let tickets = tx.one(
            "SELECT count(*) FROM tickets k JOIN orders o ON o.id = k.order_id \
             JOIN ticket_types t ON t.id = k.ticket_type_id WHERE t.stock_id = $1 AND o.status <> 'cancelled'",
            &[id.into()],
        )?;
        Ok((row.int(0)?, row.int(1)?, row.int(2)?, tickets.int(0)?))
    })
    .await
    .unwrap()
}

/// The fields and rules that an error names.
pub fn rules<T: std::fmt::Debug>(result: Result<T, Error>) -> String {
    match result.unwrap_err() {
        Error::Invalid(wrong) => {
            wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
        }
        other => panic!("{other}"),
    }
}

/// A server over a database of its own.
pub struct Site {
    pub address: SocketAddr,
    pub sale: Sale,
    pub db: Database,
    stop: Option<oneshot::Sender<()>>,
    ended: Option<std::thread::JoinHandle<()>>,
}

impl Site {
    pub fn start(capacity: i64, customer_limit: Option<i64>) -> Site {
        let (stop, stopped) = oneshot::channel();
        let (ready, started) = std::sync::mpsc::channel();
        let ended = std::thread::spawn(move || {
            let kept = sqlite();
            let db = kept.db.clone();
            kept.runtime.block_on(async move {
                let sale = concert(&db, capacity, customer_limit).await;
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                ready.send((listener.local_addr().unwrap(), sale, db.clone())).unwrap();
                serve(listener, Office::new(db, false), async { stopped.await.unwrap() }).await;
            });
        });
        let (address, sale, db) = started.recv().unwrap();
        Site { address, sale, db, stop: Some(stop), ended: Some(ended) }
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: office\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        for (name, value) in headers {
            write!(request, "{name}: {value}\r\n").unwrap();
        }
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(format!("{request}\r\n{body}").as_bytes()).unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Answer::read(&String::from_utf8(bytes).unwrap())
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "")
    }

    pub fn post(&self, path: &str, body: &str) -> Answer {
        self.send("POST", path, &[("Content-Type", "application/json")], body)
    }

    /// Runs database work of a test beside the server.
    pub fn wait<F: Future>(&self, work: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.stop.take().unwrap().send(());
        let ended = self.ended.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    fn read(text: &str) -> Answer {
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        let body = if chunked { unchunked(body) } else { body.to_owned() };
        Answer { status, head: head.to_owned(), body }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The first cookie that is set: name and value.
    pub fn cookie(&self) -> String {
        self.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    }

    /// The value of a hidden field.
    pub fn hidden(&self, name: &str) -> String {
        let (_, rest) = self.body.split_once(&format!("name=\"{name}\" value=\"")).unwrap();
        rest.split('"').next().unwrap().to_owned()
    }
}

fn unchunked(mut text: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = text.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole += &rest[..size];
        text = rest[size..].trim_start_matches("\r\n");
        if size == 0 {
            break;
        }
    }
    whole
}
