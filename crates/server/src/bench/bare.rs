//! The bare harness: what a server on this stack could do at most that writes as much and
//! decides nothing. It reads the same requests with the same HTTP library, parses the same JSON,
//! appends as many bytes to a journal of the same kind for each hold in it, syncs a batch at a
//! time on a helper thread, and answers with as many bytes once they are durable. It knows no
//! keys, no limits, no events and no stock.

use std::cell::RefCell;
use std::convert::Infallible;
use std::path::PathBuf;
use std::rc::Rc;

use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use onsale_journal::{RECORD_OVERHEAD_BYTES, Writer};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{Notify, mpsc, oneshot};

use super::drive::{new_journal, new_journal_unsynced};
use crate::cli::{FAILED, OK};
use crate::output::{remark, say};

/// The bare harness of `onsale bench`, which starts it: not for use by hand.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Exit codes:\n  \
    0  it was told to stop\n  \
    1  it could not start, or its disk failed\n  \
    2  the arguments make no sense")]
pub struct BareArgs {
    /// Folder for its journal; must be there.
    #[arg(long)]
    pub data: PathBuf,
    /// Bytes to write for each hold.
    #[arg(long)]
    pub record_bytes: usize,
    /// Bytes of an answer's body.
    #[arg(long)]
    pub answer_bytes: usize,
    /// A PostgreSQL to which its batches go first; the journal is not synced then.
    #[arg(long)]
    pub database: Option<String>,
}

/// The body of a batch.
#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    commands: Vec<Command<'a>>,
}

/// What a batch has for each command.
#[derive(Deserialize)]
struct Command<'a> {
    op: &'a str,
    idempotency_key: &'a str,
    customer: &'a str,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

/// The body of one hold.
#[derive(Deserialize)]
struct Hold<'a> {
    customer: &'a str,
    #[serde(borrow)]
    items: Vec<Item<'a>>,
}

#[derive(Deserialize)]
struct Item<'a> {
    ticket_type: &'a str,
    quantity: u32,
}

/// Runs the bare harness until it is told to stop; returns the exit code.
#[must_use]
pub fn run(args: &BareArgs) -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        let local = tokio::task::LocalSet::new();
        local.block_on(&runtime, serve(args))
    });
    match served {
        Ok(()) => OK,
        Err(error) => {
            remark(&format!("the bare harness: {error:#}"));
            FAILED
        }
    }
}

async fn serve(args: &BareArgs) -> anyhow::Result<()> {
    let [socket] = <[_; 1]>::try_from(crate::listen::open(ANY_PORT.into(), 1)?)
        .map_err(|_| anyhow::anyhow!("one socket was asked for"))?;
    let socket = tokio::net::TcpListener::from_std(socket)?;
    let log = Log::open(args)?;
    let insert = args.database.as_deref().map(Insert::open).transpose()?;
    let driver = tokio::task::spawn_local(log.clone().drive(insert));
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    say(&format!("listening on http://{}", socket.local_addr()?));
    let answer = Bytes::from(vec![b' '; args.answer_bytes]);
    let take = async {
        loop {
            let (stream, _) = socket.accept().await?;
            stream.set_nodelay(true)?;
            tokio::task::spawn_local(talk(stream, log.clone(), answer.clone()));
        }
    };
    tokio::select! {
        _ = term.recv() => Ok(()),
        ended = driver => ended?,
        broken = take => broken,
    }
}

/// Any port that is free.
const ANY_PORT: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

async fn talk(stream: TcpStream, log: Log, answer: Bytes) {
    let service = service_fn(move |request| {
        let (log, answer) = (log.clone(), answer.clone());
        async move { Ok::<_, Infallible>(respond(request, &log, answer).await) }
    });
    let connection = http1::Builder::new()
        .pipeline_flush(true)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever hammers closes in the end.
    let _ = connection.await;
}

async fn respond(request: Request<Incoming>, log: &Log, answer: Bytes) -> Response<Full<Bytes>> {
    let is_batch = request.uri().path().ends_with("/batch");
    let body = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => return refuse(),
    };
    let (fine, holds) = match is_batch {
        true => (StatusCode::OK, read_batch(&body)),
        false => (StatusCode::CREATED, read_hold(&body)),
    };
    let Some(holds) = holds else { return refuse() };
    log.append(holds).await;
    let mut response = Response::new(Full::new(answer));
    *response.status_mut() = fine;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn refuse() -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}

/// How many holds there are in the body of one.
fn read_hold(body: &[u8]) -> Option<usize> {
    let hold: Hold<'_> = serde_json::from_slice(body).ok()?;
    is_fine(hold.customer, &hold.items).then_some(1)
}

/// How many holds there are in a batch.
fn read_batch(body: &[u8]) -> Option<usize> {
    let batch: Batch<'_> = serde_json::from_slice(body).ok()?;
    let fine = |c: &Command<'_>| {
        c.op == "hold" && !c.idempotency_key.is_empty() && is_fine(c.customer, &c.items)
    };
    batch.commands.iter().all(fine).then_some(batch.commands.len())
}

fn is_fine(customer: &str, items: &[Item<'_>]) -> bool {
    !customer.is_empty() && items.iter().all(|i| !i.ticket_type.is_empty() && i.quantity > 0)
}

/// The journal, and who waits for it.
#[derive(Clone)]
struct Log {
    inner: Rc<RefCell<Inner>>,
    /// Something was appended.
    dirty: Rc<Notify>,
    /// There may be room again.
    room: Rc<Notify>,
}

struct Inner {
    writer: Writer,
    record: Vec<u8>,
    waiting: Vec<(u64, oneshot::Sender<()>)>,
}

impl Log {
    fn open(args: &BareArgs) -> anyhow::Result<Log> {
        let writer = match args.database {
            None => new_journal(&args.data),
            Some(_) => new_journal_unsynced(&args.data),
        }?;
        let record = vec![b'r'; args.record_bytes];
        let inner = Inner { writer, record, waiting: Vec::new() };
        let inner = Rc::new(RefCell::new(inner));
        Ok(Log { inner, dirty: Rc::default(), room: Rc::default() })
    }

    /// Appends a record for each hold, and waits until all are durable.
    async fn append(&self, holds: usize) {
        let bytes = holds * (RECORD_OVERHEAD_BYTES + self.inner.borrow().record.len());
        while !self.inner.borrow().writer.fits(bytes) {
            self.dirty.notify_one();
            self.room.notified().await;
        }
        let (sender, durable) = oneshot::channel();
        {
            let Inner { writer, record, waiting } = &mut *self.inner.borrow_mut();
            let mut last = 0;
            for _ in 0..holds {
                last = writer.append(&mut |buffer| buffer.extend_from_slice(record));
            }
            waiting.push((last, sender));
        }
        self.dirty.notify_one();
        // It fails only where the driver is gone, and with it the whole harness.
        let _ = durable.await;
    }

    /// Writes what was appended, a batch at a time, and lets those go who waited for it.
    async fn drive(self, mut insert: Option<Insert>) -> anyhow::Result<()> {
        let (jobs, mut written) = helper(move |job: onsale_journal::WriteJob| {
            match insert.as_mut().map(|insert| insert.run(job.payload())) {
                Some(Err(error)) => job.fail(std::io::Error::other(error)),
                _ => job.run(),
            }
        });
        let (spare_jobs, mut spares) = helper(onsale_journal::SpareJob::run);
        loop {
            {
                let writer = &mut self.inner.borrow_mut().writer;
                if let Some(job) = writer.seal() {
                    jobs.send(job)?;
                }
                if let Some(job) = writer.prepare() {
                    spare_jobs.send(job)?;
                }
            }
            self.room.notify_waiters();
            tokio::select! {
                biased;
                Some(done) = written.recv() => self.release(done)?,
                Some(done) = spares.recv() => self.inner.borrow_mut().writer.prepared(done)?,
                () = self.dirty.notified() => {}
            }
        }
    }

    fn release(&self, done: onsale_journal::WriteDone) -> anyhow::Result<()> {
        let Inner { writer, waiting, .. } = &mut *self.inner.borrow_mut();
        writer.finish(done)?;
        let durable = writer.durable();
        let ready = waiting.partition_point(|(position, _)| *position <= durable);
        for (_, sender) in waiting.drain(..ready) {
            // A connection that went away waits for nothing.
            let _ = sender.send(());
        }
        Ok(())
    }
}

/// A thread that carries out jobs; at most one is under way.
fn helper<Job: Send + 'static, Done: Send + 'static>(
    mut run: impl FnMut(Job) -> Done + Send + 'static,
) -> (std::sync::mpsc::Sender<Job>, mpsc::UnboundedReceiver<Done>) {
    let (jobs, todo) = std::sync::mpsc::channel();
    let (results, done) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for job in todo {
            if results.send(run(job)).is_err() {
                break;
            }
        }
    });
    (jobs, done)
}

/// Inserts batches into a table that has nothing else.
struct Insert {
    runtime: tokio::runtime::Runtime,
    client: tokio_postgres::Client,
    statement: tokio_postgres::Statement,
}

impl Insert {
    /// Makes the table. It has threads of its own to wait on, beside those of the harness.
    fn open(url: &str) -> anyhow::Result<Insert> {
        let url = url.to_owned();
        let open = move || -> anyhow::Result<Insert> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let (client, statement) = runtime.block_on(async {
                let config = onsale_rows::Settings::parse(&url)?;
                let (client, connection) = onsale_tls::postgres::connect(&config).await?;
                tokio::spawn(connection);
                let table = "CREATE TABLE bare (id bigserial PRIMARY KEY, records bytea)";
                let storage = "ALTER TABLE bare ALTER COLUMN records SET STORAGE EXTERNAL";
                client.batch_execute(&format!("{table}; {storage}")).await?;
                let insert = "INSERT INTO bare (records) VALUES ($1)";
                let statement = client.prepare(insert).await?;
                anyhow::Ok((client, statement))
            })?;
            Ok(Insert { runtime, client, statement })
        };
        // A runtime can't be waited for from within another.
        std::thread::spawn(open).join().map_err(|_| anyhow::anyhow!("the database"))?
    }

    fn run(&mut self, records: &[u8]) -> Result<(), tokio_postgres::Error> {
        self.runtime.block_on(self.client.execute(&self.statement, &[&records])).map(drop)
    }
}
