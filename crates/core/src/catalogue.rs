//! What is for sale: the definition of an event, and the rules that it must keep.

use std::collections::BTreeSet;

use crate::limits::{
    CAPACITY_MAX, HOLD_SECONDS, INTEGER_MAX, LIMITS_MAX, NAME_BYTES_MAX, PAYMENT_SECONDS,
    PRICE_MAX, QUOTAS_MAX, QUOTAS_PER_TYPE_MAX, TICKET_TYPES_MAX,
};
use crate::text::Id;
use crate::time::Time;

/// An ISO 4217 code: three capital letters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Takes three capital letters; whether ISO knows them is the caller's to check.
    #[must_use]
    pub fn new(code: &str) -> Option<Currency> {
        let bytes: [u8; 3] = code.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_uppercase).then_some(Currency(bytes))
    }

    /// The code.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("three capital letters")
    }
}

impl std::fmt::Debug for Currency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether an event sells. A new one is paused. Paused and closed stop new holds
/// and extensions; claims and payments go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EventState {
    /// Sells.
    Open,
    /// Does not sell for now.
    Paused,
    /// Does not sell any more (but may be opened again).
    Closed,
}

impl std::fmt::Display for EventState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            EventState::Open => "open",
            EventState::Paused => "paused",
            EventState::Closed => "closed",
        })
    }
}

/// When something is on sale: `[opens_at, closes_at)`, open-ended where left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Window {
    /// From when.
    pub opens_at: Option<Time>,
    /// Until before when.
    pub closes_at: Option<Time>,
}

/// The whole definition of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EventDefinition {
    /// For people.
    pub name: String,
    /// Of all its prices.
    pub currency: Currency,
    /// When the event itself begins, for people.
    pub starts_at: Option<Time>,
    /// When it is on sale.
    pub sale: Window,
    /// How many tickets an order and a customer may have.
    pub limits: Vec<Limit>,
    /// How long a hold lives.
    pub hold_seconds: u32,
    /// How long a buyer has to pay an order.
    pub payment_seconds: u32,
    /// The events that share a writer with it.
    pub sale_group: Id,
    /// Pools of stock.
    pub quotas: Vec<QuotaDefinition>,
    /// What buyers pick.
    pub ticket_types: Vec<TicketTypeDefinition>,
}

/// A limit over all ticket types of an event or a set of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Over these; empty: over all.
    pub ticket_types: Vec<Id>,
    /// Tickets in one hold or order.
    pub per_order: Option<u32>,
    /// Tickets that one customer may hold and own.
    pub per_customer: Option<u32>,
}

/// A counted pool of stock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuotaDefinition {
    /// Its id, unique in the event.
    pub id: Id,
    /// How many there are; none: unlimited.
    pub capacity: Option<u32>,
}

/// What a buyer picks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TicketTypeDefinition {
    /// Its id, unique in the event.
    pub id: Id,
    /// For people.
    pub name: String,
    /// For one ticket, in minor units.
    pub price: i64,
    /// Whether the buyer may pay more than the price.
    pub free_price: bool,
    /// The quotas it draws on, at least one.
    pub quotas: Vec<Id>,
    /// When it is on sale, within the event's own window.
    pub sale: Window,
}

/// What is wrong with a definition, and where.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {rule}")]
pub struct InvalidDefinition {
    /// Path of the field, as in the JSON form: `ticket_types[2].quotas[0]`.
    pub field: String,
    /// The rule it breaks.
    pub rule: DefinitionRule,
}

/// The rules of a definition.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DefinitionRule {
    /// A name is empty or too long.
    #[error("must be 1 to {max} bytes long", max = NAME_BYTES_MAX)]
    Name,
    /// Too few or too many entries in a list.
    #[error("must have {min} to {max} entries")]
    Entries {
        /// At least.
        min: usize,
        /// At most.
        max: usize,
    },
    /// The same id twice.
    #[error("the id {id} is there twice")]
    DuplicateId {
        /// The id.
        id: Id,
    },
    /// A quota that no ticket type draws on.
    #[error("the quota {quota} has no ticket type that draws on it")]
    QuotaWithoutTicketType {
        /// The quota.
        quota: Id,
    },
    /// A ticket type that draws on no quota.
    #[error("the ticket type {ticket_type} draws on no quota")]
    TicketTypeWithoutQuota {
        /// The ticket type.
        ticket_type: Id,
    },
    /// A ticket type draws on a quota that is not defined.
    #[error("there is no quota {id}")]
    UnknownQuota {
        /// The quota.
        id: Id,
    },
    /// A limit is over a ticket type that is not defined.
    #[error("there is no ticket type {id}")]
    UnknownTicketType {
        /// The ticket type.
        id: Id,
    },
    /// A price below zero.
    #[error("must not be below zero")]
    PriceBelowZero,
    /// A number beyond its range.
    #[error("must be {min} to {max}")]
    OutOfRange {
        /// At least.
        min: i64,
        /// At most.
        max: i64,
    },
    /// A window that ends before it begins, or is empty.
    #[error("must be later than opens_at")]
    WindowEndsBeforeItBegins,
    /// A limit that limits nothing.
    #[error("must have per_order or per_customer")]
    LimitWithoutNumber,
}

impl EventDefinition {
    /// Checks the definition by itself: ids unique, references known, numbers in range.
    ///
    /// # Errors
    /// The first rule that is broken, with the path of the field.
    pub fn validate(&self) -> Result<(), InvalidDefinition> {
        let bad = |field: String, rule| Err(InvalidDefinition { field, rule });
        let range =
            |field: String, value: i64, min: i64, max: i64| match (min..=max).contains(&value) {
                true => Ok(()),
                false => {
                    Err(InvalidDefinition { field, rule: DefinitionRule::OutOfRange { min, max } })
                }
            };
        check_name("name", &self.name)?;
        check_time("starts_at", self.starts_at)?;
        check_window("sale", &self.sale)?;
        let (min, max) = (*HOLD_SECONDS.start() as i64, *HOLD_SECONDS.end() as i64);
        range("hold_seconds".into(), self.hold_seconds as i64, min, max)?;
        let (min, max) = (*PAYMENT_SECONDS.start() as i64, *PAYMENT_SECONDS.end() as i64);
        range("payment_seconds".into(), self.payment_seconds as i64, min, max)?;
        check_entries("quotas", self.quotas.len(), 1, QUOTAS_MAX)?;
        check_entries("ticket_types", self.ticket_types.len(), 1, TICKET_TYPES_MAX)?;
        check_entries("limits", self.limits.len(), 0, LIMITS_MAX)?;
        check_unique("quotas", self.quotas.iter().map(|q| q.id))?;
        check_unique("ticket_types", self.ticket_types.iter().map(|t| t.id))?;
        for (i, quota) in self.quotas.iter().enumerate() {
            let capacity = quota.capacity.unwrap_or(0) as i64;
            range(format!("quotas[{i}].capacity"), capacity, 0, CAPACITY_MAX as i64)?;
        }
        let quotas: BTreeSet<&Id> = self.quotas.iter().map(|q| &q.id).collect();
        for (i, ticket_type) in self.ticket_types.iter().enumerate() {
            ticket_type.validate(&format!("ticket_types[{i}]"), &quotas)?;
        }
        // After the types: a type that names a wrong quota, or none, often leaves one without a type.
        let drawn_on: BTreeSet<&Id> = self.ticket_types.iter().flat_map(|t| &t.quotas).collect();
        for (i, quota) in self.quotas.iter().enumerate() {
            if !drawn_on.contains(&quota.id) {
                let rule = DefinitionRule::QuotaWithoutTicketType { quota: quota.id };
                return bad(format!("quotas[{i}]"), rule);
            }
        }
        let types: BTreeSet<&Id> = self.ticket_types.iter().map(|t| &t.id).collect();
        for (i, limit) in self.limits.iter().enumerate() {
            limit.validate(&format!("limits[{i}]"), &types)?;
        }
        Ok(())
    }
}

impl TicketTypeDefinition {
    fn validate(&self, at: &str, quotas: &BTreeSet<&Id>) -> Result<(), InvalidDefinition> {
        let bad =
            |field: &str, rule| Err(InvalidDefinition { field: format!("{at}.{field}"), rule });
        check_name(&format!("{at}.name"), &self.name)?;
        check_window(&format!("{at}.sale"), &self.sale)?;
        if self.price < 0 {
            return bad("price", DefinitionRule::PriceBelowZero);
        }
        if self.price > PRICE_MAX {
            return bad("price", DefinitionRule::OutOfRange { min: 0, max: PRICE_MAX });
        }
        if self.quotas.is_empty() {
            return bad("quotas", DefinitionRule::TicketTypeWithoutQuota { ticket_type: self.id });
        }
        check_entries(&format!("{at}.quotas"), self.quotas.len(), 1, QUOTAS_PER_TYPE_MAX)?;
        check_unique(&format!("{at}.quotas"), self.quotas.iter().copied())?;
        for (i, id) in self.quotas.iter().enumerate() {
            if !quotas.contains(id) {
                return bad(&format!("quotas[{i}]"), DefinitionRule::UnknownQuota { id: *id });
            }
        }
        Ok(())
    }
}

impl Limit {
    fn validate(&self, at: &str, types: &BTreeSet<&Id>) -> Result<(), InvalidDefinition> {
        let bad = |field: String, rule| Err(InvalidDefinition { field, rule });
        check_entries(&format!("{at}.ticket_types"), self.ticket_types.len(), 0, TICKET_TYPES_MAX)?;
        check_unique(&format!("{at}.ticket_types"), self.ticket_types.iter().copied())?;
        for (i, id) in self.ticket_types.iter().enumerate() {
            if !types.contains(id) {
                let rule = DefinitionRule::UnknownTicketType { id: *id };
                return bad(format!("{at}.ticket_types[{i}]"), rule);
            }
        }
        for (field, number) in [("per_order", self.per_order), ("per_customer", self.per_customer)]
        {
            if number.is_some_and(|n| n == 0 || n > CAPACITY_MAX) {
                let rule = DefinitionRule::OutOfRange { min: 1, max: CAPACITY_MAX as i64 };
                return bad(format!("{at}.{field}"), rule);
            }
        }
        if self.per_order.is_none() && self.per_customer.is_none() {
            return bad(at.to_string(), DefinitionRule::LimitWithoutNumber);
        }
        Ok(())
    }
}

fn check_name(field: &str, name: &str) -> Result<(), InvalidDefinition> {
    match (1..=NAME_BYTES_MAX).contains(&name.len()) {
        true => Ok(()),
        false => Err(InvalidDefinition { field: field.into(), rule: DefinitionRule::Name }),
    }
}

fn check_time(field: &str, time: Option<Time>) -> Result<(), InvalidDefinition> {
    match time.is_none_or(|t| (0..=INTEGER_MAX).contains(&t.0)) {
        true => Ok(()),
        false => {
            let rule = DefinitionRule::OutOfRange { min: 0, max: INTEGER_MAX };
            Err(InvalidDefinition { field: field.into(), rule })
        }
    }
}

fn check_window(field: &str, window: &Window) -> Result<(), InvalidDefinition> {
    check_time(&format!("{field}.opens_at"), window.opens_at)?;
    check_time(&format!("{field}.closes_at"), window.closes_at)?;
    match (window.opens_at, window.closes_at) {
        (Some(opens), Some(closes)) if closes <= opens => Err(InvalidDefinition {
            field: format!("{field}.closes_at"),
            rule: DefinitionRule::WindowEndsBeforeItBegins,
        }),
        _ => Ok(()),
    }
}

fn check_entries(field: &str, n: usize, min: usize, max: usize) -> Result<(), InvalidDefinition> {
    match (min..=max).contains(&n) {
        true => Ok(()),
        false => {
            let rule = DefinitionRule::Entries { min, max };
            Err(InvalidDefinition { field: field.into(), rule })
        }
    }
}

fn check_unique(field: &str, ids: impl Iterator<Item = Id>) -> Result<(), InvalidDefinition> {
    let mut seen = BTreeSet::new();
    for (i, id) in ids.enumerate() {
        if !seen.insert(id) {
            let rule = DefinitionRule::DuplicateId { id };
            return Err(InvalidDefinition { field: format!("{field}[{i}]"), rule });
        }
    }
    Ok(())
}
