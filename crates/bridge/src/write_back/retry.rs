//! Orders that were set aside, tried again: in batches, each with one write of the bridge's own file.

use std::collections::{BTreeMap, BTreeSet};

use super::sales::{OrderRecord, fold};
use super::strangers::{self, Strangers};
use super::{Context, Parked, Target, WAY, open, parked};
use crate::Error;
use crate::capture::event::Reader;
use crate::capture::orders::{CANCELLED, cancelled_by_engine};
use crate::database::{Database, Mode};
use crate::state::State;

/// Orders that are tried again in one transaction.
const ORDERS_AT_ONCE: usize = 500;

/// What became of orders that were set aside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Retried {
    /// They are there now.
    pub written: Vec<String>,
    /// They were cancelled in the engine and are not in the platform, so nothing is to be done.
    pub settled: Vec<String>,
    /// They are of events that are none of the platform's.
    pub passed_over: Vec<String>,
    /// They stay aside, and why.
    pub left: Vec<Parked>,
}

/// An order that is set aside.
struct Aside {
    code: String,
    records: Vec<OrderRecord>,
}

/// Has orders that were set aside tried again: all, or one. `told` is called after each batch: how many are done, and of how many.
///
/// # Errors
/// The platform can't be reached; nothing is lost.
pub async fn retry(
    context: &Context,
    order: Option<&str>,
    mut told: impl FnMut(usize, usize),
) -> Result<Retried, Error> {
    // Also where nothing is set aside: it says what is missing.
    let mut target = open(context).await?;
    let mut shards: BTreeMap<u16, Vec<Aside>> = BTreeMap::new();
    for (code, (_, records)) in parked(&context.state)? {
        if order.is_none_or(|order| order == code) {
            let shard = records.first().map_or(0, |record| record.shard);
            shards.entry(shard).or_default().push(Aside { code, records });
        }
    }
    let all: usize = shards.values().map(Vec::len).sum();
    let (mut retried, mut done) = (Retried::default(), 0);
    let mut strangers = Strangers::default();
    for batch in shards.values().flat_map(|orders| orders.chunks(ORDERS_AT_ONCE)) {
        try_again(context, &mut target, &mut strangers, batch, &mut retried).await?;
        done += batch.len();
        told(done, all);
    }
    Ok(retried)
}

async fn try_again(
    context: &Context,
    target: &mut Target,
    strangers: &mut Strangers,
    batch: &[Aside],
    retried: &mut Retried,
) -> Result<(), Error> {
    let state = &context.state;
    let subjects = batch.iter().filter_map(|aside| Some(aside.records.first()?.subject.as_str()));
    let foreign = strangers.among(context, &subjects.collect()).await?;
    let is_foreign = |aside: &&Aside| {
        aside.records.first().is_some_and(|record| foreign.contains(&record.subject))
    };
    let (others, ours): (Vec<&Aside>, Vec<&Aside>) = batch.iter().partition(is_foreign);
    let over = over(context, &ours).await?;
    let (over, ours): (Vec<&Aside>, Vec<&Aside>) =
        ours.into_iter().partition(|aside| over.contains(aside.code.as_str()));

    let records: Vec<OrderRecord> = ours.iter().flat_map(|aside| aside.records.clone()).collect();
    let left = match target {
        _ if records.is_empty() => Vec::new(),
        Target::Sql(writer, _) => writer.retry(&records).await?.parked,
        Target::Api(writer) => writer.retry(&records).await?.parked,
    };
    let stays: BTreeSet<&str> = left.iter().map(|(code, _)| code.as_str()).collect();
    let written: Vec<&Aside> =
        ours.into_iter().filter(|aside| !stays.contains(aside.code.as_str())).collect();

    let gone = others.iter().chain(&over).chain(&written);
    forget(state, gone.map(|aside| (aside.code.as_str(), aside.records.as_slice())))?;
    cancelled_by_engine(state, over.iter().map(|aside| aside.code.as_str()))?;
    let mut passed = strangers::Passed::new();
    for subject in others.iter().filter_map(|aside| Some(&aside.records.first()?.subject)) {
        *passed.entry(subject.clone()).or_default() += 1;
    }
    strangers::note(state, &passed)?;
    let codes =
        |of: Vec<&Aside>| of.into_iter().map(|aside| aside.code.clone()).collect::<Vec<_>>();
    retried.passed_over.extend(codes(others));
    retried.settled.extend(codes(over));
    retried.written.extend(codes(written));
    retried.left.extend(left);
    Ok(())
}

/// Forgets orders that were set aside, unless more came of one meanwhile.
///
/// # Errors
/// The bridge's own file fails.
pub(crate) fn forget<'a>(
    state: &State,
    orders: impl Iterator<Item = (&'a str, &'a [OrderRecord])>,
) -> Result<(), Error> {
    let entry = |(code, records): (&str, &[OrderRecord])| {
        let text = serde_json::to_string(records);
        Ok((code.to_owned(), text.map_err(|error| Error::State(error.to_string()))?))
    };
    state.forget_all(WAY, &orders.map(entry).collect::<Result<Vec<_>, Error>>()?)
}

/// Orders that are cancelled in the engine and that the platform does not have.
async fn over<'a>(context: &Context, orders: &[&'a Aside]) -> Result<BTreeSet<&'a str>, Error> {
    let mut over = BTreeSet::new();
    for aside in orders {
        let (found, odd) = fold(&aside.records);
        let status = found.into_iter().next().and_then(|order| order.status);
        // What came after it was cancelled, a refund, does not say so again.
        let echo =
            || Ok::<_, Error>(context.state.echo(&aside.code)?.and_then(|echo| echo.written));
        let status = if status.is_some() { status } else { echo()? };
        if odd.is_empty() && status.as_deref() == Some(CANCELLED) {
            over.insert(aside.code.as_str());
        }
    }
    if over.is_empty() {
        return Ok(over);
    }
    let mut db = Database::open(&context.db).await?;
    let reader = Reader::new(&context.dialect, db.kind())?;
    if !reader.has_orders() {
        return Ok(BTreeSet::new());
    }
    let mut gone = BTreeSet::new();
    for code in over {
        let mut tx = db.begin(Mode::Read).await?;
        match reader.order(&mut tx, code).await {
            Ok(None) => drop(gone.insert(code)),
            Ok(Some(_)) | Err(Error::Data { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(gone)
}
