//! What a batch is made of, and what it is answered with.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::json::Whole;
use crate::api::shapes::{
    Hold, HoldExtended, HoldReleased, ItemRequest, Order, PaymentAnswer, PaymentRequest,
};
use crate::object;
use crate::problem::Problem;

/// Commands for one event. Each stands alone: it is carried out or refused whatever
/// becomes of the others, in the order in which they stand here.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct BatchRequest<'a> {
    /// What to do: 1 to 1,000 commands.
    #[serde(borrow)]
    pub commands: Vec<CommandRequest<'a>>,
}

/// One command of a batch; its `op` says which.
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum CommandRequest<'a> {
    /// As `POST …/holds`.
    #[serde(borrow)]
    Hold(HoldCommand<'a>),
    /// As `POST …/orders` with items.
    Buy(BuyCommand<'a>),
    /// As `POST …/orders` with a hold.
    Claim(ClaimCommand<'a>),
    /// As `DELETE …/holds/{hold}`.
    Release(ReleaseCommand<'a>),
    /// As `POST …/holds/{hold}/extend`.
    Extend(ExtendCommand<'a>),
    /// As `POST …/orders/{code}/payments`.
    Payment(PaymentCommand<'a>),
}

impl CommandRequest<'_> {
    /// The command's own key.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&str> {
        match self {
            CommandRequest::Hold(command) => command.idempotency_key.as_deref(),
            CommandRequest::Buy(command) => command.idempotency_key.as_deref(),
            CommandRequest::Claim(command) => command.idempotency_key.as_deref(),
            CommandRequest::Release(command) => command.idempotency_key.as_deref(),
            CommandRequest::Extend(command) => command.idempotency_key.as_deref(),
            CommandRequest::Payment(command) => command.idempotency_key.as_deref(),
        }
    }
}

/// Places a hold.
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct HoldCommand<'a> {
    /// `hold`
    #[schema(value_type = String, pattern = "^hold$", example = "hold")]
    pub op: IgnoredAny,
    /// As the header `Idempotency-Key`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Who.
    #[serde(borrow)]
    #[schema(value_type = String, example = "customer-17")]
    pub customer: Cow<'a, str>,
    /// What: 1 to 32 items, all or nothing.
    #[serde(borrow, deserialize_with = "object::list")]
    pub items: Vec<ItemRequest<'a>>,
}

/// Buys in one step.
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct BuyCommand<'a> {
    /// `buy`
    #[schema(value_type = String, pattern = "^buy$", example = "buy")]
    pub op: IgnoredAny,
    /// As the header `Idempotency-Key`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Who.
    #[serde(borrow)]
    #[schema(value_type = String, example = "customer-17")]
    pub customer: Cow<'a, str>,
    /// What: 1 to 32 items, all or nothing.
    #[serde(borrow, deserialize_with = "object::list")]
    pub items: Vec<ItemRequest<'a>>,
}

/// Makes an order of a hold.
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ClaimCommand<'a> {
    /// `claim`
    #[schema(value_type = String, pattern = "^claim$", example = "claim")]
    pub op: IgnoredAny,
    /// As the header `Idempotency-Key`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Who; the one it was placed for.
    #[serde(borrow)]
    #[schema(value_type = String, example = "customer-17")]
    pub customer: Cow<'a, str>,
    /// Id of the hold.
    #[serde(borrow)]
    #[schema(value_type = String, format = "uuid")]
    pub hold: Cow<'a, str>,
}

/// Gives a hold's tickets back.
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ReleaseCommand<'a> {
    /// `release`
    #[schema(value_type = String, pattern = "^release$", example = "release")]
    pub op: IgnoredAny,
    /// As the header `Idempotency-Key`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Id of the hold.
    #[serde(borrow)]
    #[schema(value_type = String, format = "uuid")]
    pub hold: Cow<'a, str>,
}

/// Gives a hold its full time again, once.
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct ExtendCommand<'a> {
    /// `extend`
    #[schema(value_type = String, pattern = "^extend$", example = "extend")]
    pub op: IgnoredAny,
    /// As the header `Idempotency-Key`.
    #[serde(borrow)]
    #[schema(value_type = Option<String>)]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Id of the hold.
    #[serde(borrow)]
    #[schema(value_type = String, format = "uuid")]
    pub hold: Cow<'a, str>,
}

/// Records that a provider took money for an order.
#[derive(Debug, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub struct PaymentCommand<'a> {
    /// `payment`
    #[schema(value_type = String, pattern = "^payment$", example = "payment")]
    pub op: IgnoredAny,
    /// As the header `Idempotency-Key`; it must be there.
    #[serde(borrow)]
    #[schema(value_type = String)]
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Code of the order.
    #[serde(borrow)]
    #[schema(value_type = String, example = "EH7K2MXQ4T")]
    pub order: Cow<'a, str>,
    /// In minor units; exactly the order's total.
    #[schema(value_type = i64, example = 5_000)]
    pub amount: Whole,
    /// The event's currency.
    #[serde(borrow)]
    #[schema(value_type = String, example = "EUR")]
    pub currency: Cow<'a, str>,
    /// The payment's own key at its provider, unique in the event.
    #[serde(borrow)]
    #[schema(value_type = String, example = "till-3-000871")]
    pub reference: Cow<'a, str>,
    /// When the provider took it, RFC 3339; left out: now.
    #[serde(borrow)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub paid_at: Option<Cow<'a, str>>,
}

impl<'a> PaymentCommand<'a> {
    /// The body of the same payment as a request of its own.
    #[must_use]
    pub fn into_request(self) -> PaymentRequest<'a> {
        let PaymentCommand { amount, currency, reference, paid_at, .. } = self;
        PaymentRequest { amount, currency, reference, paid_at }
    }
}

/// One answer per command, in the order of the commands.
#[derive(Debug, Serialize, ToSchema)]
pub struct BatchAnswer {
    /// The answers.
    pub answers: Vec<CommandAnswer>,
}

/// What a request of its own would have been answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommandAnswer {
    /// Its status.
    #[schema(example = 201)]
    pub status: u16,
    /// Whether it was carried out before, under the same key; left out where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replayed: bool,
    /// Its body.
    pub body: AnswerBody,
}

/// The body of an answer: a problem from status 400 on.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum AnswerBody {
    /// Of `hold`.
    Hold(Hold),
    /// Of `buy` and `claim`.
    Order(Order),
    /// Of `release`.
    Released(HoldReleased),
    /// Of `extend`.
    Extended(HoldExtended),
    /// Of `payment`.
    Payment(PaymentAnswer),
    /// Why it was refused.
    Problem(Box<Problem>),
}
