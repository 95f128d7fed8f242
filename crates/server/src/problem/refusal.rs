//! The one place where the core's refusals become problems.

use onsale_core::catalogue::DefinitionRule;
use onsale_core::{Refusal, limits};

use super::{Kind, Problem, Text, kind};
use crate::api::names;
use crate::catalogue::time_to_text;

impl Problem {
    /// The problem that a refusal of the core is.
    #[must_use]
    pub fn from_refusal(refusal: &Refusal) -> Box<Problem> {
        if let Refusal::InvalidDefinition(invalid) = refusal {
            return Problem::from_rule(&invalid.field, &invalid.rule);
        }
        let mut problem = Problem::new(kind_of(refusal), refusal.to_string());
        fill_event(&mut problem, refusal);
        fill_cart(&mut problem, refusal);
        fill_order(&mut problem, refusal);
        problem
    }

    /// The problem that a broken rule of a definition is.
    #[must_use]
    pub fn from_rule(field: &str, rule: &DefinitionRule) -> Box<Problem> {
        use DefinitionRule as R;
        let kind = match rule {
            R::Name => &kind::NAME_LENGTH,
            R::Entries { .. } => &kind::ENTRY_COUNT,
            R::DuplicateId { .. } => &kind::DUPLICATE_ID,
            R::QuotaWithoutTicketType { .. } => &kind::QUOTA_WITHOUT_TICKET_TYPE,
            R::TicketTypeWithoutQuota { .. } => &kind::TICKET_TYPE_WITHOUT_QUOTA,
            R::UnknownQuota { .. } => &kind::UNKNOWN_QUOTA,
            R::UnknownTicketType { .. } => &kind::LIMIT_OF_UNKNOWN_TYPE,
            R::PriceBelowZero => &kind::PRICE_BELOW_ZERO,
            R::OutOfRange { .. } => &kind::OUT_OF_RANGE,
            R::WindowEndsBeforeItBegins => &kind::WINDOW_REVERSED,
            R::LimitWithoutNumber => &kind::LIMIT_WITHOUT_NUMBER,
        };
        let mut problem = Problem::field(kind, field, rule);
        match rule {
            R::Name => {
                (problem.min, problem.max) = (Some(1), Some(limits::NAME_BYTES_MAX as i64));
            }
            R::Entries { min, max } => {
                (problem.min, problem.max) = (Some(*min as i64), Some(*max as i64));
            }
            R::OutOfRange { min, max } => (problem.min, problem.max) = (Some(*min), Some(*max)),
            R::QuotaWithoutTicketType { quota } | R::UnknownQuota { id: quota } => {
                problem.quota = Some(Text(*quota));
            }
            R::TicketTypeWithoutQuota { ticket_type }
            | R::UnknownTicketType { id: ticket_type } => {
                problem.ticket_type = Some(Text(*ticket_type));
            }
            R::DuplicateId { .. }
            | R::PriceBelowZero
            | R::WindowEndsBeforeItBegins
            | R::LimitWithoutNumber => {}
        }
        problem
    }
}

/// The kind of each refusal. No wildcard: a new refusal must get its kind here.
fn kind_of(refusal: &Refusal) -> &'static Kind {
    match refusal {
        Refusal::UnknownEvent => &kind::UNKNOWN_EVENT,
        // Told by its rule, before it comes here.
        Refusal::InvalidDefinition(_) => &kind::INTERNAL,
        Refusal::VersionNotSaid { .. } => &kind::VERSION_NOT_SAID,
        Refusal::VersionStale { .. } => &kind::VERSION_STALE,
        Refusal::QuotaBelowUse { .. } => &kind::QUOTA_BELOW_USE,
        Refusal::QuotaInUse { .. } => &kind::QUOTA_IN_USE,
        Refusal::TicketTypeInUse { .. } => &kind::TICKET_TYPE_IN_USE,
        Refusal::CurrencyInUse => &kind::CURRENCY_IN_USE,
        Refusal::SaleGroupFixed { .. } => &kind::SALE_GROUP_FIXED,
        Refusal::TooManyEver { .. } => &kind::TOO_MANY_EVER,
        Refusal::NotOpen { .. } => &kind::EVENT_NOT_OPEN,
        Refusal::SaleNotBegun { .. } => &kind::SALE_NOT_BEGUN,
        Refusal::SaleOver { .. } => &kind::SALE_OVER,
        Refusal::LineCount => &kind::ITEM_COUNT,
        Refusal::UnknownTicketType { .. } => &kind::UNKNOWN_TICKET_TYPE,
        Refusal::Quantity { .. } => &kind::QUANTITY,
        Refusal::TooManyTickets { .. } => &kind::TOO_MANY_TICKETS,
        Refusal::PriceBelowMinimum { .. } => &kind::PRICE_BELOW_MINIMUM,
        Refusal::PriceFixed { .. } => &kind::PRICE_FIXED,
        Refusal::PriceTooHigh { .. } => &kind::PRICE_TOO_HIGH,
        Refusal::OrderLimit { .. } => &kind::ORDER_LIMIT,
        Refusal::CustomerLimit { .. } => &kind::CUSTOMER_LIMIT,
        Refusal::SoldOut { .. } => &kind::SOLD_OUT,
        Refusal::NoneFreeNow { .. } => &kind::NONE_FREE_NOW,
        Refusal::UnknownHold => &kind::UNKNOWN_HOLD,
        Refusal::HoldIdTaken => &kind::HOLD_ID_TAKEN,
        Refusal::HoldOfAnother => &kind::HOLD_OF_ANOTHER,
        Refusal::HoldExpired { .. } => &kind::HOLD_EXPIRED,
        Refusal::HoldReleased { .. } => &kind::HOLD_RELEASED,
        Refusal::HoldClaimed { .. } => &kind::HOLD_CLAIMED,
        Refusal::ExtendedBefore => &kind::EXTENDED_BEFORE,
        // Only a timer is told so.
        Refusal::NotDue => &kind::INTERNAL,
        Refusal::UnknownOrder => &kind::UNKNOWN_ORDER,
        Refusal::OrderCancelled { .. } => &kind::ORDER_CANCELLED,
        Refusal::NeedsManage => &kind::ORDER_CONFIRMED,
        Refusal::NothingToPay => &kind::NOTHING_TO_PAY,
        Refusal::PaymentAmount { .. } => &kind::PAYMENT_AMOUNT,
        Refusal::PaymentCurrency { .. } => &kind::PAYMENT_CURRENCY,
        Refusal::PaidAt => &kind::PAID_AT,
        Refusal::ReferenceUsed { .. } => &kind::REFERENCE_USED,
        Refusal::TooManyPayments => &kind::TOO_MANY_PAYMENTS,
        Refusal::UnknownPayment => &kind::UNKNOWN_PAYMENT,
        Refusal::NotDueBack => &kind::NOT_DUE_BACK,
        Refusal::IdReused => &kind::IDEMPOTENCY_KEY_REUSED,
        Refusal::IdTooOld { .. } => &kind::IDEMPOTENCY_KEY_TOO_OLD,
        Refusal::LaneMoved { .. } => &kind::LANE_MOVED,
        Refusal::ShardFull => &kind::SHARD_FULL,
    }
}

/// Numbers of refusals about events.
fn fill_event(problem: &mut Problem, refusal: &Refusal) {
    match refusal {
        Refusal::VersionNotSaid { current } => problem.version = Some(*current),
        Refusal::VersionStale { current } => problem.version = *current,
        Refusal::QuotaBelowUse { index, quota, asked, used } => {
            problem.field = Some(format!("quotas[{index}].capacity"));
            problem.quota = Some(Text(*quota));
            (problem.asked, problem.used) = (Some((*asked).into()), Some((*used).into()));
        }
        Refusal::QuotaInUse { quota, used } => {
            problem.field = Some("quotas".to_owned());
            (problem.quota, problem.used) = (Some(Text(*quota)), Some((*used).into()));
        }
        Refusal::TicketTypeInUse { ticket_type, used } => {
            problem.field = Some("ticket_types".to_owned());
            (problem.ticket_type, problem.used) = (Some(Text(*ticket_type)), Some((*used).into()));
        }
        Refusal::CurrencyInUse => problem.field = Some("currency".to_owned()),
        Refusal::SaleGroupFixed { group } => {
            problem.field = Some("sale_group".to_owned());
            problem.sale_group = Some(Text(*group));
        }
        Refusal::TooManyEver { field, max } => {
            (problem.field, problem.max) = (Some((*field).to_owned()), Some(*max as i64));
        }
        Refusal::NotOpen { state } => problem.state = Some(names::event_state(*state)),
        Refusal::LaneMoved { lane, epoch } => {
            (problem.lane, problem.epoch) = (Some(Text(*lane)), Some(*epoch));
        }
        _ => {}
    }
}

/// Numbers of refusals about carts and holds.
fn fill_cart(problem: &mut Problem, refusal: &Refusal) {
    let item = |line: usize, name: &str| Some(format!("items[{line}].{name}"));
    let ticket_type = |line: &Option<usize>| line.and_then(|line| item(line, "ticket_type"));
    match refusal {
        Refusal::SaleNotBegun { line, opens_at } => {
            problem.field = ticket_type(line);
            problem.opens_at = Some(time_to_text(*opens_at));
        }
        Refusal::SaleOver { line, closed_at } => {
            problem.field = ticket_type(line);
            problem.closed_at = Some(time_to_text(*closed_at));
        }
        Refusal::LineCount => {
            problem.field = Some("items".to_owned());
            (problem.min, problem.max) = (Some(1), Some(limits::LINES_MAX as i64));
        }
        Refusal::UnknownTicketType { line } => problem.field = item(*line, "ticket_type"),
        Refusal::Quantity { line, max } => {
            problem.field = item(*line, "quantity");
            (problem.min, problem.max) = (Some(1), Some((*max).into()));
        }
        Refusal::TooManyTickets { max } => {
            (problem.field, problem.max) = (Some("items".to_owned()), Some((*max).into()));
        }
        Refusal::PriceBelowMinimum { line, minimum: amount }
        | Refusal::PriceFixed { line, price: amount } => {
            (problem.field, problem.expected_amount) = (item(*line, "price"), Some(*amount));
        }
        Refusal::PriceTooHigh { line } => {
            (problem.field, problem.max) = (item(*line, "price"), Some(limits::PRICE_MAX));
        }
        Refusal::OrderLimit { limit, asked, max } => {
            problem.field = Some("items".to_owned());
            (problem.limit, problem.asked) = (Some(*limit as u64), Some((*asked).into()));
            problem.max = Some((*max).into());
        }
        Refusal::CustomerLimit { limit, has, asked, max } => {
            problem.field = Some("items".to_owned());
            (problem.limit, problem.asked) = (Some(*limit as u64), Some((*asked).into()));
            (problem.has, problem.max) = (Some((*has).into()), Some((*max).into()));
        }
        Refusal::SoldOut { quota, asked, free } => {
            problem.quota = Some(Text(*quota));
            (problem.asked, problem.free) = (Some((*asked).into()), Some((*free).into()));
        }
        Refusal::NoneFreeNow { quota, asked, free, held } => {
            (problem.quota, problem.held) = (Some(Text(*quota)), Some((*held).into()));
            (problem.asked, problem.free) = (Some((*asked).into()), Some((*free).into()));
        }
        Refusal::HoldOfAnother => problem.field = Some("customer".to_owned()),
        Refusal::HoldExpired { at } | Refusal::HoldReleased { at } => {
            problem.at = Some(time_to_text(*at));
        }
        Refusal::HoldClaimed { order } => problem.order = Some(order.to_string()),
        _ => {}
    }
}

/// Numbers of refusals about orders and payments.
fn fill_order(problem: &mut Problem, refusal: &Refusal) {
    match refusal {
        Refusal::OrderCancelled { reason } => {
            problem.cancel_reason = Some(names::cancel_reason(*reason));
        }
        Refusal::NeedsManage => problem.scopes = Some(vec!["manage"]),
        Refusal::PaymentAmount { expected } => {
            problem.field = Some("amount".to_owned());
            problem.expected_amount = Some(*expected);
        }
        Refusal::PaymentCurrency { expected } => {
            problem.field = Some("currency".to_owned());
            problem.expected_currency = Some(expected.as_str().to_owned());
        }
        Refusal::PaidAt => problem.field = Some("paid_at".to_owned()),
        Refusal::ReferenceUsed { order } => {
            problem.field = Some("reference".to_owned());
            problem.order = Some(order.to_string());
        }
        Refusal::TooManyPayments => problem.max = Some(limits::PAYMENTS_PER_ORDER_MAX.into()),
        Refusal::IdReused => problem.field = Some("Idempotency-Key".to_owned()),
        Refusal::IdTooOld { since } => {
            problem.field = Some("Idempotency-Key".to_owned());
            problem.since = Some(time_to_text(*since));
        }
        _ => {}
    }
}
