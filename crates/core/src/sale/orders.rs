//! Orders, by their number in the shard, and payments, by their reference.
//!
//! An order's number is its sequence less one. The newest orders and all that are not
//! settled are kept in full; of an old one that is settled only 16 bytes stay, and of
//! its payment's reference 32 bits of the digest: the rest stands in its records.

use std::collections::VecDeque;

use super::deadlines::{Links, Timed};
use super::lines::LinesAt;
use crate::index::Index;
use crate::slab::{Linked, NONE, Slab, Wide};
use crate::table::{Keyed, Table};
use crate::time::Time;
use crate::view::{OrderState, PaymentState};

/// An order. Its customer stands as text in its record only.
#[derive(Clone, Copy)]
pub(crate) struct Order {
    pub position: u64,
    /// Digest of event and customer.
    pub customer: Wide,
    /// Until when it must be paid; none: nothing to pay.
    payment_due: Time,
    pub lines: LinesAt,
    pub links: Links,
    pub event: u32,
    /// First and last of its payments.
    pub payments: u32,
    pub payments_last: u32,
    pub number: u32,
    pub state: OrderState,
}

const _: () = assert!(size_of::<Order>() <= 88);
const NOTHING_DUE: Time = Time(i64::MIN);

/// What a new order is made of.
pub(crate) struct NewOrder {
    pub position: u64,
    pub customer: u128,
    pub payment_due: Option<Time>,
    pub lines: LinesAt,
    pub event: u32,
    pub number: u32,
}

impl Order {
    pub(crate) fn new(new: &NewOrder) -> Self {
        Self {
            position: new.position,
            customer: Wide::new(new.customer),
            payment_due: new.payment_due.unwrap_or(NOTHING_DUE),
            lines: new.lines,
            links: Links::OUT,
            event: new.event,
            payments: NONE,
            payments_last: NONE,
            number: new.number,
            state: match new.payment_due {
                Some(_) => OrderState::AwaitingPayment,
                None => OrderState::Confirmed,
            },
        }
    }

    pub(crate) fn payment_due(&self) -> Option<Time> {
        (self.payment_due != NOTHING_DUE).then_some(self.payment_due)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        matches!(self.state, OrderState::Cancelled(_))
    }
}

impl Linked for Order {
    fn link(&mut self) -> &mut u32 {
        &mut self.links.next
    }
}

impl Timed for Order {
    fn deadline(&self) -> Time {
        self.payment_due
    }
    fn links(&self) -> Links {
        self.links
    }
    fn links_mut(&mut self) -> &mut Links {
        &mut self.links
    }
}

/// A payment.
#[derive(Clone, Copy)]
pub(crate) struct Payment {
    /// Digest of event and reference.
    key: Wide,
    pub amount: i64,
    pub position: u64,
    /// Position of the record that it went back with; 0: it has not.
    pub refund_position: u64,
    /// Number of its order.
    pub order: u32,
    /// The order's next payment.
    pub next: u32,
    pub state: PaymentState,
}

impl Payment {
    pub(crate) fn new(
        key: u128,
        order: u32,
        amount: i64,
        position: u64,
        state: PaymentState,
    ) -> Self {
        let next = crate::slab::NONE;
        Self { key: Wide::new(key), amount, position, refund_position: 0, order, next, state }
    }
}

impl Linked for Payment {
    fn link(&mut self) -> &mut u32 {
        &mut self.next
    }
}

impl Keyed for Payment {
    fn key(&self) -> u128 {
        self.key.get()
    }
}

/// What is kept of an old order: where its records are, and its state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Frozen {
    position_low: u32,
    /// How far behind its payment's record is; 0: it has no payment.
    payment_after: u32,
    /// 32 bits of the payment's key.
    reference: u32,
    position_high: u16,
    pub state: OrderState,
}

/// Where an order is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In full, in this slot.
    Hot(u32),
    /// In its records.
    Frozen(Frozen),
}

const _: () = assert!(size_of::<Place>() <= 16);

impl Linked for Place {
    fn link(&mut self) -> &mut u32 {
        unreachable!("the place of an order is never given up")
    }
}

impl Frozen {
    /// None where the numbers are too large for it.
    pub(crate) fn new(
        position: u64,
        state: OrderState,
        payment: Option<(u64, u32)>,
    ) -> Option<Self> {
        let (payment, reference) = payment.unwrap_or((position, 0));
        let payment_after = u32::try_from(payment.checked_sub(position)?).ok()?;
        let position_high = u16::try_from(position >> 32).ok()?;
        let position_low = position as u32;
        Some(Self { position_low, payment_after, reference, position_high, state })
    }

    pub(crate) fn position(&self) -> u64 {
        u64::from(self.position_high) << 32 | u64::from(self.position_low)
    }

    /// Position of its payment's record, and 32 bits of its key.
    pub(crate) fn payment(&self) -> Option<(u64, u32)> {
        let after = u64::from(self.payment_after);
        (after > 0).then(|| (self.position() + after, self.reference))
    }

    /// Positions of its records.
    pub(crate) fn positions(&self) -> impl Iterator<Item = u64> {
        let payment = self.payment().map(|(position, _)| position);
        std::iter::once(self.position()).chain(payment)
    }
}

/// So many old orders stay in full after something was done with them: enough for any
/// one command, and never more than a few of those that are kept anyway.
const LINGERING: std::ops::RangeInclusive<u32> = 8..=256;

/// Far more frozen orders than have references that look alike by chance, and far fewer
/// than an index can bear.
const ALIKE_MAX: usize = 64;

/// All orders and payments of a shard.
pub(crate) struct Orders {
    /// By number.
    places: Slab<Place>,
    /// Those that are kept in full.
    pub hot: Slab<Order>,
    /// Theirs.
    pub payments: Table<Payment>,
    /// Numbers of frozen orders with a payment, by what is kept of its key.
    references: Index,
    /// From which number on which generation.
    generations: Vec<(u32, u8)>,
    /// Which bits of a payment's key stay. Tests take fewer, so that some are alike.
    pub reference_mask: u32,
    /// How many of the newest are kept in full, whatever their state.
    pub hot_max: u32,
    /// All below this number were looked at, whether they can be frozen.
    passed: u32,
    /// Numbers below it that were thawed or have changed since.
    lingering: VecDeque<u32>,
}

impl Default for Orders {
    fn default() -> Self {
        Self {
            places: Slab::default(),
            hot: Slab::default(),
            payments: Table::default(),
            references: Index::default(),
            generations: Vec::new(),
            reference_mask: u32::MAX,
            hot_max: u32::MAX,
            passed: 0,
            lingering: VecDeque::new(),
        }
    }
}

impl Orders {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Payments of all orders.
    pub(crate) fn payments_len(&self) -> usize {
        self.payments.len() + self.references.len()
    }

    /// Number that the next order gets.
    pub(crate) fn next_number(&self) -> u32 {
        self.places.len() as u32
    }

    pub(crate) fn place(&self, number: u32) -> Place {
        self.places[number]
    }

    pub(crate) fn generation_of(&self, number: u32) -> u32 {
        let at = self.generations.partition_point(|(first, _)| *first <= number);
        u32::from(self.generations[at - 1].1)
    }

    /// From which number on which generation, for the orders that there are.
    pub(crate) fn generations(&self) -> &[(u32, u8)] {
        &self.generations
    }

    /// Adds the next order; gives its slot.
    pub(crate) fn add(&mut self, order: Order, generation: u32) -> u32 {
        let last = self.generations.last().map(|(_, generation)| u32::from(*generation));
        if last != Some(generation) {
            self.generations.push((self.next_number(), generation as u8));
        }
        self.add_restored(order)
    }

    /// Makes a start with what was saved.
    pub(crate) fn restore(&mut self, generations: Vec<(u32, u8)>, references: usize) {
        self.generations = generations;
        self.references.reserve(references);
    }

    /// Adds the next order that was saved; gives its slot.
    pub(crate) fn add_restored(&mut self, order: Order) -> u32 {
        let slot = self.hot.insert(order);
        self.places.insert(Place::Hot(slot));
        slot
    }

    /// Adds the next order that was saved, as a frozen one.
    pub(crate) fn add_frozen(&mut self, frozen: Frozen) {
        let number = self.places.insert(Place::Frozen(frozen));
        self.index_reference(number, &frozen);
    }

    /// After all that was saved: the orders before the first that is in full were looked at.
    pub(crate) fn start_passing(&mut self) {
        let is_hot = |number: &u32| matches!(self.places[*number], Place::Hot(_));
        self.passed = (0..self.next_number()).find(is_hot).unwrap_or(self.next_number());
    }

    /// Numbers of frozen orders whose payment's reference looks about like this one.
    fn alike(&self, reference: u32) -> impl Iterator<Item = u32> + '_ {
        self.references.candidates(key_of_bits(reference))
    }

    /// Whether one more such reference is one too many: an index can't split what is
    /// alike. Chance never makes so many, a damaged snapshot may.
    pub(crate) fn too_many_alike(&self, reference: u32) -> bool {
        let full = self.references.is_full_for(key_of_bits(reference));
        full && self.alike(reference).take(ALIKE_MAX).count() == ALIKE_MAX
    }

    /// Puts what stays of an order in its place. Its payment must be gone.
    pub(crate) fn freeze(&mut self, slot: u32, frozen: Frozen) {
        let number = self.hot.remove(slot).number;
        self.places[number] = Place::Frozen(frozen);
        self.index_reference(number, &frozen);
    }

    /// Puts an order back in full; gives its slot.
    pub(crate) fn thaw(&mut self, order: Order, frozen: &Frozen) -> u32 {
        let number = order.number;
        if let Some((_, reference)) = frozen.payment() {
            self.references.remove(key_of_bits(reference), number);
        }
        let slot = self.hot.insert(order);
        self.places[number] = Place::Hot(slot);
        self.linger(number);
        slot
    }

    fn index_reference(&mut self, number: u32, frozen: &Frozen) {
        let Some((_, reference)) = frozen.payment() else { return };
        let places = &self.places;
        self.references.insert(key_of_bits(reference), number, |other| match places[other] {
            Place::Frozen(Frozen { reference, .. }) => key_of_bits(reference),
            Place::Hot(_) => unreachable!("references are of frozen orders"),
        });
    }

    /// What stays of a payment's key.
    pub(crate) fn reference_bits(&self, key: u128) -> u32 {
        (key >> 96) as u32 & self.reference_mask
    }

    /// The frozen orders of which one may have the payment with this key.
    pub(crate) fn maybe_paid_by(&self, key: u128) -> impl Iterator<Item = Frozen> + '_ {
        let wanted = self.reference_bits(key);
        self.alike(wanted).filter_map(move |number| match self.places[number] {
            Place::Frozen(frozen) if frozen.reference == wanted => Some(frozen),
            _ => None,
        })
    }

    /// Notes that an order has changed: if it is old it may be ready to be frozen.
    pub(crate) fn linger(&mut self, number: u32) {
        if number < self.passed {
            self.lingering.push_back(number);
        }
    }

    /// The next order to look at, whether it can be frozen.
    pub(crate) fn next_passed(&mut self) -> Option<u32> {
        if self.passed < self.next_number().saturating_sub(self.hot_max) {
            self.passed += 1;
            return Some(self.passed - 1);
        }
        let room = self.hot_max.clamp(*LINGERING.start(), *LINGERING.end());
        match self.lingering.len() > room as usize {
            true => self.lingering.pop_front(),
            false => None,
        }
    }

    /// Slots of an order's payments, oldest first.
    pub(crate) fn payments_of(&self, order: &Order) -> impl Iterator<Item = u32> + '_ {
        let some = |slot: u32| (slot != NONE).then_some(slot);
        let first = some(order.payments);
        std::iter::successors(first, move |slot| some(self.payments[*slot].next))
    }

    /// Adds a payment at the end of those of the order in a slot.
    pub(crate) fn add_payment(&mut self, order: u32, payment: Payment) {
        let slot = self.payments.insert(payment);
        let order = &mut self.hot[order];
        match order.payments_last {
            NONE => order.payments = slot,
            last => self.payments[last].next = slot,
        }
        order.payments_last = slot;
    }

    /// The payment that confirms an order, if one does.
    pub(crate) fn applied(&self, order: &Order) -> Option<u32> {
        let applied = |slot: &u32| self.payments[*slot].state == PaymentState::Applied;
        self.payments_of(order).find(applied)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.places.memory_bytes()
            + self.hot.memory_bytes()
            + self.payments.memory_bytes()
            + self.references.memory_bytes()
            + self.lingering.capacity() * size_of::<u32>()
    }
}

/// The key under which the index finds what is kept of a reference.
fn key_of_bits(reference: u32) -> u128 {
    u128::from(reference)
}
