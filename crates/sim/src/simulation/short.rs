//! Commands, queries and answers in a few words, for stories.

use onsale_core::command::{Action, Command, HoldId, Items};
use onsale_engine::{Answer, Query, Reply};

use super::Ask;

/// How much of a thing without words of its own is shown.
const CHARS_MAX: usize = 160;

pub(super) fn ask(ask: &Ask) -> String {
    match ask {
        Ask::Command(command) => self::command(command),
        Ask::Query(query) => self::query(query),
    }
}

pub(super) fn command(command: &Command) -> String {
    let of = format!("{}/{}", command.organizer, command.event);
    let id = match command.stamp.chosen {
        true => format!("id {:04x}", command.stamp.id & 0xffff),
        false => "no id".to_owned(),
    };
    format!("{of}: {} ({id})", action(&command.action))
}

fn action(action: &Action) -> String {
    match action {
        Action::DefineEvent { definition, expects } => {
            let quotas = definition.quotas.iter().map(|q| format!("{} {:?}", q.id, q.capacity));
            let quotas: Vec<String> = quotas.collect();
            format!("define, group {}, {expects:?}, {}", definition.sale_group, quotas.join(", "))
        }
        Action::SetState { state, .. } => format!("set {state:?}"),
        Action::PlaceHold { hold, customer, items } => {
            format!("hold {} for {customer}: {}", short_id(*hold), cart(items))
        }
        Action::ExtendHold { hold } => format!("extend {}", short_id(*hold)),
        Action::ReleaseHold { hold } => format!("release {}", short_id(*hold)),
        Action::ClaimHold { hold, customer } => format!("claim {} as {customer}", short_id(*hold)),
        Action::Buy { customer, items } => format!("buy for {customer}: {}", cart(items)),
        Action::RecordPayment { order, reference, amount, .. } => {
            format!("pay {order} {amount}, reference {reference}")
        }
        Action::RecordRefund { reference, .. } => format!("refund {reference}"),
        Action::CancelOrder { order, manage } => format!("cancel {order}, manage {manage}"),
        Action::ExpireHold { hold } => format!("expire {}", short_id(*hold)),
        Action::ExpireOrder { order } => format!("expire {order}"),
    }
}

fn cart(items: &Items) -> String {
    let items: Vec<String> =
        items.iter().map(|item| format!("{} × {}", item.quantity, item.ticket_type)).collect();
    items.join(" + ")
}

fn short_id(hold: HoldId) -> String {
    format!("{:04x}", hold.0 & 0xffff)
}

pub(super) fn query(query: &Query) -> String {
    match query {
        Query::Event { organizer, event } => format!("{organizer}/{event}: show"),
        Query::Availability { organizer, event } => format!("{organizer}/{event}: what is left"),
        Query::Hold { organizer, event, hold } => {
            format!("{organizer}/{event}: show hold {}", short_id(*hold))
        }
        Query::Order { organizer, event, order } => {
            format!("{organizer}/{event}: show order {order}")
        }
    }
}

pub(super) fn reply(reply: &Reply) -> String {
    let answer = match &reply.answer {
        Answer::Done(event) => cut(format!("done: {:?}", event.fact)),
        Answer::Repeated { position } => format!("repeated: position {position}"),
        Answer::Refused(refusal) => format!("refused: {refusal:?}"),
        Answer::View(view) => cut(format!("{view:?}")),
        other => format!("{other:?}"),
    };
    format!("at {}: {answer}", reply.position)
}

pub(super) fn cut(text: String) -> String {
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
