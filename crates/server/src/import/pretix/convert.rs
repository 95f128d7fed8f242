//! From an export to events.

use jiff::tz::TimeZone;
use onsale_core::limits::{HOLD_SECONDS, PAYMENT_SECONDS};
use onsale_core::{
    Currency, EventDefinition, EventState, Id, Limit, QuotaDefinition, TicketTypeDefinition, Window,
};

use super::export::{Export, Item, Override, Quota, SubEvent, Text};
use super::kind::{Kind, kinds};
use super::value;
use crate::catalogue::{CatalogueEvent, HOLD_SECONDS_DEFAULT, PAYMENT_SECONDS_DEFAULT};
use crate::import::{Error, Import, NotCarried};

/// Converts a whole export.
///
/// # Errors
/// The first value that makes no sense, with its file and field. What makes sense
/// there but can't be carried is no error: it is listed.
pub fn convert(export: &Export) -> Result<Import, Error> {
    let mut notes = Vec::new();
    let slug = &export.event.slug;
    let bad = |detail: String| export.bad("event.json", detail);
    let unknown = || bad(format!("currency: {:?} is not of ISO 4217", export.event.currency));
    let iso = iso_currency::Currency::from_code(&export.event.currency).ok_or_else(unknown)?;
    let zone = TimeZone::get(&export.event.timezone)
        .map_err(|_| bad(format!("timezone: {:?} is not known", export.event.timezone)))?;
    let terms = Terms::of(export, &mut notes);
    note_event_losses(export, &mut notes);
    let kinds = kinds(export, &mut notes);
    let mut converter = Converter {
        export,
        currency: Currency::new(iso.code()).ok_or_else(unknown)?,
        exponent: iso.exponent().ok_or_else(unknown)?.into(),
        zone,
        terms,
        kinds,
        notes,
    };
    let mut events = Vec::new();
    if export.event.has_subevents {
        converter.note_stray_quotas();
        for subevent in &export.subevents {
            events.extend(converter.event(&Occasion::of_subevent(slug, export, subevent))?);
        }
    } else {
        events.extend(converter.event(&Occasion::of_event(export))?);
    }
    Ok(Import { events, not_carried: converter.notes })
}

impl Export {
    fn bad(&self, file: &str, detail: String) -> Error {
        Error::Input { at: format!("{}/{file}", self.place), detail }
    }
}

/// One date to sell for: the event itself or a subevent.
struct Occasion<'a> {
    id: String,
    /// For messages: which file, and which entry of it.
    file: &'static str,
    entry: String,
    name: &'a Text,
    active: bool,
    date_from: Option<&'a str>,
    date_to: Option<&'a str>,
    /// From and until, of the event and of the subevent.
    presales: Vec<(Option<&'a str>, Option<&'a str>)>,
    subevent: Option<&'a SubEvent>,
}

impl<'a> Occasion<'a> {
    fn of_event(export: &'a Export) -> Occasion<'a> {
        let event = &export.event;
        Occasion {
            id: event.slug.clone(),
            file: "event.json",
            entry: String::new(),
            name: &event.name,
            active: event.live && !event.testmode,
            date_from: event.date_from.as_deref(),
            date_to: event.date_to.as_deref(),
            presales: vec![(event.presale_start.as_deref(), event.presale_end.as_deref())],
            subevent: None,
        }
    }

    fn of_subevent(slug: &str, export: &'a Export, subevent: &'a SubEvent) -> Occasion<'a> {
        let event = Occasion::of_event(export);
        let named = !subevent.name.in_language("en").is_empty();
        let own = (subevent.presale_start.as_deref(), subevent.presale_end.as_deref());
        Occasion {
            // As the bridge names it: a slug has no underscore, so no event has this name.
            id: format!("{slug}_{}", subevent.id),
            file: "subevents.json",
            entry: format!("subevent {}: ", subevent.id),
            name: if named { &subevent.name } else { event.name },
            active: event.active && subevent.active,
            date_from: subevent.date_from.as_deref(),
            date_to: subevent.date_to.as_deref(),
            presales: vec![event.presales[0], own],
            subevent: Some(subevent),
        }
    }

    /// What the subevent changes of a kind: first of the item, then of the variation.
    fn overrides(&self, kind: &Kind<'_>) -> [Option<&'a Override>; 2] {
        let Some(subevent) = self.subevent else { return [None, None] };
        let item = subevent.item_price_overrides.iter().find(|o| o.item == kind.item.id);
        let variation = kind.variation.and_then(|variation| {
            subevent.variation_price_overrides.iter().find(|o| o.variation == variation.id)
        });
        [item.map(|o| &o.sale), variation.map(|o| &o.sale)]
    }
}

struct Converter<'a> {
    export: &'a Export,
    currency: Currency,
    /// Decimal places of the currency.
    exponent: u32,
    zone: TimeZone,
    terms: Terms,
    kinds: Vec<Kind<'a>>,
    notes: Vec<NotCarried>,
}

impl<'a> Converter<'a> {
    fn event(&mut self, occasion: &Occasion<'a>) -> Result<Option<CatalogueEvent>, Error> {
        let bad =
            |detail: String| self.export.bad(occasion.file, format!("{}{detail}", occasion.entry));
        let id = Id::new(&occasion.id)
            .map_err(|e| bad(format!("the id {:?} of the event: {e}", occasion.id)))?;
        let sale = self.sale(occasion)?;
        if value::is_empty(&sale) {
            self.leave_out(occasion.id.clone(), "is never on sale: its windows do not overlap");
            return Ok(None);
        }
        let mut ticket_types = Vec::new();
        let mut sold = Vec::new();
        for kind in self.kinds.clone() {
            if let Some(ticket_type) = self.ticket_type(&kind, occasion, sale)? {
                ticket_types.push(ticket_type);
                sold.push(kind);
            }
        }
        let quotas = self.quotas(occasion, &sold)?;
        if ticket_types.is_empty() {
            self.leave_out(occasion.id.clone(), "has nothing left that could be sold");
            return Ok(None);
        }
        let starts_at = value::time(occasion.date_from);
        let definition = EventDefinition {
            name: self.name(&occasion.id, occasion.name.in_language(&self.export.settings.locale)),
            currency: self.currency,
            starts_at: starts_at.map_err(|e| bad(format!("date_from: {e}")))?,
            sale,
            limits: self.limits(&sold, &ticket_types),
            hold_seconds: self.terms.hold_seconds,
            payment_seconds: self.terms.payment_seconds,
            sale_group: id,
            quotas,
            ticket_types,
        };
        definition.validate().map_err(|e| bad(format!("as the event {id}: {e}")))?;
        let state = if occasion.active { EventState::Open } else { EventState::Paused };
        Ok(Some(CatalogueEvent { id, state: Some(state), definition }))
    }

    /// When an occasion is on sale. Where no end is given, pretix sells until the
    /// event is over or, where that is not known either, to the end of its first day.
    fn sale(&self, occasion: &Occasion<'_>) -> Result<Window, Error> {
        let bad = |field: &str, e: String| {
            self.export.bad(occasion.file, format!("{}{field}: {e}", occasion.entry))
        };
        let mut sale = Window::default();
        for (from, until) in &occasion.presales {
            let opens_at = value::time(*from).map_err(|e| bad("presale_start", e))?;
            let closes_at = value::time(*until).map_err(|e| bad("presale_end", e))?;
            sale = value::both(sale, Window { opens_at, closes_at });
        }
        if sale.closes_at.is_none() {
            let from = value::time(occasion.date_from).map_err(|e| bad("date_from", e))?;
            let to = value::time(occasion.date_to).map_err(|e| bad("date_to", e))?;
            sale.closes_at = to.or(from.and_then(|from| value::end_of_day(from, &self.zone)));
        }
        Ok(sale)
    }

    /// The ticket type of a kind at an occasion; none where it is not sold there.
    fn ticket_type(
        &mut self,
        kind: &Kind<'a>,
        occasion: &Occasion<'a>,
        event_sale: Window,
    ) -> Result<Option<TicketTypeDefinition>, Error> {
        let what = format!("{}: ticket type {}", occasion.id, kind.id());
        let overrides = occasion.overrides(kind);
        if overrides.iter().flatten().any(|o| o.disabled) {
            self.leave_out(what, "is disabled for this date");
            return Ok(None);
        }
        let sale = self.kind_sale(kind, occasion, &overrides)?;
        if value::is_empty(&value::both(sale, event_sale)) {
            self.leave_out(what, "is never on sale: its windows do not overlap");
            return Ok(None);
        }
        let drawn: Vec<&Quota> =
            quotas_of(self.export, occasion).filter(|quota| kind.draws_on(quota)).collect();
        if drawn.is_empty() {
            self.leave_out(what, "has no quota");
            return Ok(None);
        }
        let name = kind.name(&self.export.settings.locale);
        Ok(Some(TicketTypeDefinition {
            id: Id::new(&kind.id()).expect("numbers make an id"),
            name: self.name(&what, &name),
            price: self.price(kind, occasion, &overrides)?,
            free_price: kind.item.free_price,
            quotas: drawn.iter().map(|quota| quota_id(quota)).collect(),
            sale,
        }))
    }

    /// The windows of an item, its variation and what a subevent says of them.
    fn kind_sale(
        &self,
        kind: &Kind<'_>,
        occasion: &Occasion<'_>,
        overrides: &[Option<&Override>],
    ) -> Result<Window, Error> {
        let item = (&kind.item.available_from, &kind.item.available_until);
        let variation = kind.variation.map(|v| (&v.available_from, &v.available_until));
        let overrides = overrides.iter().flatten().map(|o| (&o.available_from, &o.available_until));
        let own = std::iter::once(item).chain(variation).map(|pair| ("items.json", pair));
        let mut sale = Window::default();
        for (file, (from, until)) in own.chain(overrides.map(|pair| (occasion.file, pair))) {
            let bad = |field: &str, e: String| {
                self.export.bad(file, format!("ticket type {}: {field}: {e}", kind.id()))
            };
            let opens_at = value::time(from.as_deref()).map_err(|e| bad("available_from", e))?;
            let closes_at = value::time(until.as_deref()).map_err(|e| bad("available_until", e))?;
            sale = value::both(sale, Window { opens_at, closes_at });
        }
        Ok(sale)
    }

    /// In minor units: the last of the item's, the subevent's for the item, the
    /// variation's and the subevent's for the variation.
    fn price(
        &self,
        kind: &Kind<'_>,
        occasion: &Occasion<'_>,
        overrides: &[Option<&Override>; 2],
    ) -> Result<i64, Error> {
        let [of_item, of_variation] = overrides;
        let variation = kind.variation.and_then(|variation| variation.default_price.as_deref());
        let candidates = [
            (occasion.file, of_variation.and_then(|o| o.price.as_deref())),
            ("items.json", variation),
            (occasion.file, of_item.and_then(|o| o.price.as_deref())),
        ];
        let found = candidates.into_iter().find_map(|(file, text)| Some((file, text?)));
        let (file, text) = found.unwrap_or(("items.json", &kind.item.default_price));
        value::minor_units(text, self.exponent).ok_or_else(|| {
            let currency = self.currency.as_str();
            let detail =
                format!("ticket type {}: {text:?} is not a price in {currency}", kind.id());
            self.export.bad(file, detail)
        })
    }

    /// The quotas of an occasion on which something that is sold draws.
    fn quotas(
        &mut self,
        occasion: &Occasion<'_>,
        sold: &[Kind<'_>],
    ) -> Result<Vec<QuotaDefinition>, Error> {
        let mut quotas = Vec::new();
        for quota in quotas_of(self.export, occasion) {
            let what = format!("{}: quota {} ({})", occasion.id, quota.id, quota.name);
            if !sold.iter().any(|kind| kind.draws_on(quota)) {
                self.leave_out(what, "nothing that is sold draws on it");
                continue;
            }
            if quota.available_number.is_some_and(|left| left < 0) {
                self.note(&what, "is overbooked: nothing is left");
            }
            if quota.close_when_sold_out {
                self.note(&what, "close_when_sold_out: tickets that come back are sold again");
            }
            if quota.release_after_exit {
                self.note(&what, "release_after_exit: a ticket counts until it is cancelled");
            }
            quotas.push(QuotaDefinition { id: quota_id(quota), capacity: self.left(quota)? });
        }
        Ok(quotas)
    }

    /// What is left of a quota; none: unlimited.
    fn left(&self, quota: &Quota) -> Result<Option<u32>, Error> {
        let bad = |detail: &str| {
            self.export
                .bad("quotas.json", format!("quota {}: available_number: {detail}", quota.id))
        };
        match (quota.closed, quota.size, quota.available_number) {
            (true, _, _) => Ok(Some(0)),
            (false, None, _) => Ok(None),
            (false, Some(_), None) => Err(bad("is missing: export with ?with_availability=true")),
            (false, Some(_), Some(left)) => {
                u32::try_from(left.max(0)).map(Some).map_err(|_| bad("is too large"))
            }
        }
    }

    /// One over all, and one for each item that has its own, over its variations together.
    fn limits(&self, sold: &[Kind<'_>], types: &[TicketTypeDefinition]) -> Vec<Limit> {
        let limit = |ticket_types, per_order| Limit {
            ticket_types,
            per_order: Some(u32::try_from(per_order).unwrap_or(0)),
            per_customer: None,
        };
        let over_all = self.export.settings.max_items_per_order.map(|n| limit(Vec::new(), n));
        let per_item = self.export.items.iter().filter_map(|item: &Item| {
            let max = item.max_per_order.filter(|max| *max > 0)?;
            let of_item = sold.iter().zip(types).filter(|(kind, _)| kind.item.id == item.id);
            let ids: Vec<Id> = of_item.map(|(_, ticket_type)| ticket_type.id).collect();
            (!ids.is_empty()).then(|| limit(ids, max))
        });
        over_all.into_iter().chain(per_item).collect()
    }

    fn name(&mut self, what: &str, name: &str) -> String {
        let (name, cut) = value::fit_name(name);
        if cut {
            self.note(what, "the name is too long and was cut");
        }
        name
    }

    fn note_stray_quotas(&mut self) {
        for quota in &self.export.quotas {
            let known = self.export.subevents.iter().any(|s| Some(s.id) == quota.subevent);
            if !known {
                let what =
                    format!("{}: quota {} ({})", self.export.event.slug, quota.id, quota.name);
                self.leave_out(what, "belongs to no date of the series");
            }
        }
    }

    fn note(&mut self, what: &str, reason: &str) {
        let (what, reason) = (what.to_owned(), reason.to_owned());
        self.notes.push(NotCarried { what, reason, left_out: false });
    }

    fn leave_out(&mut self, what: String, reason: &str) {
        self.notes.push(NotCarried { what, reason: reason.to_owned(), left_out: true });
    }
}

fn quotas_of<'a>(
    export: &'a Export,
    occasion: &Occasion<'_>,
) -> impl Iterator<Item = &'a Quota> + use<'a> {
    let subevent = occasion.subevent.map(|subevent| subevent.id);
    export.quotas.iter().filter(move |quota| quota.subevent == subevent)
}

fn quota_id(quota: &Quota) -> Id {
    Id::new(&quota.id.to_string()).expect("a number is an id")
}

/// How long buyers may take.
struct Terms {
    hold_seconds: u32,
    payment_seconds: u32,
}

impl Terms {
    fn of(export: &Export, notes: &mut Vec<NotCarried>) -> Terms {
        let settings = &export.settings;
        let mut fit = |field: &str, seconds: Option<i64>, default: u32, (min, max): (u32, u32)| {
            let Some(seconds) = seconds else { return default };
            let fitting = seconds.clamp(min.into(), max.into());
            if fitting != seconds {
                notes.push(NotCarried {
                    what: format!("{}: settings", export.event.slug),
                    reason: format!("{field}: {seconds} seconds become {fitting}"),
                    left_out: false,
                });
            }
            fitting as u32
        };
        let hold = settings.reservation_time.map(|minutes| minutes.saturating_mul(60));
        let (field, payment) = match settings.payment_term_mode.as_deref() {
            Some("minutes") => (
                "payment_term_minutes",
                settings.payment_term_minutes.map(|n| n.saturating_mul(60)),
            ),
            _ => {
                ("payment_term_days", settings.payment_term_days.map(|n| n.saturating_mul(86_400)))
            }
        };
        let ends = |range: std::ops::RangeInclusive<u32>| range.into_inner();
        Terms {
            hold_seconds: fit("reservation_time", hold, HOLD_SECONDS_DEFAULT, ends(HOLD_SECONDS)),
            payment_seconds: fit(field, payment, PAYMENT_SECONDS_DEFAULT, ends(PAYMENT_SECONDS)),
        }
    }
}

/// What the event as a whole loses.
fn note_event_losses(export: &Export, notes: &mut Vec<NotCarried>) {
    let (event, settings) = (&export.event, &export.settings);
    let plan = event.seating_plan.is_some()
        || export.subevents.iter().any(|subevent| subevent.seating_plan.is_some());
    let losses = [
        (plan, "seating_plan: no seats are sold"),
        (event.testmode, "testmode: stays paused"),
        (!event.channels.all_sales_channels, "limit_sales_channels: there is one channel"),
        (settings.payment_term_last.is_some(), "payment_term_last: no last day to pay"),
        (settings.waiting_list_enabled == Some(true), "waiting_list_enabled: there is none"),
    ];
    for (_, reason) in losses.iter().filter(|(applies, _)| *applies) {
        let (what, reason) = (event.slug.clone(), (*reason).to_owned());
        notes.push(NotCarried { what, reason, left_out: false });
    }
}
