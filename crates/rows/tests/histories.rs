//! The same random histories through the reference model and through the engine with its log in a real PostgreSQL: the same
//! answers, the same records in the database, and the same state, also after a restart and on a server that only followed.
//!
//! `ONSALE_HISTORIES` says how many (20), or `ONSALE_HISTORIES_SECONDS` how long; `ONSALE_SEED` where the seeds begin.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::path::Path;
use std::time::{Duration, Instant};

use onsale_core::{Sale, Time};
use onsale_engine::folder::begin_shards;
use onsale_engine::{Answer, Durability, Folder, Options, Request, Seeds, Shard};
use onsale_journal::{Records, WriteJob};
use onsale_rows::{Batch, Identity, Link, Settings, Site, Taken};
use onsale_services::postgres;
use onsale_sim::generator::Generator;
use onsale_sim::model::{Model, Outcome};
use onsale_sim::rng::Rng;
use onsale_sim::side_by_side::{KEY, SHARD, SHARDS, shard_started};

const COMMANDS: usize = 2_500;
const LOG: u128 = 7;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

fn settings(url: &str) -> Settings {
    Settings {
        config: Settings::parse(url).unwrap(),
        node: "a".to_owned(),
        address: String::new(),
        lease: Duration::from_secs(1),
        wait: Duration::from_secs(20),
        accepts_os: true,
    }
}

fn open(data: &Path) -> (Folder, Vec<Shard<usize>>) {
    let seeds = Seeds { log: LOG, key: KEY };
    let folder = Folder::open(data, SHARDS, &seeds).unwrap();
    let options = Options { elsewhere: true, durability: Durability::Os, ..Options::new(1 << 20) };
    let shards = folder.shards(&options, &seeds, Time(0)).unwrap();
    (folder, shards)
}

fn append(link: &mut Link, job: &WriteJob) {
    let (first, records) = (job.first(), job.payload());
    let last = first + u64::from(job.records()) - 1;
    let (checksum, chain) = (job.payload_crc(), job.chain());
    link.append(&Batch { first, last, checksum, chain, records }).unwrap();
}

/// The engine with its log in the database, driven by hand.
struct Engine {
    shard: Shard<usize>,
    link: Link,
    answers: Vec<Answer>,
}

impl Engine {
    /// Writes what is open, and takes the answers.
    fn round(&mut self, now: Time) {
        loop {
            if let Some(job) = self.shard.seal(now) {
                append(&mut self.link, &job);
                self.shard.finish(job.run()).unwrap();
            } else if self.shard.check(false) {
                self.link.check().unwrap();
                self.shard.checked(Ok(()));
            } else {
                break;
            }
            while let Some((ticket, reply)) = self.shard.release() {
                assert_eq!(
                    ticket,
                    self.answers.len(),
                    "answers leave in the order of their commands"
                );
                self.answers.push(reply.answer);
            }
            while let Some(job) = self.shard.prepare() {
                self.shard.prepared(now, job.run()).unwrap();
            }
        }
    }
}

/// Runs the history of a seed; gives its number of records.
fn run(url: &str, seed: u64) -> u64 {
    let settings = settings(url);
    let mut site = Site::connect(&settings).unwrap();
    let identity = Identity { log: LOG, shards: SHARDS };
    site.identity(Some(identity)).unwrap();
    assert!(matches!(site.take_over().unwrap(), Taken::Over(_)));
    let data = tempfile::tempdir().unwrap();
    let (folder, mut shards) = open(data.path());
    let mut links: Vec<Link> =
        (0..SHARDS).map(|shard| Link::open(&settings, shard).unwrap()).collect();
    let mut keep = |shard: u16, job: &WriteJob| {
        append(&mut links[usize::from(shard)], job);
        Ok(())
    };
    begin_shards(&mut shards, folder.fixed(), KEY, Time(0), &mut keep).unwrap();
    let (shard, link) = (shards.remove(SHARD.into()), links.remove(SHARD.into()));
    drop(shards);
    let mut engine = Engine { shard, link, answers: Vec::new() };
    let (mut generator, mut model) = (Generator::new(seed), Model::new(KEY, SHARD, 1));
    let (mut rng, mut expected, mut records) =
        (Rng::new(!seed), Vec::new(), vec![shard_started(SHARD)]);
    let mut asked = Vec::new();
    for step in 0..COMMANDS {
        let (command, now) = generator.next(&model);
        let of_model = model.execute(&command, now);
        if let Ok(Outcome::Change(events)) = &of_model {
            records.extend(events.iter().cloned());
        }
        expected.push(of_model);
        asked.push(command.clone());
        if !engine.shard.ready() {
            engine.round(now);
        }
        engine.shard.submit(now, Request::Command(Box::new(command)), step);
        if rng.once_in(8) {
            engine.round(now);
        }
    }
    engine.round(generator.now());
    assert_eq!(engine.answers.len(), COMMANDS);
    for ((answer, expected), command) in engine.answers.iter().zip(&expected).zip(&asked) {
        let same = match (answer, expected) {
            (Answer::Done(event), Ok(Outcome::Change(events))) => Some(&**event) == events.last(),
            (Answer::Repeated { position }, Ok(Outcome::Repeated { position: of_model })) => {
                position == of_model
            }
            (Answer::Unchanged, Ok(Outcome::Unchanged)) => true,
            (Answer::Refused(refusal), Err(of_model)) => refusal == of_model,
            _ => false,
        };
        assert!(same, "seed {seed}: {command:?}\nthe engine: {answer:?}\nthe model: {expected:?}");
    }
    let mut sale = Sale::new();
    for (event, position) in records.iter().zip(1..) {
        sale.apply(position, event).unwrap();
    }
    assert_eq!(in_database(&mut site), records, "seed {seed}");
    assert_eq!(engine.shard.sale().hash(), sale.hash(), "seed {seed}");
    // A start from the copy, as a killed server makes it, and one that has no copy.
    let end = engine.shard.end();
    drop((engine, folder));
    let (folder, shards) = open(data.path());
    assert_eq!(shards[usize::from(SHARD)].end(), end);
    assert_eq!(shards[usize::from(SHARD)].sale().hash(), sale.hash(), "seed {seed}, restarted");
    drop((shards, folder));
    let other = tempfile::tempdir().unwrap();
    let (_folder, mut shards) = open(other.path());
    let follower = &mut shards[usize::from(SHARD)];
    loop {
        let rows = site.read(SHARD, follower.end().0).unwrap();
        if rows.is_empty() {
            break;
        }
        for row in rows {
            follower.follow(row.first, &row.records, row.chain).unwrap();
        }
    }
    assert_eq!(follower.end(), end);
    assert_eq!(follower.sale().hash(), sale.hash(), "seed {seed}, followed");
    records.len() as u64
}

/// All records of the shard, as the database has them.
fn in_database(site: &mut Site) -> Vec<onsale_core::Event> {
    let (mut events, mut after) = (Vec::new(), 0);
    loop {
        let rows = site.read(SHARD, after).unwrap();
        let Some(last) = rows.last() else { return events };
        after = last.last;
        let records = rows.iter().flat_map(|row| Records::new(&row.records));
        events.extend(records.map(|record| onsale_codec::decode(record).unwrap()));
    }
}

#[test]
fn histories_are_the_same_with_the_log_in_a_database() {
    let (wanted, first) = (number("ONSALE_HISTORIES", 20), number("ONSALE_SEED", 1));
    let server = postgres();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut records = 0;
    let (begin, seconds) = (Instant::now(), number("ONSALE_HISTORIES_SECONDS", 0));
    let mut done = 0;
    for seed in first.. {
        let is_enough =
            if seconds > 0 { begin.elapsed().as_secs() >= seconds } else { done >= wanted };
        if is_enough {
            break;
        }
        done += 1;
        runtime.block_on(async {
            let connected = tokio_postgres::connect(server.url(), tokio_postgres::NoTls).await;
            let (client, connection) = connected.unwrap();
            let connection = tokio::spawn(connection);
            client.batch_execute("DROP SCHEMA IF EXISTS onsale CASCADE").await.unwrap();
            drop(client);
            connection.await.unwrap().unwrap();
        });
        records += run(server.url(), seed);
    }
    println!("{done} histories, {} commands, {records} records", done * COMMANDS as u64);
}
