//! Payments and refunds: what a provider of money says.

use std::sync::Arc;

use axum::extract::State;
use hyper::StatusCode;
use onsale_core::event::{PaymentRecorded, Subject};
use onsale_core::{Action, Currency, Fact, OrderCode, Reference, Time};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::openapi::{
    IdempotencyHeader, OrderPath, PaymentPath, ReferencePath, RequiredIdempotencyHeader,
};
use super::shapes::{Payment, PaymentAnswer, PaymentRequest, Receipt, RefundAnswer};
use super::work::carry_out;
use super::{Api, Call, Path, Rendered, Result, idempotency, json, names};
use crate::catalogue::{TIME_RULE, time_from_text};
use crate::keys::Scope;
use crate::problem::{Problem, kind};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(record_payment))
        .routes(routes!(record_refund))
        .routes(routes!(record_refund_by_reference))
}

/// Records that a provider took money for an order.
///
/// With the scope `pay`. The money is taken already, so it is recorded whatever became
/// of the order, up to 100 payments of one: it confirms the order (`applied`) or must
/// go back (`refund_due`). The same reference again is the same payment.
#[utoipa::path(
    post,
    path = "/v1/organizers/{organizer}/events/{event}/orders/{code}/payments",
    tag = "payments",
    params(OrderPath, RequiredIdempotencyHeader),
    request_body = PaymentRequest,
    responses((status = 201, description = "The payment.", body = PaymentAnswer)),
)]
async fn record_payment(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Pay])?;
    let order = path.order()?;
    let stamp = idempotency::stamp_required(&api, &call)?;
    call.expect_json()?;
    let request: PaymentRequest<'_> = json::parse(&call.body)?;
    let action = action(order, &request)?;
    let outcome = carry_out(&api, stamp, subject, action).await?;
    let answer = outcome.take(|fact| match fact {
        Fact::PaymentRecorded(recorded) => Some(self::answer(recorded, outcome.receipt)),
        _ => None,
    })?;
    Ok(Rendered::json(StatusCode::CREATED, &answer).replayed(outcome.replayed))
}

/// What a payment asks the core to do.
///
/// # Errors
/// A field is in the wrong form.
pub fn action(order: OrderCode, request: &PaymentRequest<'_>) -> Result<Action> {
    Ok(Action::RecordPayment {
        order,
        reference: Reference::new(&request.reference)
            .map_err(|error| Problem::text("reference", error))?,
        amount: request.amount.0,
        currency: currency(&request.currency)?,
        paid_at: request.paid_at.as_deref().map(paid_at).transpose()?,
    })
}

/// The answer to a payment that was recorded.
#[must_use]
pub fn answer(recorded: &PaymentRecorded, receipt: Receipt) -> PaymentAnswer {
    PaymentAnswer {
        order: recorded.order.to_string(),
        payment: Payment::new(recorded, names::payment_outcome(recorded.outcome)),
        receipt,
    }
}

/// Records that the money of a payment that was due back went back.
///
/// With the scope `pay`. The same payment again is refunded once.
#[utoipa::path(
    post,
    path = "/v1/organizers/{organizer}/events/{event}/orders/{code}/payments/{reference}/refund",
    tag = "payments",
    params(PaymentPath, IdempotencyHeader),
    responses((status = 200, description = "The payment is refunded.", body = RefundAnswer)),
)]
async fn record_refund(State(api): State<Arc<Api>>, path: Path, call: Call) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Pay])?;
    let order = Some(path.order()?);
    refund(&api, &call, subject, order, path.reference()?).await
}

/// Records a refund by the payment's reference alone, which is unique in its event.
///
/// With the scope `pay`. The same payment again is refunded once.
#[utoipa::path(
    post,
    path = "/v1/organizers/{organizer}/events/{event}/payments/{reference}/refund",
    tag = "payments",
    params(ReferencePath, IdempotencyHeader),
    responses((status = 200, description = "The payment is refunded.", body = RefundAnswer)),
)]
async fn record_refund_by_reference(
    State(api): State<Arc<Api>>,
    path: Path,
    call: Call,
) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Pay])?;
    refund(&api, &call, subject, None, path.reference()?).await
}

async fn refund(
    api: &Api,
    call: &Call,
    subject: Subject,
    order: Option<OrderCode>,
    reference: Reference,
) -> Result<Rendered> {
    let stamp = idempotency::stamp(api, call)?;
    call.expect_empty()?;
    let action = Action::RecordRefund { order, reference };
    let outcome = carry_out(api, stamp, subject, action).await?;
    let answer = outcome.take(|fact| match fact {
        Fact::PaymentRefunded { order, reference } => Some(RefundAnswer {
            order: order.to_string(),
            reference: reference.to_string(),
            state: "refunded",
            receipt: outcome.receipt,
        }),
        _ => None,
    })?;
    Ok(Rendered::json(StatusCode::OK, &answer).replayed(outcome.replayed))
}

fn currency(text: &str) -> Result<Currency> {
    Currency::new(text).ok_or_else(|| {
        let rule = "must be a currency of ISO 4217, such as EUR";
        Problem::field(&kind::UNKNOWN_CURRENCY, "currency", rule)
    })
}

fn paid_at(text: &str) -> Result<Time> {
    time_from_text(text).ok_or_else(|| Problem::field(&kind::INVALID_TIME, "paid_at", TIME_RULE))
}
