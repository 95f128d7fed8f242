//! Orders: claimed holds and carts bought in one step.

use std::sync::Arc;

use axum::extract::State;
use hyper::StatusCode;
use onsale_core::view::{OrderView, PaymentView};
use onsale_core::{Action, CommandStamp, Fact};
use onsale_engine::{Query, View};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::call::Brief;
use super::holds::{customer, hold_id};
use super::openapi::{EventPath, IdempotencyHeader, OrderPath};
use super::shapes::{Order, OrderCancelled, OrderRequest, Payment, Ticket, items};
use super::work::{self, Begun, Outcome, carry_out, look, outcome, record, unexpected};
use super::{Api, Call, Path, Rendered, Result, idempotency, json, names};
use crate::admission::admit;
use crate::keys::Scope;
use crate::problem::{Problem, kind};
use crate::shards::Replied;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(place_order))
        .routes(routes!(get_order))
        .routes(routes!(cancel_order))
}

/// Makes an order of a hold, or of items in one step.
///
/// With the scope `sell`. One that costs nothing is confirmed at once and has its
/// tickets; another one awaits its payment until `payment_due`.
#[utoipa::path(
    post,
    path = "/v1/organizers/{organizer}/events/{event}/orders",
    tag = "orders",
    params(EventPath, IdempotencyHeader),
    request_body = OrderRequest,
    responses((status = 201, description = "The order.", body = Order)),
)]
async fn place_order(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    place(&api, &call, path.part("organizer"), path.part("event")).await
}

/// Makes an order; also reached below the router.
///
/// # Errors
/// The request is refused.
pub async fn place(api: &Api, call: &Call, organizer: &str, event: &str) -> Result<Rendered> {
    let (stamp, replied) = begin(api, &call.brief(), organizer, event)?.replied(api).await?;
    answer(api, call.redacted(), stamp, replied)
}

/// Hands an order to the shard of its event.
///
/// # Errors
/// The request is refused.
pub fn begin(api: &Api, brief: &Brief<'_>, organizer: &str, event: &str) -> Result<Begun> {
    let subject = brief.subject(organizer, event, &[Scope::Sell])?;
    brief.expect_json()?;
    let request: OrderRequest<'_> = json::parse(brief.body)?;
    let customer = customer(&request.customer)?;
    let mut shard = None;
    let action = match (&request.hold, &request.items) {
        (Some(hold), None) => Action::ClaimHold { hold: hold_id("hold", hold)?, customer },
        (None, Some(wishes)) => {
            shard = admit(api, &subject)?;
            Action::Buy { customer, items: items(wishes)? }
        }
        (Some(_), Some(_)) | (None, None) => {
            let rule = "either hold or items must be there, not both";
            return Err(Problem::field(&kind::HOLD_OR_ITEMS, "hold", rule));
        }
    };
    work::begin(api, idempotency::stamp_of(api, brief)?, subject, action, shard, |_, _, _| false)
}

/// What is answered once the shard has replied; ticket codes are left out where `redacted`.
///
/// # Errors
/// The request is refused.
pub fn answer(
    api: &Api,
    redacted: bool,
    stamp: CommandStamp,
    replied: Replied,
) -> Result<Rendered> {
    let outcome = outcome(api, stamp, replied)?;
    let order = placed(api, redacted, &outcome)?;
    Ok(Rendered::json(StatusCode::CREATED, &order).replayed(outcome.replayed))
}

/// The answer to an order that was placed, with its tickets where it is confirmed.
///
/// # Errors
/// It led to something else, which should not happen.
pub fn placed(api: &Api, redacted: bool, outcome: &Outcome) -> Result<Order> {
    outcome.take(|fact| match fact {
        Fact::OrderPlaced(placed) => {
            let key = api.shards.info(outcome.receipt.shard)?.key;
            let tickets = match placed.payment_due {
                None => Ticket::all(&key.tickets(placed), redacted),
                Some(_) => Vec::new(),
            };
            Some(Order::placed(placed, tickets, outcome.receipt))
        }
        _ => None,
    })
}

/// Shows an order with its tickets and payments.
#[utoipa::path(
    get,
    path = "/v1/organizers/{organizer}/events/{event}/orders/{code}",
    tag = "orders",
    params(OrderPath),
    responses((status = 200, description = "The order.", body = Order)),
)]
async fn get_order(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &Scope::ALL)?;
    let (organizer, event) = (subject.organizer, subject.event);
    let query = Query::Order { organizer, event, order: path.order()? };
    let (View::Order(view), receipt) = look(&api, query).await? else { return Err(unexpected()) };
    let Fact::OrderPlaced(placed) = record(&api, receipt.shard, view.position)?.fact else {
        return Err(unexpected());
    };
    let payments = payments(&api, receipt.shard, &view)?;
    let order = Order::standing(&view, &placed, payments, call.redacted(), receipt);
    Ok(Rendered::json(StatusCode::OK, &order))
}

fn payments(api: &Api, shard: u16, view: &OrderView) -> Result<Vec<Payment>> {
    let payment = |payment: &PaymentView| match record(api, shard, payment.position)?.fact {
        Fact::PaymentRecorded(recorded) => {
            Ok(Payment::new(&recorded, names::payment_state(payment.state)))
        }
        _ => Err(unexpected()),
    };
    view.payments.iter().map(payment).collect()
}

/// Cancels an order; its stock comes back, and what was paid is due back.
///
/// With the scope `sell` while it awaits its payment; with `manage` always.
#[utoipa::path(
    post,
    path = "/v1/organizers/{organizer}/events/{event}/orders/{code}/cancel",
    tag = "orders",
    params(OrderPath, IdempotencyHeader),
    responses((status = 200, description = "The order is cancelled.", body = OrderCancelled)),
)]
async fn cancel_order(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Sell, Scope::Manage])?;
    call.expect_empty()?;
    let order = path.order()?;
    let manage = call.grant.scopes.contains(Scope::Manage);
    let action = Action::CancelOrder { order, manage };
    let outcome = carry_out(&api, idempotency::stamp(&api, &call)?, subject, action).await?;
    let cancelled = outcome.take(|fact| match fact {
        Fact::OrderCancelled { order, reason } => Some(OrderCancelled {
            code: order.to_string(),
            state: "cancelled",
            cancel_reason: names::cancel_reason(*reason),
            receipt: outcome.receipt,
        }),
        _ => None,
    })?;
    Ok(Rendered::json(StatusCode::OK, &cancelled).replayed(outcome.replayed))
}
