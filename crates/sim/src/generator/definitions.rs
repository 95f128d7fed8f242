//! Definitions of events, and the changes that organizers make to them.

use std::collections::BTreeMap;

use onsale_core::catalogue::{
    Currency, EventDefinition, EventState, Limit, QuotaDefinition, TicketTypeDefinition, Window,
};
use onsale_core::command::{Action, Expects};
use onsale_core::limits::{CAPACITY_MAX, PRICE_MAX};
use onsale_core::text::Id;
use onsale_core::time::Time;

use super::{Generator, SECOND, id};
use crate::model::EventModel;

const TYPES: usize = 6;
const QUOTAS: usize = 4;

/// The simplest definition there is: one quota, one ticket type.
pub(super) fn plain_definition() -> EventDefinition {
    EventDefinition {
        name: "Gala".into(),
        currency: currency("EUR"),
        starts_at: None,
        sale: Window::default(),
        limits: Vec::new(),
        hold_seconds: 5,
        payment_seconds: 60,
        sale_group: id("group"),
        quotas: vec![QuotaDefinition { id: id("q0"), capacity: Some(100) }],
        ticket_types: vec![ticket_type(id("t0"), 1_000, vec![id("q0")])],
    }
}

/// An event that nobody has touched.
pub(super) fn plain_event(organizer: Id, event: Id) -> EventModel {
    EventModel {
        organizer,
        event,
        version: 1,
        state: EventState::Open,
        definition: plain_definition(),
        types_ever: Vec::new(),
        quotas_ever: Vec::new(),
        holds: BTreeMap::new(),
        ended: BTreeMap::new(),
        orders: Vec::new(),
        payments: Vec::new(),
    }
}

pub(super) fn ticket_type(id: Id, price: i64, quotas: Vec<Id>) -> TicketTypeDefinition {
    let (free_price, sale) = (false, Window::default());
    TicketTypeDefinition { id, name: id.to_string(), price, free_price, quotas, sale }
}

pub(super) fn currency(code: &str) -> Currency {
    Currency::new(code).expect("three capital letters")
}

impl Generator {
    pub(super) fn first_definition(&mut self) -> Action {
        let mut definition = plain_definition();
        definition.sale_group = id(self.rng.pick::<&str>(&["group", "gala", "fair"]));
        definition.hold_seconds = self.hold_seconds();
        definition.payment_seconds = self.payment_seconds();
        definition.sale = self.window();
        let quotas = 1 + self.rng.below(QUOTAS);
        definition.quotas = (0..quotas).map(|i| self.quota(i)).collect();
        let types = 1 + self.rng.below(TYPES);
        definition.ticket_types =
            (0..types).map(|i| self.new_type(i, &definition.quotas)).collect();
        definition.limits = self.limits(&definition.ticket_types);
        make_consistent(&mut definition);
        if self.rng.percent(5) {
            self.break_definition(&mut definition);
        }
        let expects = *self.rng.pick(&[
            Expects::Unsaid,
            Expects::Unsaid,
            Expects::Unsaid,
            Expects::Absent,
            Expects::Absent,
            Expects::Any,
            Expects::Version(1),
        ]);
        Action::DefineEvent { definition: Box::new(definition), expects }
    }

    pub(super) fn redefinition(&mut self, event: &EventModel) -> Action {
        let mut definition = event.definition.clone();
        let changes = 1 + self.rng.below(2);
        for _ in 0..changes {
            self.change(&mut definition, event);
        }
        if self.rng.percent(85) {
            make_consistent(&mut definition);
        }
        if self.rng.percent(8) {
            self.break_definition(&mut definition);
        }
        let expects = self.expects(event);
        Action::DefineEvent { definition: Box::new(definition), expects }
    }

    fn change(&mut self, definition: &mut EventDefinition, event: &EventModel) {
        if definition.ticket_types.is_empty() || definition.quotas.is_empty() {
            return;
        }
        let of_type = self.rng.below(definition.ticket_types.len());
        match self.rng.below(16) {
            0..=3 => self.resize_a_quota(definition, event),
            4 => {
                definition.ticket_types.remove(of_type);
            }
            5 | 6 => {
                let i = self.rng.below(TYPES);
                if !definition.ticket_types.iter().any(|t| t.id == type_id(i)) {
                    let new = self.new_type(i, &definition.quotas);
                    definition.ticket_types.push(new);
                }
            }
            7 => self.add_or_remove_a_quota(definition),
            8 => {
                let quotas = self.some_quotas(&definition.quotas);
                definition.ticket_types[of_type].quotas = quotas;
            }
            9 => definition.ticket_types[of_type].price = self.price(),
            10 => definition.ticket_types[of_type].free_price ^= true,
            11 => definition.ticket_types[of_type].sale = self.window(),
            12 => definition.sale = self.window(),
            13 => definition.limits = self.limits(&definition.ticket_types),
            14 => {
                definition.hold_seconds = self.hold_seconds();
                definition.payment_seconds = self.payment_seconds();
            }
            _ => match self.rng.below(4) {
                0 => definition.currency = currency(self.rng.pick::<&str>(&["EUR", "JPY"])),
                1 => definition.sale_group = id(self.rng.pick::<&str>(&["group", "gala"])),
                2 => definition.name.push('!'),
                _ => {}
            },
        }
    }

    /// Grows it, or shrinks it to what is in use or one below.
    fn resize_a_quota(&mut self, definition: &mut EventDefinition, event: &EventModel) {
        let quota = self.rng.below(definition.quotas.len());
        let used = event
            .quotas()
            .iter()
            .find(|q| q.id == definition.quotas[quota].id)
            .map_or(0, |q| q.held + q.sold);
        let old = definition.quotas[quota].capacity.unwrap_or(used);
        definition.quotas[quota].capacity = match self.rng.below(12) {
            0 => Some(used),
            1 => Some(used.saturating_sub(1)),
            2 => Some(used + 1),
            3 => None,
            4 => Some(self.rng.below(20) as u32),
            _ => Some((old + self.rng.below(40) as u32).max(used)),
        };
    }

    fn add_or_remove_a_quota(&mut self, definition: &mut EventDefinition) {
        let i = self.rng.below(QUOTAS);
        match definition.quotas.iter().position(|q| q.id == quota_id(i)) {
            Some(at) => {
                definition.quotas.remove(at);
                for ticket_type in &mut definition.ticket_types {
                    ticket_type.quotas.retain(|q| *q != quota_id(i));
                }
            }
            None => {
                let quota = self.quota(i);
                let at = self.rng.below(definition.quotas.len() + 1);
                definition.quotas.insert(at, quota);
                let of_type = self.rng.below(definition.ticket_types.len());
                definition.ticket_types[of_type].quotas.push(quota_id(i));
            }
        }
    }

    /// Breaks one rule that a definition must keep by itself.
    fn break_definition(&mut self, definition: &mut EventDefinition) {
        match self.rng.below(12) {
            0 => definition.name.clear(),
            1 => definition.hold_seconds = 0,
            2 => definition.quotas.push(QuotaDefinition { id: id("alone"), capacity: None }),
            3 => definition.ticket_types.clear(),
            4 => definition.quotas.extend(definition.quotas.first().cloned()),
            5 => definition.ticket_types.extend(definition.ticket_types.first().cloned()),
            6 => definition.sale = Window { opens_at: Some(self.now), closes_at: Some(self.now) },
            7 => definition.quotas.iter_mut().for_each(|q| q.capacity = Some(CAPACITY_MAX + 1)),
            8 => definition.ticket_types.iter_mut().for_each(|t| t.price = -1),
            9 => definition.ticket_types.iter_mut().for_each(|t| t.price = PRICE_MAX + 1),
            10 => definition.limits.push(Limit {
                ticket_types: vec![id("missing")],
                per_order: Some(1),
                per_customer: None,
            }),
            _ => definition.starts_at = Some(Time(-1)),
        }
    }

    pub(super) fn expects(&mut self, event: &EventModel) -> Expects {
        match self.rng.below(100) {
            0..=59 => Expects::Version(event.version),
            60..=84 => Expects::Any,
            85..=89 => Expects::Unsaid,
            90..=94 => Expects::Absent,
            _ => Expects::Version(event.version.wrapping_sub(1)),
        }
    }

    /// Most events should sell most of the time.
    pub(super) fn wants_to_open(&mut self, event: &EventModel) -> bool {
        event.state != EventState::Open && self.rng.percent(35)
    }

    /// So should there be something to sell, and somebody who may buy it.
    pub(super) fn wants_to_mend(&mut self, event: &EventModel) -> bool {
        let definition = &event.definition;
        let mut windows = definition.ticket_types.iter().map(|t| t.sale).chain([definition.sale]);
        let over = windows.any(|w| w.closes_at.is_some_and(|at| at <= self.now));
        let sold_out = event.quotas().iter().any(|q| q.free().is_some_and(|free| free < 2));
        (over || sold_out) && self.rng.percent(8)
    }

    /// Takes away what stops the sale: windows, limits, empty quotas.
    pub(super) fn mend(&mut self, event: &EventModel) -> Action {
        let mut definition = event.definition.clone();
        let over = |w: &Window| w.closes_at.is_some_and(|at| at <= self.now);
        let windows = definition.ticket_types.iter_mut().map(|t| &mut t.sale);
        for window in windows.chain([&mut definition.sale]).filter(|w| over(w)) {
            *window = Window::default();
        }
        for (quota, used) in definition.quotas.iter_mut().zip(event.quotas()) {
            if let Some(free) = used.free()
                && free < 2
            {
                let more = 5 + self.rng.below(40) as u32;
                quota.capacity = quota.capacity.map(|capacity| capacity + more);
            }
        }
        let expects = Expects::Version(event.version);
        Action::DefineEvent { definition: Box::new(definition), expects }
    }

    pub(super) fn open(&mut self, event: &EventModel) -> Action {
        Action::SetState { state: EventState::Open, expects: Expects::Version(event.version) }
    }

    pub(super) fn set_state(&mut self, event: &EventModel) -> Action {
        let states = [EventState::Open, EventState::Open, EventState::Paused, EventState::Closed];
        Action::SetState { state: *self.rng.pick(&states), expects: self.expects(event) }
    }

    fn quota(&mut self, i: usize) -> QuotaDefinition {
        let capacity = match self.rng.below(10) {
            0 | 1 => None,
            2 => Some(self.rng.below(4) as u32),
            3..=6 => Some(self.rng.below(60) as u32),
            _ => Some(self.rng.below(400) as u32),
        };
        QuotaDefinition { id: quota_id(i), capacity }
    }

    fn new_type(&mut self, i: usize, quotas: &[QuotaDefinition]) -> TicketTypeDefinition {
        let mut new = ticket_type(type_id(i), self.price(), self.some_quotas(quotas));
        new.free_price = self.rng.percent(30);
        new.sale = self.window();
        new
    }

    /// One or a few of these, in any order.
    fn some_quotas(&mut self, quotas: &[QuotaDefinition]) -> Vec<Id> {
        let mut some: Vec<Id> = Vec::new();
        for _ in 0..1 + self.rng.below(3) {
            let quota = self.rng.pick(quotas).id;
            if !some.contains(&quota) {
                some.push(quota);
            }
        }
        some
    }

    fn price(&mut self) -> i64 {
        match self.rng.below(20) {
            0..=5 => 0,
            6 => PRICE_MAX,
            _ => self.rng.within(1, 20) * 250,
        }
    }

    /// Mostly open-ended; otherwise it opens or closes not far from now.
    fn window(&mut self) -> Window {
        let now = self.now.0;
        let early = Time(now - self.rng.within(0, 100) * SECOND);
        let soon = Time(now + self.rng.within(0, 40) * SECOND);
        let later = Time(now + self.rng.within(41, 2_000) * SECOND);
        let (opens_at, closes_at) = match self.rng.below(20) {
            0 => (Some(soon), None),
            1 => (None, Some(soon)),
            2 => (Some(soon), Some(later)),
            3 => (Some(early), Some(later)),
            4 => (Some(early), None),
            _ => (None, None),
        };
        Window { opens_at, closes_at }
    }

    fn limits(&mut self, types: &[TicketTypeDefinition]) -> Vec<Limit> {
        let count = *self.rng.pick(&[0, 0, 0, 1, 1, 2, 3]);
        (0..count).map(|_| self.limit(types)).collect()
    }

    fn limit(&mut self, types: &[TicketTypeDefinition]) -> Limit {
        let listed = types.iter().filter(|_| self.rng.percent(40)).map(|t| t.id).collect();
        let ticket_types = if self.rng.percent(40) { Vec::new() } else { listed };
        let per_order = Some(1 + self.rng.below(8) as u32);
        let per_customer = Some(1 + self.rng.below(30) as u32);
        let (per_order, per_customer) = match self.rng.below(3) {
            0 => (per_order, None),
            1 => (None, per_customer),
            _ => (per_order, per_customer),
        };
        Limit { ticket_types, per_order, per_customer }
    }

    fn hold_seconds(&mut self) -> u32 {
        *self.rng.pick(&[1, 2, 5, 10, 10, 30, 60, 120, 86_400])
    }

    fn payment_seconds(&mut self) -> u32 {
        *self.rng.pick(&[1, 5, 20, 60, 60, 300, 7_776_000])
    }
}

/// Mends references: every ticket type has a quota, every quota a ticket type,
/// and limits are over types that are there.
fn make_consistent(definition: &mut EventDefinition) {
    if definition.quotas.is_empty() {
        definition.quotas.push(QuotaDefinition { id: quota_id(0), capacity: Some(10) });
    }
    let first = definition.quotas[0].id;
    if definition.ticket_types.is_empty() {
        definition.ticket_types.push(ticket_type(type_id(0), 500, vec![first]));
    }
    for ticket_type in &mut definition.ticket_types {
        ticket_type.quotas.retain(|q| definition.quotas.iter().any(|quota| quota.id == *q));
        if ticket_type.quotas.is_empty() {
            ticket_type.quotas.push(first);
        }
    }
    for quota in &definition.quotas {
        if !definition.ticket_types.iter().any(|t| t.quotas.contains(&quota.id)) {
            definition.ticket_types[0].quotas.push(quota.id);
        }
    }
    for limit in &mut definition.limits {
        limit.ticket_types.retain(|id| definition.ticket_types.iter().any(|t| t.id == *id));
    }
}

pub(super) fn type_id(i: usize) -> Id {
    id(&format!("t{i}"))
}

pub(super) fn quota_id(i: usize) -> Id {
    id(&format!("q{i}"))
}
