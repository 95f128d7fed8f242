//! From a command to the call of its function, and from what that says to the reply. `lua/` says which arguments a
//! function takes.

use std::sync::Arc;

use onsale_core::command::{Expects, Items};
use onsale_core::event::{QuotaStock, Subject};
use onsale_core::sale::KeyMaker;
use onsale_core::view::{
    AvailabilityView, EventView, HoldView, LineView, OrderState, OrderView, PaymentView, QuotaView,
};
use onsale_core::{
    Action, CodeKey, Command, Event, EventDefinition, EventState, HoldId, Id, OrderCode, Refusal,
    Time,
};
use redis::{Cmd, Value as Said};

use crate::heard::Heard;
use crate::library::Library;
use crate::pack::{Damaged, Value};
use crate::record::{self, Codes, Values};
use crate::words::{
    self, EXPECTED, Expected, ORDER_STATES, PAYMENT_STATES, REFUSALS, SOURCES, STATES, WORDS, Word,
};

/// What every call says of itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Terms {
    /// The fence that the caller knows of.
    pub fence: u64,
    /// The latest time of the server at which it may still run.
    pub not_after: Time,
    /// When to decide; none: at the server's time.
    pub now: Option<Time>,
}

/// Whatever a view shows.
#[derive(Clone, Debug)]
pub enum View {
    /// An event and its definition.
    Event(EventView),
    /// What is left of an event.
    Availability(AvailabilityView),
    /// A live hold.
    Hold(HoldView),
    /// An order.
    Order(OrderView),
}

/// What to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// An event and its definition.
    Event,
    /// What is left of an event.
    Availability,
    /// A live hold.
    Hold(HoldId),
    /// An order.
    Order(OrderCode),
}

/// What a function said. Each says the position that it stands on.
#[derive(Clone, Debug)]
pub enum Reply {
    /// It was carried out: its fact stands at this position, the first of its records at `first`.
    Done {
        /// Position of the fact.
        position: u64,
        /// Of the first record of the command.
        first: u64,
        /// The fact.
        event: Box<Event>,
    },
    /// It was carried out before.
    Repeated {
        /// The position applied.
        position: u64,
        /// Position of the fact.
        of: u64,
    },
    /// All is as wanted already.
    Unchanged {
        /// The position applied.
        position: u64,
    },
    /// A rule forbids it.
    Refused {
        /// The position applied.
        position: u64,
        /// Which, and what about.
        refusal: Refusal,
    },
    /// What was asked for.
    View {
        /// The position applied.
        position: u64,
        /// It.
        view: Box<View>,
    },
    /// Nothing was done, since something is wrong with what it stands on.
    Trouble(Trouble),
}

/// What is wrong with what a function stands on. Nothing was changed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Trouble {
    /// A key is not there. That is never taken for an empty sale.
    #[error("{key} is missing: the state is lost, or was never made")]
    Missing {
        /// Which.
        key: String,
    },
    /// The server is another one, or was started again, since the caller joined.
    #[error("the fence is {present} by now")]
    Fence {
        /// The present one.
        present: u64,
    },
    /// It came too late to be carried out.
    #[error("the call came too late and was not carried out")]
    Late,
    /// The state is behind its stream, and the function may not write.
    #[error("the state is behind its stream")]
    Mend,
    /// The stream does not have what the state says, or has more than one call can have left.
    #[error("{stream} ends at {ends}, but the state is at {state}")]
    Lost {
        /// Which.
        stream: String,
        /// Its last position.
        ends: u64,
        /// The state's.
        state: u64,
    },
    /// The state was made by a version that keeps it in another way.
    #[error("the state has layout {found}, this version knows {}", crate::LAYOUT)]
    Layout {
        /// Its layout.
        found: u32,
    },
    /// The log has no generation left.
    #[error("the log has had all its generations: {last} is the last")]
    Generations {
        /// The last.
        last: u32,
    },
    /// The state has too many entries to be copied out at once.
    #[error(
        "the state has {entries} entries, more than are copied out at once ({})",
        crate::snapshot::ENTRIES_MAX
    )]
    Large {
        /// How many.
        entries: u64,
    },
    /// The stream has another record at a position than a snapshot was taken at.
    #[error("{stream} has another record at position {position}")]
    Other {
        /// Which.
        stream: String,
        /// The position.
        position: u64,
    },
}

/// Makes calls for one shard.
#[derive(Clone, Debug)]
pub struct Caller {
    library: &'static Library,
    state: String,
    codes: Codes,
    keys: KeyMaker,
}

impl Caller {
    /// For the shard whose state is under a key.
    #[must_use]
    pub fn new(library: &'static Library, state: String, codes: Codes) -> Caller {
        Caller { library, state, codes, keys: KeyMaker::new(codes.key) }
    }

    /// What the codes of its orders are made from.
    #[must_use]
    pub fn codes(&self) -> &Codes {
        &self.codes
    }

    /// A call of a function without more than the terms, for an event or none.
    #[must_use]
    pub fn plain(&self, function: &str, terms: &Terms, subject: &str) -> Cmd {
        let mut cmd = redis::cmd("FCALL");
        cmd.arg(self.library.function(function)).arg(1).arg(&self.state);
        cmd.arg(terms.fence).arg(terms.not_after.0).arg(terms.now.map_or(0, |now| now.0));
        cmd.arg(subject);
        cmd
    }

    /// The call that shows something.
    #[must_use]
    pub fn look(&self, terms: &Terms, of: &Subject, look: Look) -> Cmd {
        let subject = format!("{}/{}", of.organizer, of.event);
        let function = match look {
            Look::Event => "event",
            Look::Availability => "availability",
            Look::Hold(_) => "hold",
            Look::Order(_) => "order",
        };
        let mut cmd = self.plain(function, terms, &subject);
        match look {
            Look::Event | Look::Availability => {}
            Look::Hold(hold) => drop(cmd.arg(&hold.0.to_be_bytes())),
            Look::Order(code) => {
                let (sequence, generation) = self.open(code);
                cmd.arg(format!("{sequence}/{generation}"));
            }
        }
        cmd
    }

    /// The call that carries a command out.
    pub fn command(&mut self, terms: &Terms, command: &Command) -> Cmd {
        let keys = self.keys.command_keys(command);
        let subject = format!("{}/{}", command.organizer, command.event);
        let mut cmd = self.plain(function_of(&command.action), terms, &subject);
        let stamp = &command.stamp;
        match keys.remembered() {
            Some(key) => cmd.arg(&key.to_be_bytes()),
            None => cmd.arg(""),
        };
        cmd.arg(&stamp.id.to_be_bytes()).arg(&stamp.body.to_be_bytes());
        cmd.arg(flag(stamp.chosen));
        match stamp.made_at {
            Some(at) => cmd.arg(at.0),
            None => cmd.arg(""),
        };
        let customer = keys.customer().unwrap_or(0).to_be_bytes();
        match &command.action {
            Action::DefineEvent { definition, expects } => define(&mut cmd, definition, *expects),
            Action::SetState { state, expects } => {
                cmd.arg(words::number(STATES, state));
                expected(&mut cmd, *expects);
            }
            Action::PlaceHold { hold, customer: text, items: wanted } => {
                cmd.arg(&hold.0.to_be_bytes()).arg(text.as_bytes()).arg(&customer);
                items(&mut cmd, wanted);
            }
            Action::Buy { customer: text, items: wanted } => {
                cmd.arg(text.as_bytes()).arg(&customer);
                items(&mut cmd, wanted);
            }
            Action::ExtendHold { hold }
            | Action::ReleaseHold { hold }
            | Action::ExpireHold { hold } => drop(cmd.arg(&hold.0.to_be_bytes())),
            Action::ClaimHold { hold, customer: text } => {
                cmd.arg(&hold.0.to_be_bytes()).arg(text.as_bytes()).arg(&customer);
            }
            Action::RecordPayment { order, reference, amount, currency, paid_at } => {
                self.order(&mut cmd, *order);
                let key = self.codes.key.payment_digest(keys.event(), reference);
                cmd.arg(reference.as_bytes()).arg(&key.to_be_bytes()).arg(*amount);
                cmd.arg(currency.as_str());
                match paid_at {
                    Some(at) => cmd.arg(at.0),
                    None => cmd.arg(""),
                };
            }
            Action::RecordRefund { order, reference } => {
                match order {
                    Some(order) => self.order(&mut cmd, *order),
                    None => drop(cmd.arg("").arg("")),
                }
                let key = self.codes.key.payment_digest(keys.event(), reference);
                cmd.arg(reference.as_bytes()).arg(&key.to_be_bytes());
            }
            Action::CancelOrder { order, manage } => {
                self.order(&mut cmd, *order);
                cmd.arg(flag(*manage));
            }
            Action::ExpireOrder { order } => self.order(&mut cmd, *order),
        }
        cmd
    }

    fn order(&self, cmd: &mut Cmd, code: OrderCode) {
        let (sequence, generation) = self.open(code);
        cmd.arg(sequence).arg(generation);
    }

    /// Sequence and generation of an order; one that can't be an order's of this shard is given those of none.
    fn open(&self, code: OrderCode) -> (u64, u32) {
        match self.codes.key.open_order(code) {
            Some((shard, generation, sequence)) if shard == self.codes.shard => {
                (sequence, generation)
            }
            _ => (0, 0),
        }
    }

    /// What the function of a command, or of a look at something, said. `of` is what it was about.
    ///
    /// # Errors
    /// It said nothing that makes sense.
    pub fn read(&self, said: Said, of: &About<'_>) -> Result<Reply, Damaged> {
        let mut said = Heard::of(said)?;
        let word = said.word(WORDS)?;
        if word == Word::Trouble {
            return said.trouble().map(Reply::Trouble);
        }
        let position = said.number()?;
        Ok(match word {
            Word::Done => {
                let event = Box::new(record::decode(&said.bytes()?, &self.codes)?);
                Reply::Done { position, first: said.number()?, event }
            }
            Word::Repeated => Reply::Repeated { position, of: said.number()? },
            Word::Unchanged => Reply::Unchanged { position },
            Word::Refused => Reply::Refused { position, refusal: self.refusal(said, of)? },
            Word::View => {
                let view = Box::new(self.view(&said.bytes()?, of)?);
                Reply::View { position, view }
            }
            Word::Trouble => unreachable!("read above"),
        })
    }

    fn refusal(&self, mut said: Heard, of: &About<'_>) -> Result<Refusal, Damaged> {
        let unknown = Damaged { what: "an unknown refusal" };
        let name = words::name(REFUSALS, said.number()?).ok_or(unknown)?;
        let said = &mut said;
        Ok(match name {
            "UnknownEvent" => Refusal::UnknownEvent,
            "InvalidDefinition" => match of {
                About::Command(Command {
                    action: Action::DefineEvent { definition, .. }, ..
                }) => {
                    let invalid = definition.validate().err().ok_or(unknown)?;
                    Refusal::InvalidDefinition(invalid)
                }
                _ => return Err(unknown),
            },
            "VersionNotSaid" => Refusal::VersionNotSaid { current: said.number()? },
            "VersionStale" => Refusal::VersionStale { current: said.counted()? },
            "QuotaBelowUse" => Refusal::QuotaBelowUse {
                index: said.number()?,
                quota: said.id()?,
                asked: said.number()?,
                used: said.number()?,
            },
            "QuotaInUse" => Refusal::QuotaInUse { quota: said.id()?, used: said.number()? },
            "TicketTypeInUse" => {
                Refusal::TicketTypeInUse { ticket_type: said.id()?, used: said.number()? }
            }
            "CurrencyInUse" => Refusal::CurrencyInUse,
            "SaleGroupFixed" => Refusal::SaleGroupFixed { group: said.id()? },
            "TooManyEver" => Refusal::TooManyEver {
                field: if said.number::<i64>()? == 0 { "ticket_types" } else { "quotas" },
                max: said.number()?,
            },
            "NotOpen" => Refusal::NotOpen { state: said.word(STATES)? },
            "SaleNotBegun" => {
                Refusal::SaleNotBegun { line: said.counted()?, opens_at: said.time()? }
            }
            "SaleOver" => Refusal::SaleOver { line: said.counted()?, closed_at: said.time()? },
            "LineCount" => Refusal::LineCount,
            "UnknownTicketType" => Refusal::UnknownTicketType { line: said.number()? },
            "Quantity" => Refusal::Quantity { line: said.number()?, max: said.number()? },
            "TooManyTickets" => Refusal::TooManyTickets { max: said.number()? },
            "PriceBelowMinimum" => {
                Refusal::PriceBelowMinimum { line: said.number()?, minimum: said.number()? }
            }
            "PriceFixed" => Refusal::PriceFixed { line: said.number()?, price: said.number()? },
            "PriceTooHigh" => Refusal::PriceTooHigh { line: said.number()? },
            "OrderLimit" => Refusal::OrderLimit {
                limit: said.number()?,
                asked: said.number()?,
                max: said.number()?,
            },
            "CustomerLimit" => Refusal::CustomerLimit {
                limit: said.number()?,
                has: said.number()?,
                asked: said.number()?,
                max: said.number()?,
            },
            "SoldOut" => {
                Refusal::SoldOut { quota: said.id()?, asked: said.number()?, free: said.number()? }
            }
            "NoneFreeNow" => Refusal::NoneFreeNow {
                quota: said.id()?,
                asked: said.number()?,
                free: said.number()?,
                held: said.number()?,
            },
            "UnknownHold" => Refusal::UnknownHold,
            "HoldIdTaken" => Refusal::HoldIdTaken,
            "HoldOfAnother" => Refusal::HoldOfAnother,
            "HoldExpired" => Refusal::HoldExpired { at: said.time()? },
            "HoldReleased" => Refusal::HoldReleased { at: said.time()? },
            "HoldClaimed" => Refusal::HoldClaimed { order: said.order(&self.codes)? },
            "ExtendedBefore" => Refusal::ExtendedBefore,
            "NotDue" => Refusal::NotDue,
            "UnknownOrder" => Refusal::UnknownOrder,
            "OrderCancelled" => match said.word(ORDER_STATES)? {
                OrderState::Cancelled(reason) => Refusal::OrderCancelled { reason },
                _ => return Err(unknown),
            },
            "NeedsManage" => Refusal::NeedsManage,
            "NothingToPay" => Refusal::NothingToPay,
            "PaymentAmount" => Refusal::PaymentAmount { expected: said.number()? },
            "PaymentCurrency" => {
                let text = said.bytes()?;
                let currency = std::str::from_utf8(&text).ok();
                let expected = currency.and_then(onsale_core::Currency::new).ok_or(unknown)?;
                Refusal::PaymentCurrency { expected }
            }
            "PaidAt" => Refusal::PaidAt,
            "ReferenceUsed" => Refusal::ReferenceUsed { order: said.order(&self.codes)? },
            "TooManyPayments" => Refusal::TooManyPayments,
            "UnknownPayment" => Refusal::UnknownPayment,
            "NotDueBack" => Refusal::NotDueBack,
            "IdTooOld" => Refusal::IdTooOld { since: said.time()? },
            "ShardFull" => Refusal::ShardFull,
            _ => return Err(unknown),
        })
    }

    fn view(&self, packed: &[u8], of: &About<'_>) -> Result<View, Damaged> {
        let About::Look(of, look) = of else { return Err(Damaged { what: "a view unasked" }) };
        let mut values = Values::of(Value::unpack(packed)?)?;
        let Subject { organizer, event } = **of;
        Ok(match look {
            Look::Event => View::Event(EventView {
                organizer,
                event,
                version: values.int()?,
                state: values.word(STATES)?,
                definition: definition(values.next()?.bytes()?)?,
            }),
            Look::Availability => View::Availability(availability(&mut values)?),
            Look::Hold(hold) => {
                let (position, expires_at) = (values.int()?, values.time()?);
                let extended = values.next()?.is_true();
                let (lines, total) = lines(&mut values)?;
                let (hold, currency) = (*hold, values.currency()?);
                View::Hold(HoldView {
                    hold,
                    position,
                    expires_at,
                    extended,
                    lines,
                    total,
                    currency,
                })
            }
            Look::Order(order) => View::Order(self.order_view(*order, values)?),
        })
    }

    fn order_view(&self, order: OrderCode, mut values: Values) -> Result<OrderView, Damaged> {
        let (position, state) = (values.int()?, values.word(ORDER_STATES)?);
        let payment_due = values.next()?.maybe().map(Value::int).transpose()?.map(Time);
        let (lines, total) = lines(&mut values)?;
        let currency = values.currency()?;
        let mut payments = Vec::new();
        for payment in values.next()?.list()? {
            let mut payment = Values::of(payment)?;
            let (position, amount) = (payment.int()?, payment.int()?);
            payments.push(PaymentView { position, amount, state: payment.word(PAYMENT_STATES)? });
        }
        let places = lines.iter().map(|line| (line.ticket_type, line.quantity));
        let tickets = match state {
            OrderState::Confirmed => self.codes.key.tickets_of(order, places),
            _ => Vec::new(),
        };
        Ok(OrderView {
            order,
            position,
            state,
            payment_due,
            lines,
            total,
            currency,
            tickets,
            payments,
        })
    }
}

/// What a call was about.
#[derive(Clone, Copy, Debug)]
pub enum About<'a> {
    /// This command.
    Command(&'a Command),
    /// A look at something.
    Look(&'a Subject, Look),
}

fn definition(bytes: &[u8]) -> Result<Arc<EventDefinition>, Damaged> {
    let definition = onsale_codec::decode_definition(bytes);
    definition.map(Arc::new).map_err(|_| Damaged { what: "not a definition" })
}

fn availability(values: &mut Values) -> Result<AvailabilityView, Damaged> {
    let state: EventState = values.word(STATES)?;
    let definition = definition(values.next()?.bytes()?)?;
    let mut quotas = Vec::new();
    for quota in values.next()?.list()? {
        let mut quota = Values::of(quota)?;
        let id = quota.id()?;
        let allotment = quota.next()?.maybe().map(Value::int).transpose()?;
        let stock = QuotaStock { allotment, epoch: quota.int()?, source: quota.word(SOURCES)? };
        quotas.push(QuotaView { id, stock, held: quota.int()?, sold: quota.int()? });
    }
    Ok(AvailabilityView { state, definition, quotas })
}

fn lines(values: &mut Values) -> Result<(Vec<LineView>, i64), Damaged> {
    let recorded = values.lines()?;
    let lines = recorded.iter().map(|line| LineView {
        ticket_type: line.ticket_type,
        quantity: line.stock.quantity(),
        unit_price: line.unit_price,
        version: line.version,
    });
    let lines: Vec<LineView> = lines.collect();
    let total = lines.iter().map(|line| line.unit_price * i64::from(line.quantity)).sum();
    Ok((lines, total))
}

fn flag(truth: bool) -> &'static str {
    if truth { "1" } else { "" }
}

fn function_of(action: &Action) -> &'static str {
    match action {
        Action::DefineEvent { .. } => "define_event",
        Action::SetState { .. } => "set_state",
        Action::PlaceHold { .. } => "place_hold",
        Action::ExtendHold { .. } => "extend_hold",
        Action::ReleaseHold { .. } => "release_hold",
        Action::ClaimHold { .. } => "claim_hold",
        Action::Buy { .. } => "buy",
        Action::RecordPayment { .. } => "record_payment",
        Action::RecordRefund { .. } => "record_refund",
        Action::CancelOrder { .. } => "cancel_order",
        Action::ExpireHold { .. } => "expire_hold",
        Action::ExpireOrder { .. } => "expire_order",
    }
}

fn items(cmd: &mut Cmd, items: &Items) {
    cmd.arg(items.len());
    for item in items {
        cmd.arg(item.ticket_type.as_bytes()).arg(item.quantity);
        match item.price {
            Some(price) => cmd.arg(price),
            None => cmd.arg(""),
        };
    }
}

fn expected(cmd: &mut Cmd, expects: Expects) {
    let (expected, version) = match expects {
        Expects::Absent => (Expected::Absent, 0),
        Expects::Any => (Expected::Any, 0),
        Expects::Version(version) => (Expected::Version, version),
        Expects::Unsaid => (Expected::Unsaid, 0),
    };
    cmd.arg(words::number(EXPECTED, &expected)).arg(version);
}

fn define(cmd: &mut Cmd, definition: &EventDefinition, expects: Expects) {
    let is_valid = definition.validate().is_ok();
    cmd.arg(flag(is_valid));
    expected(cmd, expects);
    if !is_valid {
        return;
    }
    let mut bytes = Vec::new();
    onsale_codec::encode_definition(definition, &mut bytes);
    cmd.arg(&bytes);
    bytes.clear();
    for_lua(definition).pack(&mut bytes);
    cmd.arg(&bytes);
}

/// A definition as `lua/catalogue.lua` wants it.
fn for_lua(definition: &EventDefinition) -> Value {
    let time = |time: Option<Time>| Value::from(time.map(|time| time.0));
    let ids = |ids: &[Id]| Value::List(ids.iter().map(|id| id.as_str().into()).collect());
    let head = vec![
        definition.currency.as_str().into(),
        time(definition.sale.opens_at),
        time(definition.sale.closes_at),
        definition.hold_seconds.into(),
        definition.payment_seconds.into(),
        definition.sale_group.as_str().into(),
    ];
    let types = definition.ticket_types.iter().map(|ticket_type| {
        Value::List(vec![
            ticket_type.id.as_str().into(),
            ticket_type.price.into(),
            ticket_type.free_price.into(),
            time(ticket_type.sale.opens_at),
            time(ticket_type.sale.closes_at),
            ids(&ticket_type.quotas),
        ])
    });
    let quotas = definition
        .quotas
        .iter()
        .map(|quota| Value::List(vec![quota.id.as_str().into(), quota.capacity.into()]));
    let limits = definition.limits.iter().map(|limit| {
        Value::List(vec![
            ids(&limit.ticket_types),
            limit.per_order.into(),
            limit.per_customer.into(),
        ])
    });
    Value::List(vec![
        head.into(),
        Value::List(types.collect()),
        Value::List(quotas.collect()),
        Value::List(limits.collect()),
    ])
}

/// The call that makes a new log. `log` and `key` are its id and secret.
#[must_use]
pub fn begin(
    library: &Library,
    state: &str,
    log: u128,
    (shard, shards): (u16, u16),
    key: CodeKey,
    run: &str,
    now: Time,
) -> Cmd {
    let mut cmd = redis::cmd("FCALL");
    cmd.arg(library.function("begin")).arg(1).arg(state);
    cmd.arg(&log.to_be_bytes()).arg(shard).arg(shards).arg(&key.0).arg(1).arg(run).arg(now.0);
    cmd
}

/// The call that makes a state again from its stream, so many records at a time; `begin` throws away what there is of it.
#[must_use]
pub fn rebuild(library: &Library, state: &str, begin: bool, records: usize) -> Cmd {
    let mut cmd = redis::cmd("FCALL");
    cmd.arg(library.function("rebuild")).arg(1).arg(state).arg(flag(begin)).arg(records);
    cmd
}

/// The call with which a node joins. `keeps`: all that was ever acknowledged is sure to be there.
#[must_use]
pub fn join(library: &Library, state: &str, run: &str, keeps: bool, now: Option<Time>) -> Cmd {
    let mut cmd = redis::cmd("FCALL");
    cmd.arg(library.function("join")).arg(1).arg(state);
    cmd.arg(run).arg(flag(keeps)).arg(now.map_or(0, |now| now.0));
    cmd
}
