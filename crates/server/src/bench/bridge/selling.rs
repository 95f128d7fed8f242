//! What an attached bridge costs the platform's own sale: the box office sells as fast as it can, with a bridge that
//! follows it and without one.

use std::time::Duration;

use super::platform::{AtEngine, Place, Platform, runtime};
use crate::bench::Settings;
use crate::bench::report::{Figure, Goal, Unit};
use crate::bench::stats::{Side, interleaved};

/// Buyers at once.
const BUYERS: usize = 16;
/// How long each run sells.
const SECONDS: f64 = 5.0;
/// What is left of the rate at least.
const LEFT_MIN: f64 = 0.95;

/// For the report.
#[must_use]
pub fn note() -> String {
    format!(
        "The box office's own sale: {BUYERS} buyers, single tickets of one stock, an order and a transaction each, straight at the \
         database layer; the bridge and the engine run on the same cores, the engine also where no bridge is attached."
    )
}

/// The figure.
///
/// # Errors
/// A process does not start, or the box office does not sell.
pub fn figure(settings: &Settings, place: Place<'_>) -> anyhow::Result<Figure> {
    let engine = AtEngine::start()?;
    let how_long: Duration = settings.seconds(SECONDS);
    let (limits, products) = interleaved(settings.pairs, |side| {
        settings.tell(&format!("bridge: the box office's own sale, {}, {side:?}", place.name()));
        let (platform, runtime) = (Platform::new(place, None)?, runtime()?);
        let office = platform.office()?;
        let kind = runtime.block_on(onsale_classic::seed::bench(&office))?;
        let event = onsale_classic::seed::BENCH;
        let mut bridge = match side {
            Side::Limit => None,
            Side::Product => Some(platform.bridge(&engine, None)?),
        };
        if let Some(bridge) = &mut bridge {
            bridge.has_begun()?;
        }
        let sale = onsale_classic::bench::selling(&office, event, kind, BUYERS, how_long);
        let rate = runtime.block_on(sale)?;
        Ok(rate.orders_per_second())
    })?;
    let name = format!("the box office's own sale, {}, with a bridge", place.name());
    let limit = ("without a bridge", limits);
    let figure = Figure::beside(name, Unit::PerSecond, products, limit);
    Ok(figure.goal(Goal::OfLimit(LEFT_MIN)))
}
