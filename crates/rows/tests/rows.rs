//! The log in a real PostgreSQL: appends, taking over, and connections that break in between.

#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use onsale_rows::{
    Batch, Error, Identity, Kept, Link, Settings, Site, StreamRecord, StreamState, Taken,
};
use onsale_services::{Server, postgres, wait_until};

const IDENTITY: Identity = Identity { log: 7, shards: 2 };
const LEASE: Duration = Duration::from_millis(300);

/// One server for all tests, each of which has a database of its own.
fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(postgres)
}

fn sql(url: &str, sql: &str) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        let rows = client.simple_query(sql).await.unwrap();
        let first = |row: tokio_postgres::SimpleQueryMessage| match row {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
            _ => None,
        };
        rows.into_iter().filter_map(first).collect()
    })
}

/// The address of a new database.
fn database() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("log_{}", COUNT.fetch_add(1, Ordering::Relaxed));
    sql(server().url(), &format!("CREATE DATABASE {name}"));
    format!("postgres://onsale@127.0.0.1:{}/{name}", server().port())
}

fn settings(url: &str, node: &str) -> Settings {
    Settings {
        config: Settings::parse(url).unwrap(),
        node: node.to_owned(),
        address: format!("http://{node}"),
        lease: LEASE,
        wait: Duration::from_secs(20),
        accepts_os: true,
    }
}

/// A site that is the writer, and its links.
fn writer(url: &str, node: &str) -> (Site, Vec<Link>) {
    let settings = settings(url, node);
    let mut site = Site::connect(&settings).unwrap();
    assert_eq!(site.identity(Some(IDENTITY)).unwrap(), Some(IDENTITY));
    wait_until("the lease has run out", || matches!(take_over(url, node), Taken::Over(_)));
    let links = (0..IDENTITY.shards).map(|shard| Link::open(&settings, shard).unwrap()).collect();
    (site, links)
}

fn take_over(url: &str, node: &str) -> Taken {
    Site::connect(&settings(url, node)).unwrap().take_over().unwrap()
}

/// A batch of one record.
fn append(link: &mut Link, text: &[u8]) -> Result<(), Error> {
    let records = [&(text.len() as u32).to_le_bytes()[..], text].concat();
    let first = link.position() + 1;
    let checksum = crc32c::crc32c(&records);
    link.append(&Batch { first, last: first, checksum, chain: first as u32, records: &records })
}

fn texts(site: &mut Site, shard: u16) -> Vec<Vec<u8>> {
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let rows = site.read(shard, after).unwrap();
        let Some(last) = rows.last() else { return found };
        after = last.last;
        found.extend(rows.iter().map(|row| row.records[4..].to_vec()));
    }
}

#[test]
fn what_is_appended_is_read() {
    let url = database();
    let (mut site, mut links) = writer(&url, "a");
    for n in 0..600u32 {
        append(&mut links[1], &n.to_le_bytes()).unwrap();
    }
    append(&mut links[0], b"other").unwrap();
    links[0].check().unwrap();
    let all: Vec<Vec<u8>> = (0..600u32).map(|n| n.to_le_bytes().to_vec()).collect();
    assert_eq!(texts(&mut site, 1), all);
    assert_eq!(texts(&mut site, 0), [b"other"]);
    assert_eq!(site.chain(1, 600).unwrap(), Some(600));
    assert_eq!(site.chain(1, 601).unwrap(), None);
    assert_eq!(site.heads().unwrap()[1].position, 600);
    let count =
        sql(&url, "SELECT count(*) FROM onsale.batch_headers WHERE shard = 1 AND records = 1");
    assert_eq!(count, ["600"]);
}

#[test]
fn whoever_was_taken_over_from_writes_nothing_more() {
    let url = database();
    let (mut site, mut links) = writer(&url, "a");
    append(&mut links[0], b"one").unwrap();
    assert!(matches!(take_over(&url, "b"), Taken::Held { address, .. } if address == "http://a"));
    let (_, mut others) = writer(&url, "b");
    for link in &mut links {
        let error = append(link, b"late").unwrap_err();
        assert!(matches!(&error, Error::Fenced { address } if address == "http://b"), "{error}");
        let error = link.check().unwrap_err();
        assert!(matches!(error, Error::Fenced { .. }), "{error}");
    }
    let error = Link::open(&settings(&url, "a"), 0).err().unwrap();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    let error = site.keep_files(&[("keys.json".to_owned(), Some(b"a".to_vec()))]).unwrap_err();
    assert!(matches!(error, Error::Fenced { .. }), "{error}");
    append(&mut others[0], b"two").unwrap();
    assert_eq!(texts(&mut site, 0), [b"one", b"two"]);
}

#[test]
fn an_append_that_waits_in_the_database_while_another_takes_over_is_fenced() {
    let url = database();
    let (mut site, mut links) = writer(&url, "a");
    append(&mut links[0], b"one").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let blocker = runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("BEGIN; LOCK TABLE onsale.batches IN SHARE MODE").await.unwrap();
        client
    });
    let mut link = links.remove(0);
    let waiting = std::thread::spawn(move || append(&mut link, b"late"));
    let sql_waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    wait_until("the append waits", || sql(&url, sql_waiting) == ["1"]);
    wait_until("the lease has run out", || matches!(take_over(&url, "b"), Taken::Over(_)));
    runtime.block_on(blocker.batch_execute("COMMIT")).unwrap();
    let error = waiting.join().unwrap().unwrap_err();
    assert!(matches!(&error, Error::Fenced { address } if address == "http://b"), "{error}");
    assert_eq!(texts(&mut site, 0), [b"one"]);
}

#[test]
fn a_connection_that_is_ended_between_appends_costs_nothing() {
    let url = database();
    let (mut site, mut links) = writer(&url, "a");
    for n in 0..20u8 {
        append(&mut links[0], &[n]).unwrap();
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
            WHERE datname = current_database() AND application_name LIKE 'onsale shard 0'";
        // The one before may still be on its way out.
        let ended = sql(&url, end);
        assert!(!ended.is_empty() && ended.iter().all(|ended| ended == "t"), "{ended:?}");
        links[0].check().unwrap();
    }
    assert_eq!(texts(&mut site, 0).len(), 20);
}

#[test]
fn bad_addresses_and_databases_are_told() {
    let url = database();
    let told = |settings: &Settings| Site::connect(settings).err().unwrap().to_string();
    let error = Settings::parse("postgres://").unwrap_err().to_string();
    assert!(error.contains("names no user or no host"), "{error}");
    let error = Settings::parse("http://x").unwrap_err().to_string();
    assert!(error.contains("postgres://USER:PASSWORD@HOST:PORT/NAME"), "{error}");
    let error = Settings::parse(&format!("{url}?sslmode=verify-full")).unwrap_err().to_string();
    assert!(error.contains("sslmode must be disable, prefer or require"), "{error}");
    let required = settings(&format!("{url}?sslmode=require"), "a");
    let without = told(&required);
    assert!(without.contains("sslmode=require, but the server does not speak TLS"), "{without}");
    let strict = Settings { accepts_os: false, ..settings(&url, "a") };
    assert!(told(&strict).starts_with("fsync is off in the database"), "{}", told(&strict));
    let nobody = settings(&url.replace("onsale@", "nobody@"), "a");
    assert!(told(&nobody).starts_with("the database does not let us in"), "{}", told(&nobody));
    let nowhere = settings("postgres://onsale@127.0.0.1:1/x", "a");
    assert!(told(&nowhere).starts_with("the database can't be reached"), "{}", told(&nowhere));
    let mut site = Site::connect(&settings(&url, "a")).unwrap();
    assert_eq!(site.kept().unwrap(), Kept::Os);
    assert_eq!(site.identity(None).unwrap(), None);
    site.identity(Some(IDENTITY)).unwrap();
    sql(&url, "UPDATE onsale.log SET version = 99");
    let error = site.identity(Some(IDENTITY)).unwrap_err().to_string();
    assert!(error.contains("is of version 99, this program works with version 1"), "{error}");
    sql(&url, "DROP SCHEMA onsale CASCADE; CREATE SCHEMA onsale");
    let error = site.identity(Some(IDENTITY)).unwrap_err().to_string();
    assert!(error.contains("that is not ours"), "{error}");
    sql(
        &url,
        "DROP SCHEMA onsale; CREATE ROLE reader LOGIN; REVOKE CREATE ON DATABASE template1 FROM public",
    );
    let reader = settings(&url.replace("onsale@", "reader@"), "a");
    let error = Site::connect(&reader).unwrap().identity(Some(IDENTITY)).unwrap_err().to_string();
    assert!(error.starts_with("the database's user may not do what is needed"), "{error}");
}

#[test]
fn a_batch_that_was_changed_is_found_out() {
    let url = database();
    let (mut site, mut links) = writer(&url, "a");
    for n in 0..3u8 {
        append(&mut links[0], &[n]).unwrap();
    }
    sql(
        &url,
        "UPDATE onsale.batches SET records = records || '\\x00' WHERE shard = 0 AND first = 2",
    );
    let error = site.read(0, 0).unwrap_err().to_string();
    assert!(
        error.contains("shard 0, position 2 in the database: the records do not fit"),
        "{error}"
    );
    sql(&url, "DELETE FROM onsale.batches WHERE shard = 0 AND first = 2");
    let error = site.read(0, 0).unwrap_err().to_string();
    assert!(error.contains("the batch that begins here is not there"), "{error}");
}

#[test]
fn a_database_that_is_full_is_waited_for_and_not_for_ever() {
    let url = database();
    let (mut site, _) = writer(&url, "a");
    let full = "CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN RAISE EXCEPTION 'no space' USING ERRCODE = '53100'; END $$; \
        CREATE TRIGGER no_room BEFORE INSERT ON onsale.batches EXECUTE FUNCTION no_room()";
    sql(&url, full);
    let impatient = Settings { wait: Duration::from_secs(1), ..settings(&url, "a") };
    let mut link = Link::open(&impatient, 0).unwrap();
    let begun = std::time::Instant::now();
    let error = append(&mut link, b"one").unwrap_err();
    assert!(matches!(&error, Error::Unknown { why, .. } if why.contains("53100")), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // In time there is room again.
    let mut link = Link::open(&settings(&url, "a"), 0).unwrap();
    let waiting = std::thread::spawn(move || append(&mut link, b"one"));
    let terms = "SELECT term > 10 FROM onsale.heads WHERE shard = 0";
    wait_until("it is tried again", || sql(&url, terms) == ["t"]);
    sql(&url, "DROP TRIGGER no_room ON onsale.batches");
    waiting.join().unwrap().unwrap();
    assert_eq!(texts(&mut site, 0), [b"one"]);
}

#[test]
fn an_append_that_was_given_up_is_found_out_about_and_written_once() {
    let url = database();
    let (mut site, _) = writer(&url, "a");
    let impatient = Settings { wait: Duration::from_secs(6), ..settings(&url, "a") };
    let mut link = Link::open(&impatient, 0).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let blocker = runtime.block_on(async {
        let connected = tokio_postgres::connect(&url, tokio_postgres::NoTls).await;
        let (client, connection) = connected.unwrap();
        tokio::spawn(connection);
        client.batch_execute("BEGIN; LOCK TABLE onsale.batches IN SHARE MODE").await.unwrap();
        client
    });
    let before = site.heads().unwrap()[0].term;
    let waiting = std::thread::spawn(move || append(&mut link, b"one"));
    // Its connection is given up after two seconds, and the next one waits, too.
    let terms = format!("SELECT term > {before} FROM onsale.heads WHERE shard = 0");
    wait_until("the term is raised", || sql(&url, &terms) == ["t"]);
    let both = "SELECT count(*) >= 2 FROM pg_locks WHERE NOT granted AND mode = 'RowExclusiveLock'";
    wait_until("both wait", || sql(&url, both) == ["t"]);
    runtime.block_on(blocker.batch_execute("COMMIT")).unwrap();
    waiting.join().unwrap().unwrap();
    assert_eq!(texts(&mut site, 0), [b"one"]);
}

#[test]
fn streams_are_written_by_the_writer_alone_and_read_in_order() {
    let url = database();
    let (mut site, _links) = writer(&url, "a");
    let made = StreamState { generation: 5, first: 1, last: 0 };
    assert_eq!(site.stream("catalogue", 5).unwrap(), made);
    let one: (&str, &[u8]) = ("o/e", b"one");
    assert_eq!(site.append_to_stream("catalogue", &[one, ("o/f", b"two")], 100).unwrap(), 2);
    // A clock that goes back does not make a record older than the one before it.
    assert_eq!(site.append_to_stream("catalogue", &[("o/e", &[0, 255])], 50).unwrap(), 3);
    assert_eq!(site.stream("control", 6).unwrap().last, 0);
    let record = |position, key: &str, payload: &[u8]| StreamRecord {
        position,
        key: key.to_owned(),
        payload: payload.to_vec(),
        written_at_us: 100,
    };
    let all = [record(1, "o/e", b"one"), record(2, "o/f", b"two"), record(3, "o/e", &[0, 255])];
    assert_eq!(site.read_stream("catalogue", 0, 10, 1 << 20).unwrap(), all);
    assert_eq!(site.read_stream("catalogue", 0, 2, 1 << 20).unwrap(), all[..2]);
    assert_eq!(site.read_stream("catalogue", 1, 10, 1).unwrap(), all[1..2], "one at least");
    assert_eq!(site.read_stream("catalogue", 3, 10, 1).unwrap(), []);
    assert_eq!(site.trim_stream("catalogue", 1).unwrap(), 2);
    assert_eq!(site.trim_stream("catalogue", 0).unwrap(), 2);
    assert_eq!(site.read_stream("catalogue", 0, 10, 1 << 20).unwrap(), all[1..]);

    let (mut other, _others) = writer(&url, "b");
    let late = [
        site.append_to_stream("catalogue", &[one], 100).map(drop),
        site.trim_stream("catalogue", 3).map(drop),
        site.stream("catalogue", 7).map(drop),
    ];
    for late in late {
        let fenced = late.unwrap_err();
        assert!(matches!(&fenced, Error::Fenced { address } if address == "http://b"), "{fenced}");
    }
    let kept = StreamState { generation: 5, first: 2, last: 3 };
    assert_eq!(other.stream("catalogue", 7).unwrap(), kept);
    assert_eq!(other.append_to_stream("catalogue", &[one], 100).unwrap(), 4);
    // All of it may go; positions go on.
    assert_eq!(other.trim_stream("catalogue", u64::MAX).unwrap(), 5);
    assert_eq!(other.append_to_stream("catalogue", &[one], 100).unwrap(), 5);
}

/// A connection that ends between an append and its answer: whether it came to it is found out once it is decided.
#[test]
fn a_record_of_a_stream_that_was_deleted_by_hand_is_missed() {
    let url = database();
    let (mut site, _links) = writer(&url, "a");
    site.stream("catalogue", 5).unwrap();
    let texts: Vec<String> = (1..=6).map(|n| n.to_string()).collect();
    let records: Vec<(&str, &[u8])> = texts.iter().map(|text| ("o/e", text.as_bytes())).collect();
    site.append_to_stream("catalogue", &records, 100).unwrap();
    let read = |site: &mut Site, after| {
        let found = site.read_stream("catalogue", after, 10, 1 << 20);
        found.map(|found| found.iter().map(|record| record.position).collect::<Vec<u64>>())
    };
    // What retention took is not missed.
    assert_eq!(site.trim_stream("catalogue", 1).unwrap(), 2);
    assert_eq!(read(&mut site, 0).unwrap(), [2, 3, 4, 5, 6]);
    let delete = |position| {
        let of = "DELETE FROM onsale.stream_records WHERE stream = 'catalogue' AND position";
        sql(&url, &format!("{of} = {position}"));
    };
    let missing = |site: &mut Site, after, position| {
        let said = read(site, after).unwrap_err().to_string();
        let expected = format!("the record at position {position} of the stream catalogue is not ");
        assert!(said.starts_with(&expected), "{said}");
    };
    delete(4);
    assert_eq!(read(&mut site, 1).unwrap(), [2, 3]);
    missing(&mut site, 3, 4);
    delete(6);
    assert_eq!(read(&mut site, 4).unwrap(), [5]);
    missing(&mut site, 5, 6);
    delete(2);
    missing(&mut site, 0, 2);
    missing(&mut site, 1, 2);
    assert_eq!(read(&mut site, 6).unwrap(), [], "nothing follows the last");
}

#[test]
fn the_end_of_a_stream_waits_for_an_append_under_way() {
    let url = database();
    let (mut site, _links) = writer(&url, "a");
    site.stream("catalogue", 5).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let under_way = runtime.block_on(async {
        let (client, connection) =
            tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let sql = "BEGIN; UPDATE onsale.streams SET last = 1 WHERE name = 'catalogue'";
        client.batch_execute(sql).await.unwrap();
        (client, connection)
    });
    let (told, end) = std::sync::mpsc::channel();
    let asking = std::thread::spawn(move || {
        told.send(site.stream("catalogue", 5).map(|state| state.last)).unwrap();
    });
    let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'onsale control'
        AND wait_event_type = 'Lock'";
    wait_until("it waits for the row", || sql(&url, waits) == ["1"]);
    assert!(end.try_recv().is_err(), "it says where the stream ends, which is not decided");
    runtime.block_on(under_way.0.batch_execute("COMMIT")).unwrap();
    assert_eq!(end.recv().unwrap().unwrap(), 1);
    asking.join().unwrap();
}
