//! `--shift-to-now`: an on-sale that lies in the future, or long ago, begins now.

use onsale_core::{EventDefinition, Time, Window};

use super::{Import, NotCarried};

/// Moves all windows by the same time, so that the one that opens last opens now
/// and everything is on sale. Windows' ends and the events' own times move along.
/// Lists what has closed by then and thus is not on sale. Without any window that
/// opens, nothing is moved. A second's start is taken for now, so that a server
/// whose clock is a little behind sells at once.
pub fn shift_to_now(import: &mut Import, now: Time) {
    let now = Time(now.0 - now.0.rem_euclid(1_000_000));
    let latest =
        import.events.iter().flat_map(|e| windows(&e.definition)).filter_map(|w| w.opens_at).max();
    let Some(latest) = latest else { return };
    let shift_us = now.0 - latest.0;
    let move_time = |time: &mut Option<Time>| *time = time.map(|t| Time(t.0 + shift_us));
    for event in &mut import.events {
        let definition = &mut event.definition;
        move_time(&mut definition.starts_at);
        for window in windows_mut(definition) {
            move_time(&mut window.opens_at);
            move_time(&mut window.closes_at);
        }
        let mut closed = |what: String| {
            let reason = "has closed when the last window opens: is not on sale".to_owned();
            import.not_carried.push(NotCarried { what, reason, left_out: false });
        };
        let has_closed = |window: &Window| window.closes_at.is_some_and(|closes| closes <= now);
        if has_closed(&definition.sale) {
            closed(event.id.to_string());
            continue;
        }
        for ticket_type in definition.ticket_types.iter().filter(|t| has_closed(&t.sale)) {
            closed(format!("{}: ticket type {}", event.id, ticket_type.id));
        }
    }
}

fn windows(definition: &EventDefinition) -> impl Iterator<Item = &Window> {
    std::iter::once(&definition.sale).chain(definition.ticket_types.iter().map(|t| &t.sale))
}

fn windows_mut(definition: &mut EventDefinition) -> impl Iterator<Item = &mut Window> {
    let types = definition.ticket_types.iter_mut().map(|t| &mut t.sale);
    std::iter::once(&mut definition.sale).chain(types)
}
