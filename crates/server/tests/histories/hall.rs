//! The rules of one small event as somebody would write them down who knows nothing of the
//! engine: a hall with a balcony, three tickets per customer, holds that do not run out.

use std::collections::BTreeMap;

use crate::checker::Rules;

/// Seats, those on the balcony included.
pub const HALL: u32 = 9;
/// Seats on the balcony.
pub const BALCONY: u32 = 4;
/// Tickets that one customer may have.
pub const PER_CUSTOMER: u32 = 3;

/// The event's rules.
pub struct Hall;

/// What was asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    Hold(Wish),
    /// Bought in one step.
    Buy(Wish),
    Claim {
        hold: String,
        customer: u8,
    },
    Release {
        hold: String,
    },
    Cancel {
        order: String,
    },
    Look,
}

/// Tickets of one type for a customer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Wish {
    pub customer: u8,
    pub balcony: bool,
    pub tickets: u32,
}

/// What was answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    Held(String),
    /// The order's code: bought or claimed.
    Ordered(String),
    Released,
    Cancelled,
    /// Held and sold of the hall, then of the balcony.
    Counts([u32; 4]),
    /// Quota and what of it is not sold.
    SoldOut(&'static str, u32),
    /// Quota, what of it is free, what of it is held.
    NoneFreeNow(&'static str, u32, u32),
    /// What the customer has.
    CustomerLimit(u32),
    HoldReleased,
    /// And became this order.
    HoldClaimed(String),
    OrderCancelled,
}

/// Who has what.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct State {
    holds: BTreeMap<String, (Wish, Hold)>,
    /// And whether it stands.
    orders: BTreeMap<String, (Wish, bool)>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Hold {
    Live,
    Released,
    Claimed(String),
}

impl State {
    fn held(&self, counts: impl Fn(&Wish) -> bool) -> u32 {
        let live = self.holds.values().filter(|(wish, hold)| *hold == Hold::Live && counts(wish));
        live.map(|(wish, _)| wish.tickets).sum()
    }

    fn sold(&self, counts: impl Fn(&Wish) -> bool) -> u32 {
        let standing = self.orders.values().filter(|(wish, stands)| *stands && counts(wish));
        standing.map(|(wish, _)| wish.tickets).sum()
    }

    /// What is wrong with a wish, if anything.
    fn refuse(&self, wish: &Wish) -> Option<Answer> {
        let theirs = |other: &Wish| other.customer == wish.customer;
        let has = self.held(theirs) + self.sold(theirs);
        if has + wish.tickets > PER_CUSTOMER {
            return Some(Answer::CustomerLimit(has));
        }
        let hall = (self.held(|_| true), self.sold(|_| true));
        let balcony = (self.held(|w| w.balcony), self.sold(|w| w.balcony));
        let quotas = [("hall", HALL, hall), ("balcony", BALCONY, balcony)];
        let drawn = quotas.into_iter().take(if wish.balcony { 2 } else { 1 });
        for (quota, capacity, (held, sold)) in drawn {
            if wish.tickets > capacity - sold {
                return Some(Answer::SoldOut(quota, capacity - sold));
            }
            if wish.tickets > capacity - sold - held {
                return Some(Answer::NoneFreeNow(quota, capacity - sold - held, held));
            }
        }
        None
    }

    fn counts(&self) -> [u32; 4] {
        let balcony = |wish: &Wish| wish.balcony;
        [self.held(|_| true), self.sold(|_| true), self.held(balcony), self.sold(balcony)]
    }
}

impl Rules for Hall {
    type State = State;
    type Call = Call;
    type Answer = Answer;

    fn step(
        &self,
        state: &State,
        index: usize,
        call: &Call,
        answer: Option<&Answer>,
    ) -> Option<State> {
        let mut next = state.clone();
        // Nobody knows the name of what came of a call without an answer.
        let nameless = || format!("of operation {index}");
        let ruled = match call {
            Call::Hold(wish) => state.refuse(wish).unwrap_or_else(|| {
                let id = match answer {
                    Some(Answer::Held(id)) => id.clone(),
                    _ => nameless(),
                };
                next.holds.insert(id.clone(), (*wish, Hold::Live));
                Answer::Held(id)
            }),
            Call::Buy(wish) => state.refuse(wish).unwrap_or_else(|| {
                let code = code_of(answer).unwrap_or_else(nameless);
                next.orders.insert(code.clone(), (*wish, true));
                Answer::Ordered(code)
            }),
            Call::Claim { hold, customer } => {
                let (wish, hold) = next.holds.get_mut(hold)?;
                assert_eq!(wish.customer, *customer, "the test claims for whom it was placed");
                match hold {
                    Hold::Released => Answer::HoldReleased,
                    Hold::Claimed(code) => Answer::HoldClaimed(code.clone()),
                    Hold::Live => {
                        let code = code_of(answer).unwrap_or_else(nameless);
                        *hold = Hold::Claimed(code.clone());
                        next.orders.insert(code.clone(), (*wish, true));
                        Answer::Ordered(code)
                    }
                }
            }
            Call::Release { hold } => {
                let (_, hold) = next.holds.get_mut(hold)?;
                match hold {
                    Hold::Released => Answer::HoldReleased,
                    Hold::Claimed(code) => Answer::HoldClaimed(code.clone()),
                    Hold::Live => {
                        *hold = Hold::Released;
                        Answer::Released
                    }
                }
            }
            Call::Cancel { order } => {
                let (_, stands) = next.orders.get_mut(order)?;
                match std::mem::replace(stands, false) {
                    true => Answer::Cancelled,
                    false => Answer::OrderCancelled,
                }
            }
            Call::Look => Answer::Counts(state.counts()),
        };
        answer.is_none_or(|answer| is_same(answer, &ruled)).then_some(next)
    }
}

fn code_of(answer: Option<&Answer>) -> Option<String> {
    match answer {
        Some(Answer::Ordered(code)) => Some(code.clone()),
        _ => None,
    }
}

/// Whether an answer is the ruled one, which may lack a name.
fn is_same(answer: &Answer, ruled: &Answer) -> bool {
    match (answer, ruled) {
        (Answer::HoldClaimed(_), Answer::HoldClaimed(code)) if code.starts_with("of ") => true,
        _ => answer == ruled,
    }
}
