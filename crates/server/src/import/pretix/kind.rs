//! What is sold: items, or their variations where they have some; and what can't
//! be carried of them.

use std::collections::BTreeSet;

use super::export::{Channels, Demands, Export, Item, Quota, Variation};
use crate::import::NotCarried;

/// An item or one of its variations, to become a ticket type.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'a> {
    pub item: &'a Item,
    pub variation: Option<&'a Variation>,
}

impl Kind<'_> {
    /// `14` or `14-3`.
    pub fn id(&self) -> String {
        match self.variation {
            Some(variation) => format!("{}-{}", self.item.id, variation.id),
            None => self.item.id.to_string(),
        }
    }

    /// `Weekend pass` or `Weekend pass – Regular`.
    pub fn name(&self, language: &str) -> String {
        let item = self.item.name.in_language(language);
        match self.variation {
            Some(variation) => format!("{item} – {}", variation.value.in_language(language)),
            None => item.to_owned(),
        }
    }

    /// Whether it draws on the quota.
    pub fn draws_on(&self, quota: &Quota) -> bool {
        quota.items.contains(&self.item.id)
            && self.variation.is_none_or(|variation| quota.variations.contains(&variation.id))
    }

    fn told(&self, slug: &str, language: &str) -> String {
        let what = if self.variation.is_some() { "variation" } else { "item" };
        format!("{slug}: {what} {} ({})", self.id(), self.name(language))
    }
}

/// All that can be sold rightly, in the order of the export.
pub fn kinds<'a>(export: &'a Export, notes: &mut Vec<NotCarried>) -> Vec<Kind<'a>> {
    let seated: BTreeSet<u64> = std::iter::once(&export.event.seat_category_mapping)
        .chain(export.subevents.iter().map(|subevent| &subevent.seat_category_mapping))
        .flat_map(|mapping| mapping.values().copied())
        .collect();
    let mut kinds = Vec::new();
    for item in &export.items {
        let of_item = Kind { item, variation: None };
        let what = of_item.told(&export.event.slug, &export.settings.locale);
        let mut reasons = item_obstacles(item, export, &seated);
        reasons.extend(demand_obstacles(&item.demands, &item.channels));
        if item.has_variations && item.variations.is_empty() {
            reasons.push("has no variations to pick from".to_owned());
        }
        let sold = reasons.is_empty();
        let mut note = |what: &str, reason: String, left_out| {
            notes.push(NotCarried { what: what.to_owned(), reason, left_out });
        };
        reasons.into_iter().for_each(|reason| note(&what, reason, true));
        if !sold {
            continue;
        }
        item_losses(item).into_iter().for_each(|reason| note(&what, reason, false));
        if item.variations.is_empty() {
            kinds.push(of_item);
            continue;
        }
        for variation in &item.variations {
            let kind = Kind { item, variation: Some(variation) };
            let what = kind.told(&export.event.slug, &export.settings.locale);
            let mut reasons = demand_obstacles(&variation.demands, &variation.channels);
            if !variation.active {
                reasons.push("is not active".to_owned());
            }
            if reasons.is_empty() {
                kinds.push(kind);
            }
            reasons.into_iter().for_each(|reason| note(&what, reason, true));
        }
    }
    kinds
}

/// Why an item must not be sold here.
fn item_obstacles(item: &Item, export: &Export, seated: &BTreeSet<u64>) -> Vec<String> {
    let is_addon = export.categories.iter().any(|c| Some(c.id) == item.category && c.is_addon);
    let obstacles = [
        (!item.active, "is not active"),
        (item.require_voucher, "require_voucher: is sold with a voucher only"),
        (item.require_bundling, "require_bundling: is sold within a bundle only"),
        (!item.bundles.is_empty(), "bundles: other items belong to it"),
        (is_addon, "is_addon: its category is sold as an add-on of other items only"),
        (item.addons.iter().any(|a| a.min_count > 0), "addons: is not sold without its add-ons"),
        (
            item.hidden_if_available.is_some() || item.hidden_if_item_available.is_some(),
            "hidden_if_available: is sold only after something else has sold out",
        ),
        (item.issue_giftcard, "issue_giftcard: is a gift card, not a ticket"),
        (seated.contains(&item.id), "seat_category_mapping: needs a numbered seat"),
    ];
    told(&obstacles)
}

/// Why an item or a variation must not be sold to everybody.
fn demand_obstacles(demands: &Demands, channels: &Channels) -> Vec<String> {
    let web = channels.limit_sales_channels.iter().any(|channel| channel == "web");
    let obstacles = [
        (demands.hide_without_voucher, "hide_without_voucher: is sold with a voucher only"),
        (demands.require_approval, "require_approval: each order needs the organizer's approval"),
        (demands.require_membership, "require_membership: is sold to members only"),
        (
            !channels.all_sales_channels && !web,
            "limit_sales_channels: is not sold in the channel web",
        ),
    ];
    told(&obstacles)
}

/// What an item loses, without being sold wrongly.
fn item_losses(item: &Item) -> Vec<String> {
    let taxed = item
        .tax_rate
        .as_deref()
        .is_some_and(|rate| rate.bytes().any(|b| b"123456789".contains(&b)));
    let losses = [
        (taxed, "tax_rate: the price is sold as it stands, tax is not shown apart"),
        (item.min_per_order.is_some_and(|n| n > 1), "min_per_order: fewer can be bought"),
        (!item.addons.is_empty(), "addons: are not offered"),
        (item.personalized, "personalized: attendees are not asked for their names"),
        (item.generate_tickets == Some(false), "generate_tickets: tickets get codes all the same"),
        (item.grant_membership_type.is_some(), "grant_membership_type: no membership is given"),
        (item.validity_mode.is_some(), "validity_mode: tickets have no time of validity"),
        (item.media_policy.is_some(), "media_policy: no reusable media are issued"),
        (!item.channels.all_sales_channels, "limit_sales_channels: is sold like all others"),
    ];
    told(&losses)
}

fn told(rows: &[(bool, &str)]) -> Vec<String> {
    rows.iter().filter(|(applies, _)| *applies).map(|(_, text)| (*text).to_owned()).collect()
}
