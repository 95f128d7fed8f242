//! What is kept of one event: its definition in force, and the counts of its
//! ticket types and quotas.

use std::sync::Arc;

use onsale_planted::{Bug, is};
use smallvec::SmallVec;

use crate::catalogue::{EventDefinition, EventState, QuotaDefinition, TicketTypeDefinition};
use crate::event::{QuotaStock, StockSource};
use crate::limits::{QUOTAS_MAX, TICKET_TYPES_MAX};
use crate::refusal::Refusal;
use crate::snapshot::TypePart;
use crate::text::Id;

/// Where a ticket is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    Free,
    Held,
    Sold,
}

/// A ticket type. It keeps its slot for good, also while it is taken out of the
/// definition, so that holds and orders can name it by a number.
#[derive(Clone)]
pub(crate) struct TypeState {
    pub id: Id,
    /// Its index in the definition in force; none: taken out.
    pub defined: Option<u16>,
    /// Slots of the quotas that it draws on.
    pub quotas: SmallVec<[u16; 4]>,
    pub held: u32,
    pub sold: u32,
    /// How many of the sold ones are in frozen orders.
    pub frozen: u32,
}

/// A quota. It keeps its slot for good, as a ticket type does.
#[derive(Clone)]
pub(crate) struct QuotaState {
    pub id: Id,
    /// Its index in the definition in force; none: taken out.
    pub defined: Option<u16>,
    pub stock: QuotaStock,
    pub held: u32,
    pub sold: u32,
}

impl QuotaState {
    /// The right to sell. An unlimited quota ends where its counters do.
    pub(crate) fn allotment(&self) -> u32 {
        self.stock.allotment.unwrap_or(u32::MAX)
    }

    pub(crate) fn free(&self) -> u32 {
        self.allotment() - self.sold - self.held
    }
}

/// A limit with its ticket types resolved.
#[derive(Clone)]
pub(crate) struct LimitState {
    /// Slots, sorted; empty: all.
    types: Vec<u16>,
    pub per_order: Option<u32>,
    pub per_customer: Option<u32>,
}

impl LimitState {
    pub(crate) fn covers(&self, ticket_type: u16) -> bool {
        self.types.is_empty() || self.types.binary_search(&ticket_type).is_ok()
    }
}

/// Types, quotas and limits as one definition shapes them, with the counts that it
/// takes over from the one before.
#[derive(Clone, Default)]
pub(crate) struct Shape {
    pub types: Vec<TypeState>,
    pub quotas: Vec<QuotaState>,
    pub limits: Vec<LimitState>,
    /// Slots of the types, sorted by id.
    types_by_id: Vec<u16>,
    /// Slots of the quotas, sorted by id.
    quotas_by_id: Vec<u16>,
}

/// One event.
pub(crate) struct EventEntry {
    pub organizer: Id,
    pub id: Id,
    pub digest: u128,
    pub version: u32,
    pub state: EventState,
    pub definition: Arc<EventDefinition>,
    pub shape: Shape,
    /// Whether anything was ever held or sold: the currency is fixed from then on.
    pub used: bool,
    /// Queues of deadlines, one per duration.
    pub hold_queues: SmallVec<[u32; 2]>,
    pub order_queues: SmallVec<[u32; 2]>,
}

impl EventEntry {
    /// A ticket type of the definition in force.
    pub(crate) fn defined_type(&self, id: &Id) -> Option<(u16, &TicketTypeDefinition)> {
        let slot = self.shape.type_slot(id)?;
        let index = self.shape.types[slot as usize].defined?;
        Some((slot, &self.definition.ticket_types[index as usize]))
    }

    /// The rights of each quota under a new definition, in its order. Rights that
    /// come by transfers stay as they are, whatever capacity is written.
    pub(crate) fn stocks_for(
        before: Option<&EventEntry>,
        quotas: &[QuotaDefinition],
    ) -> Vec<QuotaStock> {
        let stock = |quota: &QuotaDefinition| {
            let before = before.and_then(|event| {
                event.shape.quota_slot(&quota.id).map(|s| &event.shape.quotas[s as usize])
            });
            match before {
                Some(before) if before.stock.source == StockSource::Transferred => before.stock,
                Some(before) => QuotaStock { allotment: quota.capacity, ..before.stock },
                None => {
                    QuotaStock { allotment: quota.capacity, epoch: 1, source: StockSource::Own }
                }
            }
        };
        quotas.iter().map(stock).collect()
    }
}

impl Shape {
    pub(crate) fn type_slot(&self, id: &Id) -> Option<u16> {
        if self.types.len() <= FEW_TYPES {
            return self.types.iter().position(|other| other.id == *id).map(|slot| slot as u16);
        }
        let order = |slot: &u16| self.types[*slot as usize].id.cmp(id);
        let at = self.types_by_id.binary_search_by(order).ok()?;
        Some(self.types_by_id[at])
    }

    fn quota_slot(&self, id: &Id) -> Option<u16> {
        let order = |slot: &u16| self.quotas[*slot as usize].id.cmp(id);
        let at = self.quotas_by_id.binary_search_by(order).ok()?;
        Some(self.quotas_by_id[at])
    }

    /// The shape that a definition gives over saved types and quotas, which are in the
    /// order of their slots.
    ///
    /// # Errors
    /// Says what does not fit together.
    pub(crate) fn restored(
        definition: &EventDefinition,
        types: &[TypePart],
        quotas: &[(Id, QuotaStock)],
    ) -> Result<Shape, &'static str> {
        let mut shape = Shape::default();
        for ticket_type in types {
            let known = shape.type_slot(&ticket_type.id).is_some();
            let slot = match known {
                true => return Err("a ticket type is there twice"),
                false => shape.add_type(ticket_type.id).map_err(|_| "too many ticket types")?,
            };
            let TypePart { held, sold, frozen, .. } = *ticket_type;
            if frozen > sold || held.checked_add(sold).is_none() {
                return Err("a ticket type's counts do not fit together");
            }
            let state = &mut shape.types[slot];
            (state.held, state.sold, state.frozen) = (held, sold, frozen);
        }
        for (id, stock) in quotas {
            if shape.quota_slot(id).is_some() {
                return Err("a quota is there twice");
            }
            shape.add_quota(*id, *stock, None).map_err(|_| "too many quotas")?;
        }
        let stock = |id: &Id| shape.quota_slot(id).map(|slot| shape.quotas[slot as usize].stock);
        let stocks: Option<Vec<QuotaStock>> =
            definition.quotas.iter().map(|quota| stock(&quota.id)).collect();
        let stocks = stocks.ok_or("a quota of the definition is missing")?;
        if definition.ticket_types.iter().any(|t| shape.type_slot(&t.id).is_none()) {
            return Err("a ticket type of the definition is missing");
        }
        shape.redefined(definition, &stocks).map_err(|_| "what is held or sold does not fit")
    }

    /// The shape that a valid definition gives, after this one.
    ///
    /// # Errors
    /// What is held or sold does not fit into it.
    pub(crate) fn redefined(
        &self,
        definition: &EventDefinition,
        stocks: &[QuotaStock],
    ) -> Result<Shape, Refusal> {
        let mut shape = self.clone();
        shape.take_types(definition)?;
        shape.take_quotas(definition, stocks)?;
        shape.map_types(definition);
        shape.recount();
        shape.check_use(definition)?;
        let slot = |id: &Id| shape.type_slot(id).expect("limits are over types that are defined");
        let limits = definition.limits.iter().map(|limit| {
            let mut types: Vec<u16> = limit.ticket_types.iter().map(slot).collect();
            types.sort_unstable();
            LimitState { types, per_order: limit.per_order, per_customer: limit.per_customer }
        });
        shape.limits = limits.collect();
        Ok(shape)
    }

    /// Which types are defined; refused where one with tickets is missing.
    fn take_types(&mut self, definition: &EventDefinition) -> Result<(), Refusal> {
        self.types.iter_mut().for_each(|ticket_type| ticket_type.defined = None);
        for (index, ticket_type) in definition.ticket_types.iter().enumerate() {
            let slot = match self.type_slot(&ticket_type.id) {
                Some(slot) => slot as usize,
                None => self.add_type(ticket_type.id)?,
            };
            self.types[slot].defined = Some(index as u16);
        }
        for ticket_type in &self.types {
            let used = ticket_type.held + ticket_type.sold;
            if ticket_type.defined.is_none() && used > 0 {
                return Err(Refusal::TicketTypeInUse { ticket_type: ticket_type.id, used });
            }
        }
        Ok(())
    }

    fn add_type(&mut self, id: Id) -> Result<usize, Refusal> {
        if self.types.len() == TICKET_TYPES_MAX {
            return Err(Refusal::TooManyEver { field: "ticket_types", max: TICKET_TYPES_MAX });
        }
        let slot = self.types.len();
        let at = self.types_by_id.partition_point(|other| self.types[*other as usize].id < id);
        self.types_by_id.insert(at, slot as u16);
        let quotas = SmallVec::new();
        self.types.push(TypeState { id, defined: None, quotas, held: 0, sold: 0, frozen: 0 });
        Ok(slot)
    }

    /// Which quotas are defined; refused where one with tickets is missing.
    fn take_quotas(
        &mut self,
        definition: &EventDefinition,
        stocks: &[QuotaStock],
    ) -> Result<(), Refusal> {
        self.quotas.iter_mut().for_each(|quota| quota.defined = None);
        for (index, (quota, stock)) in definition.quotas.iter().zip(stocks).enumerate() {
            let defined = Some(index as u16);
            match self.quota_slot(&quota.id) {
                Some(slot) => {
                    let quota = &mut self.quotas[slot as usize];
                    (quota.defined, quota.stock) = (defined, *stock);
                }
                None => self.add_quota(quota.id, *stock, defined)?,
            }
        }
        for quota in &self.quotas {
            let used = quota.held + quota.sold;
            if quota.defined.is_none() && used > 0 {
                return Err(Refusal::QuotaInUse { quota: quota.id, used });
            }
        }
        Ok(())
    }

    fn add_quota(
        &mut self,
        id: Id,
        stock: QuotaStock,
        defined: Option<u16>,
    ) -> Result<(), Refusal> {
        if self.quotas.len() == QUOTAS_MAX {
            return Err(Refusal::TooManyEver { field: "quotas", max: QUOTAS_MAX });
        }
        let slot = self.quotas.len() as u16;
        let at = self.quotas_by_id.partition_point(|other| self.quotas[*other as usize].id < id);
        self.quotas_by_id.insert(at, slot);
        self.quotas.push(QuotaState { id, defined, stock, held: 0, sold: 0 });
        Ok(())
    }

    fn map_types(&mut self, definition: &EventDefinition) {
        for slot in 0..self.types.len() {
            let quotas = match self.types[slot].defined {
                Some(index) => definition.ticket_types[index as usize].quotas.as_slice(),
                None => &[],
            };
            let known =
                |id: &Id| self.quota_slot(id).expect("types draw on quotas that are defined");
            self.types[slot].quotas = quotas.iter().map(known).collect();
        }
    }

    /// Adds up each quota's counts from its types. Where the sum does not even fit a
    /// counter it stays at the counter's end, which no allotment covers.
    fn recount(&mut self) {
        self.quotas.iter_mut().for_each(|quota| (quota.held, quota.sold) = (0, 0));
        for ticket_type in &self.types {
            for quota in &ticket_type.quotas {
                let quota = &mut self.quotas[*quota as usize];
                let held = if is(Bug::RedefinitionForgetsHeld) { 0 } else { ticket_type.held };
                quota.held = quota.held.saturating_add(held);
                quota.sold = quota.sold.saturating_add(ticket_type.sold);
            }
        }
    }

    fn check_use(&self, definition: &EventDefinition) -> Result<(), Refusal> {
        for (index, quota) in definition.quotas.iter().enumerate() {
            let slot = self.quota_slot(&quota.id).expect("taken up before");
            let state = &self.quotas[slot as usize];
            let used = state.held.saturating_add(state.sold);
            let fits = state.held.checked_add(state.sold).is_some_and(|u| u <= state.allotment());
            if !fits {
                let (quota, asked) = (quota.id, state.allotment());
                return Err(Refusal::QuotaBelowUse { index, quota, asked, used });
            }
        }
        Ok(())
    }

    /// Moves tickets of one type; the caller has checked that they are there.
    pub(crate) fn shift(&mut self, ticket_type: u16, from: Place, to: Place, quantity: u32) {
        let ticket_type = &mut self.types[ticket_type as usize];
        shift(&mut ticket_type.held, &mut ticket_type.sold, from, to, quantity);
        for slot in &ticket_type.quotas {
            let quota = &mut self.quotas[*slot as usize];
            shift(&mut quota.held, &mut quota.sold, from, to, quantity);
            debug_assert!(
                u64::from(quota.held) + u64::from(quota.sold) <= u64::from(quota.allotment()),
                "quota {} is oversold",
                quota.id
            );
        }
    }

    /// What tickets of some types ask of each quota, in the definition's order.
    pub(crate) fn asked(&self, wants: impl Iterator<Item = (u16, u32)>) -> Asked {
        let mut asked = Asked::new();
        for (ticket_type, quantity) in wants {
            for quota in &self.types[ticket_type as usize].quotas {
                match asked.iter_mut().find(|(slot, _)| slot == quota) {
                    Some((_, sum)) => *sum += quantity,
                    None => asked.push((*quota, quantity)),
                }
            }
        }
        asked.sort_unstable_by_key(|(quota, _)| self.quotas[*quota as usize].defined);
        asked
    }

    /// Whether all that is free.
    pub(crate) fn has_free(&self, asked: &Asked) -> bool {
        let more = u32::from(is(Bug::QuotaOffByOne));
        asked.iter().all(|(quota, sum)| *sum <= self.quotas[*quota as usize].free() + more)
    }
}

/// So many are compared one by one, which is quicker than to halve them.
const FEW_TYPES: usize = 8;

/// Slots of quotas and how many tickets are asked of each.
pub(crate) type Asked = SmallVec<[(u16, u32); 8]>;

fn shift(held: &mut u32, sold: &mut u32, from: Place, to: Place, quantity: u32) {
    match from {
        Place::Free => {}
        Place::Held => *held -= quantity,
        Place::Sold => *sold -= quantity,
    }
    match to {
        Place::Free => {}
        Place::Held => *held += quantity,
        Place::Sold => *sold += quantity,
    }
}
