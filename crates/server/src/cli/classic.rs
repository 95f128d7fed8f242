//! `onsale classic`: the box office that sells by itself, in the usual way.

use std::io::BufRead as _;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::{Args, Subcommand, ValueEnum};
use onsale_classic::database::Place;
use onsale_classic::serve::{Office, serve};
use onsale_classic::{Database, Error, accounts, bench, catalogue, seed};
use tokio::signal::unix::{SignalKind, signal};

use super::{FAILED, OK, USAGE, complain, say};

/// Whose first user it is, where nobody said so.
const FIRST_ORGANIZER: (&str, &str) = ("house", "The house");
/// The first user, where nobody said so.
const FIRST_EMAIL: &str = "office@localhost";

const HELP: &str = "\
A small box office of its own: pages where organizers make events and see orders, a shop's pages, a \
JSON API, and a database that is made at the first start. It takes each sale as a transaction in that \
database. At the first start a user is made, and its password printed once.

  onsale classic --seed festival           something to try it with
  onsale classic --db postgres://user@localhost/boxoffice --listen 0.0.0.0:7080
  echo 'a long password' | onsale classic user --organizer river --email ann@example.org

Shop: http://127.0.0.1:7080/  Office: http://127.0.0.1:7080/office  API: docs/classic.md

Exit codes:
  0  it was told to stop, and did; or the command did what it was asked for
  1  the database or the address can't be used
  2  the arguments make no sense";

/// Runs a small box office with a database: a platform that sells all year.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ClassicArgs {
    /// The database: sqlite:FILE or postgres://USER@HOST/DATABASE, whose tables are made and kept up to date
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "sqlite:classic.db",
        env = "CLASSIC_DB",
        hide_env_values = true
    )]
    pub db: Place,
    /// Address and port to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7080")]
    pub listen: String,
    /// Makes an event to try it with, unless it is there
    #[arg(long, value_name = "EVENT")]
    pub seed: Option<Seed>,
    /// Sends cookies over TLS only: for a server behind a proxy with TLS
    #[arg(long)]
    pub secure_cookies: bool,
    /// Instead of serving.
    #[command(subcommand)]
    pub command: Option<ClassicCommand>,
}

/// An event to try it with.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Seed {
    /// The River Festival: 20,000 tickets, free and paid, on sale now
    Festival,
}

const EXIT_CODES: &str = "Exit codes:\n  \
    0  it was done\n  \
    1  the database can't be used, or a rule forbids it\n  \
    2  the arguments make no sense";

/// What else it does.
#[derive(Debug, Subcommand)]
pub enum ClassicCommand {
    /// Makes a user of the office, or gives one a new password, read from the first line of standard input
    #[command(after_help = EXIT_CODES)]
    User {
        /// The organizer's short name: a-z, 0-9 and -; made where there is none
        #[arg(long)]
        organizer: String,
        /// The organizer's name, where it is made [default: its short name]
        #[arg(long)]
        name: Option<String>,
        /// The user's e-mail address
        #[arg(long)]
        email: String,
    },
    /// Makes a key for the API and prints it, once; it replaces the one of that name
    #[command(after_help = EXIT_CODES)]
    Key {
        /// The organizer's short name; made where there is none
        #[arg(long)]
        organizer: String,
        /// What the key is for
        #[arg(long)]
        name: String,
    },
    /// Measures how fast it sells: single tickets of one stock to many buyers at once. Its orders stay
    #[command(after_help = EXIT_CODES)]
    Bench {
        /// How long
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
        seconds: u64,
        /// Buyers at once
        #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1_000))]
        buyers: u16,
        /// Prints one JSON object instead of text
        #[arg(long)]
        json: bool,
    },
}

/// Does it; returns the exit code.
pub fn run(args: &ClassicArgs) -> u8 {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(work(args)),
        Err(error) => Err(error.into()),
    };
    match done {
        Ok(()) => OK,
        Err(error) if error.downcast_ref::<Usage>().is_some() => complain(&error, USAGE),
        Err(error) => complain(&error, FAILED),
    }
}

/// Arguments that make no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// What is wrong with what was given is the arguments' fault, all else the database's.
fn told(error: Error) -> anyhow::Error {
    match error {
        Error::Invalid(_) => Usage(error.to_string()).into(),
        error => error.into(),
    }
}

async fn work(args: &ClassicArgs) -> anyhow::Result<()> {
    let db = Database::open(args.db.clone()).await?;
    match &args.command {
        None => serve_it(args, db).await,
        Some(ClassicCommand::User { organizer, name, email }) => {
            let mut password = String::new();
            std::io::stdin().lock().read_line(&mut password).context("standard input")?;
            let name = name.as_deref().unwrap_or(organizer);
            let id = accounts::add_organizer(&db, organizer, name).await.map_err(told)?;
            let password = password.trim_end_matches(['\r', '\n']);
            accounts::set_user(&db, id, email, password).await.map_err(told)?;
            say(&format!("{email} may log in for {organizer}"));
            Ok(())
        }
        Some(ClassicCommand::Key { organizer, name }) => {
            let id = accounts::add_organizer(&db, organizer, organizer).await.map_err(told)?;
            say(&accounts::add_key(&db, id, name).await.map_err(told)?);
            Ok(())
        }
        Some(ClassicCommand::Bench { seconds, buyers, json }) => {
            measure(&db, *seconds, *buyers, *json).await
        }
    }
}

async fn serve_it(args: &ClassicArgs, db: Database) -> anyhow::Result<()> {
    let [mut term, mut int] = [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?];
    let listener = tokio::net::TcpListener::bind(&args.listen).await;
    let listener = listener.with_context(|| format!("--listen {}", args.listen))?;
    if args.seed == Some(Seed::Festival) {
        seed::festival(&db).await?;
    }
    if !accounts::has_users(&db).await? {
        let (slug, name) = match args.seed {
            Some(Seed::Festival) => (seed::ORGANIZER, seed::ORGANIZER),
            None => FIRST_ORGANIZER,
        };
        let organizer = accounts::add_organizer(&db, slug, name).await?;
        let password = uuid::Uuid::new_v4().simple().to_string();
        accounts::set_user(&db, organizer, FIRST_EMAIL, &password).await?;
        say(&format!("user: {FIRST_EMAIL}\npassword: {password}"));
        say("It is shown this once: keep it, or set another by `onsale classic user`.");
    }
    let address = listener.local_addr()?;
    say(&format!("listening on http://{address}"));
    tracing::info!(%address, db = db.place(), "serving");
    let stop = async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        tracing::info!("stopping: requests under way get their answers");
    };
    serve(listener, Office::new(db, args.secure_cookies), stop).await;
    tracing::info!("stopped");
    Ok(())
}

/// Sells from a stock of its own, as large as a stock may be.
async fn measure(db: &Database, seconds: u64, buyers: u16, json: bool) -> anyhow::Result<()> {
    let ticket_type = seed::bench(db).await?;
    let event = seed::BENCH;
    let how_long = Duration::from_secs(seconds);
    let rate = bench::selling(db, event, ticket_type, buyers.into(), how_long).await?;
    let whole = db.read(|tx| {
        let event = catalogue::event_by_slug(tx, seed::BENCH)?;
        catalogue::whole(tx, event)
    });
    let over = whole.await?.stocks.iter().any(|stock| stock.free() < 0);
    ensure!(!over, "more was sold than there was");
    let per_second = rate.orders_per_second();
    match json {
        true => say(&format!(
            "{{\"orders\":{},\"seconds\":{:.3},\"orders_per_second\":{per_second:.1}}}",
            rate.orders, rate.seconds
        )),
        false => say(&format!(
            "{} orders in {:.1} s by {buyers} buyers at {}: {per_second:.0}/s",
            rate.orders,
            rate.seconds,
            db.place()
        )),
    }
    Ok(())
}
