//! Many commands in one request: the fast lane for a front tier. They are handed to the
//! event's shard together, and are durable by one sync as a rule; each is answered
//! as a request of its own would be.

mod read;
pub mod shapes;
mod write;

pub use read::{check_both_ways, hold};

use std::sync::Arc;

use axum::extract::{FromRequest, Request, State};
use hyper::StatusCode;
use onsale_core::event::Subject;
use onsale_core::{Action, Command, CommandStamp, Refusal};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::read::{Sent, Taker};
use self::shapes::{BatchAnswer, BatchRequest, CommandRequest};
use super::call::{meter, order_code};
use super::holds::{HoldIds, customer, hold_id};
use super::openapi::EventPath;
use super::shapes::items;
use super::work::unavailable;
use super::{Api, Call, Path, Rendered, Result, idempotency, payments};
use crate::admission::admit;
use crate::keys::Scope;
use crate::problem::{Problem, kind};
use crate::shards::Batch;

/// Commands in one batch.
pub const COMMANDS_MAX: usize = 1_000;
/// Commands are rarely shorter; from this follows how many there will be.
const COMMAND_BYTES: usize = 100;

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new().routes(routes!(carry_out_batch))
}

/// A call with a larger body than others may have.
struct LargeCall(Call);

impl FromRequest<Arc<Api>> for LargeCall {
    type Rejection = Box<Problem>;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<LargeCall> {
        let (parts, body) = request.into_parts();
        Call::read_up_to(api, parts, body, api.limits.batch_body_bytes).await.map(LargeCall)
    }
}

/// Carries out up to 1,000 commands, one by one and in order.
///
/// With the scope `sell`, or `pay` for payments. Each command is answered as a request of
/// its own would be, with a status and a body: one that is refused, or is wrong in itself, stops
/// no other. Nothing is answered before all of it is durable. The same
/// `idempotency_key` with the same text gives the same answer.
#[utoipa::path(
    post,
    path = "/v1/organizers/{organizer}/events/{event}/batch",
    tag = "batch",
    params(EventPath),
    request_body = BatchRequest,
    responses((status = 200, description = "An answer for each.", body = BatchAnswer)),
)]
async fn carry_out_batch(
    State(api): State<Arc<Api>>,
    path: Path,
    LargeCall(call): LargeCall,
) -> Result<Rendered> {
    let subject = path.subject(&call, &[Scope::Sell, Scope::Pay])?;
    call.expect_json()?;
    if call.headers.contains_key(idempotency::HEADER) {
        let rule = "each command of a batch has its own, idempotency_key: leave the header out";
        return Err(Problem::field(&kind::INVALID_IDEMPOTENCY_KEY, "Idempotency-Key", rule));
    }
    let Some(shard) = api.shards.of_event(&subject.organizer, &subject.event) else {
        return Err(Problem::from_refusal(&Refusal::UnknownEvent));
    };
    let mut maker = Maker::new(&api, &call, subject);
    if let Err(problem) = read::read(&call.body, &mut maker) {
        api.batches.give_back(maker.batch);
        return Err(problem);
    }
    let Maker { batch, stamps, .. } = maker;
    // The request itself has counted as one.
    let more = u32::try_from(stamps.len().saturating_sub(1)).unwrap_or(u32::MAX);
    meter(&api, &call.grant, more)?;
    let batch = api.shards.batch(shard, batch).await;
    let batch = batch.map_err(|error| unavailable(&api, error))?;
    let body = write::answers(&api, &call, shard, stamps, batch);
    Ok(Rendered::new(StatusCode::OK, "application/json", body))
}

/// Makes commands of what was sent.
struct Maker<'a> {
    api: &'a Api,
    call: &'a Call,
    subject: Subject,
    ids: HoldIds,
    batch: Box<Batch>,
    /// Those of the commands, or what is wrong with one.
    stamps: Vec<Result<CommandStamp>>,
}

impl<'a> Taker<'a> for Maker<'_> {
    fn take(&mut self, sent: Sent<'a>) {
        let command = self.command(sent);
        self.stamps.push(command.map(|command| {
            let stamp = command.stamp;
            self.batch.commands.push(command);
            stamp
        }));
    }

    fn begin_again(&mut self) {
        self.batch.commands.clear();
        self.stamps.clear();
    }
}

impl<'a> Maker<'a> {
    fn new(api: &'a Api, call: &'a Call, subject: Subject) -> Maker<'a> {
        let stamps = Vec::with_capacity((call.body.len() / COMMAND_BYTES + 1).min(COMMANDS_MAX));
        let mut batch = api.batches.take(write::tell);
        write::begin(&mut batch, stamps.capacity());
        Maker { api, call, subject, ids: HoldIds::now(), batch, stamps }
    }

    fn command(&self, sent: Sent<'_>) -> Result<Command> {
        let request = sent.command?;
        let key = request.idempotency_key();
        let stamp = idempotency::stamp_in_batch(self.api, key, sent.text)?;
        let Subject { organizer, event } = self.subject;
        Ok(Command { stamp, organizer, event, action: self.action(request)? })
    }

    fn action(&self, request: CommandRequest<'_>) -> Result<Action> {
        let scope = match request {
            CommandRequest::Payment(_) => Scope::Pay,
            _ => Scope::Sell,
        };
        self.call.needs(&[scope])?;
        Ok(match request {
            CommandRequest::Hold(hold) => {
                admit(self.api, &self.subject)?;
                Action::PlaceHold {
                    hold: self.ids.next(),
                    customer: customer(&hold.customer)?,
                    items: items(&hold.items)?,
                }
            }
            CommandRequest::Buy(buy) => {
                admit(self.api, &self.subject)?;
                Action::Buy { customer: customer(&buy.customer)?, items: items(&buy.items)? }
            }
            CommandRequest::Claim(claim) => Action::ClaimHold {
                customer: customer(&claim.customer)?,
                hold: hold_id("hold", &claim.hold)?,
            },
            CommandRequest::Release(release) => {
                Action::ReleaseHold { hold: hold_id("hold", &release.hold)? }
            }
            CommandRequest::Extend(extend) => {
                Action::ExtendHold { hold: hold_id("hold", &extend.hold)? }
            }
            CommandRequest::Payment(payment) => {
                if payment.idempotency_key.is_none() {
                    return Err(Problem::field(
                        &kind::IDEMPOTENCY_KEY_REQUIRED,
                        "idempotency_key",
                        idempotency::REQUIRED_RULE,
                    ));
                }
                let order = order_code("order", &payment.order)?;
                payments::action(order, &payment.into_request())?
            }
        })
    }
}
