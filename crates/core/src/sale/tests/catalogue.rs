//! Definitions and redefinitions.

use super::stage::{check, check_open, definition, id};
use crate::limits::{QUOTAS_MAX, TICKET_TYPES_MAX};

#[test]
fn versions() {
    check(
        "0 define if=any => !VersionStale { current: None }
           define if=1 => !VersionStale { current: None }
           open => !UnknownEvent
           define if=absent => group group, defined v1
           define if=absent => !VersionStale { current: Some(1) }
           define => !VersionNotSaid { current: 1 }
           define if=2 => !VersionStale { current: Some(1) }
           define if=1 => unchanged
           define name=New if=1 => defined v2
           open if=1 => !VersionStale { current: Some(2) }
           open if=unsaid => !VersionNotSaid { current: 2 }
           open if=absent => !VersionStale { current: Some(2) }
           open if=2 => Open v3
           open if=3 => unchanged
           define if=any => defined v4
           hold h1 ann std*1 => ok",
    );
}

#[test]
fn groups_are_placed_once_per_organizer() {
    let stage = check(
        "0 define ev=a group=g => group g, defined v1
           define ev=b group=g => defined v1
           define ev=c group=h => group h, defined v1
           define ev=a group=g org=o2 => group g, defined v1
           define ev=a group=h if=any => !SaleGroupFixed { group: \"g\" }",
    );
    let events: Vec<_> = stage.sale.events().map(|(o, e)| format!("{o}/{e}")).collect();
    assert_eq!(events, ["org/a", "org/b", "org/c", "o2/a"]);
    let groups: Vec<_> = stage.sale.groups().map(|(o, g)| format!("{o}/{g}")).collect();
    assert_eq!(groups, ["org/g", "org/h", "o2/g"]);
}

#[test]
fn a_quota_grows_and_shrinks_to_what_is_used() {
    check_open(
        "0 hold h1 ann std*3 => ok
           buy bob std*2 => ok
           define q=all:4 t=std:500:all t=gift:0:all if=any => !QuotaBelowUse { index: 0, quota: \"all\", asked: 4, used: 5 }
           define q=all:5 t=std:500:all t=gift:0:all if=any => defined v3
           stock => all 0/3/2
           hold h2 cee std*1 => !NoneFreeNow { quota: \"all\", asked: 1, free: 0, held: 3 }
           define q=all:20 t=std:500:all t=gift:0:all if=any => ok
           stock => all 15/3/2
           define q=all:- t=std:500:all t=gift:0:all if=any => ok
           stock => all -/3/2
           define q=all:0 t=std:500:all t=gift:0:all if=any => !QuotaBelowUse { index: 0, quota: \"all\", asked: 0, used: 5 }
           release h1 => ok
           define q=all:2 t=std:500:all t=gift:0:all if=any => ok
           stock => all 0/0/2",
    );
}

#[test]
fn what_is_in_use_stays_and_what_is_not_may_go_and_come_back() {
    check(
        "0 define q=a:9 q=b:9 t=x:1:a t=y:1:b => ok
           open => ok
           hold h1 ann x*2 => ok
           define q=b:9 t=y:1:b if=any => !TicketTypeInUse { ticket_type: \"x\", used: 2 }
           define q=b:9 t=x:1:b t=y:1:b if=any => !QuotaInUse { quota: \"a\", used: 2 }
           define q=a:9 t=x:1:a if=any => ok
           hold h2 ann y*1 => !UnknownTicketType { line: 0 }
           stock => a 7/2/0
           define q=b:5 q=a:9 t=y:1:b t=x:1:a if=any => ok
           stock => b 5/0/0, a 7/2/0
           hold h2 ann y*5 => ok
           release h1 => ok
           define q=b:5 t=y:1:b t=x:1:b if=any => ok
           stock => b 0/5/0
           see h2 => y*5@1 for 5 until @300",
    );
}

#[test]
fn another_mapping_counts_anew() {
    check(
        "0 define q=a:9 q=b:4 t=x:1:a t=y:1:b => ok
           open => ok
           hold h1 ann x*3 => ok
           buy ann y*2 => ok
           define q=a:9 q=b:4 t=x:1:a,b t=y:1:b if=any => !QuotaBelowUse { index: 1, quota: \"b\", asked: 4, used: 5 }
           define q=a:9 q=b:5 t=x:1:a,b t=y:1:b if=any => ok
           stock => a 6/3/0, b 0/3/2
           release h1 => ok
           stock => a 9/0/0, b 3/0/2
           cancel o1 => ok
           stock => a 9/0/0, b 5/0/0",
    );
}

#[test]
fn the_currency_is_fixed_by_the_first_hold() {
    check_open(
        "0 define cur=USD if=any => ok
           hold h1 ann std*1 => ok
           release h1 => ok
           define cur=EUR if=any => !CurrencyInUse",
    );
}

#[test]
fn an_event_has_so_many_types_and_quotas_over_its_life() {
    let mut stage = check("");
    let types = |from: usize, n: usize| {
        let of = |i| format!("t=t{i}:1:q{i} q=q{i}:1");
        (from..from + n).map(of).collect::<Vec<_>>().join(" ")
    };
    stage.run(&format!("0 define {} => ok", types(0, TICKET_TYPES_MAX)));
    let new = types(TICKET_TYPES_MAX, 1);
    let outcome = format!("!TooManyEver {{ field: \"ticket_types\", max: {TICKET_TYPES_MAX} }}");
    stage.run(&format!("0 define if=any {new} => {outcome}"));
    let outcome = format!("!TooManyEver {{ field: \"quotas\", max: {QUOTAS_MAX} }}");
    stage.run(&format!("0 define if=any t=t0:1:new q=new:1 => {outcome}"));
    stage.run("0 define if=any t=t5:1:q5 q=q5:1 => defined v2");
}

#[test]
fn invalid_definitions() {
    // Words, then the field and the rule.
    let rows = [
        ("q=a:1 q=b:1 t=x:1:a", "quotas[1]: the quota b has no ticket type that draws on it"),
        ("q=a:1 t=y:1:a t=x:1:", "ticket_types[1].quotas: the ticket type x draws on no quota"),
        ("q=a:1 t=x:1:a,b", "ticket_types[0].quotas[1]: there is no quota b"),
        ("q=a:1 t=x:1:a t=x:2:a", "ticket_types[1]: the id x is there twice"),
        ("q=a:1 q=a:1 t=x:1:a", "quotas[1]: the id a is there twice"),
        ("q=a:1 t=x:1:a,a", "ticket_types[0].quotas[1]: the id a is there twice"),
        ("q=a:1 t=x:-1:a", "ticket_types[0].price: must not be below zero"),
        ("q=a:1 t=x:1000000000001:a", "ticket_types[0].price: must be 0 to 1000000000000"),
        ("q=a:1000000001 t=x:1:a", "quotas[0].capacity: must be 0 to 1000000000"),
        ("t=x:1:a", "quotas: must have 1 to 1000 entries"),
        ("q=a:1", "ticket_types: must have 1 to 1000 entries"),
        ("sale=5..5", "sale.closes_at: must be later than opens_at"),
        ("q=a:1 t=x:1:a@9..8", "ticket_types[0].sale.closes_at: must be later than opens_at"),
        ("sale=-1..", "sale.opens_at: must be 0 to 9007199254740991"),
        ("hold=0", "hold_seconds: must be 1 to 86400"),
        ("hold=86401", "hold_seconds: must be 1 to 86400"),
        ("pay=0", "payment_seconds: must be 1 to 7776000"),
        ("name=", "name: must be 1 to 200 bytes long"),
        ("limit=*", "limits[0]: must have per_order or per_customer"),
        ("limit=*:o0", "limits[0].per_order: must be 1 to 1000000000"),
        ("limit=no:c1", "limits[0].ticket_types[0]: there is no ticket type no"),
        ("limit=std,std:c1", "limits[0].ticket_types[1]: the id std is there twice"),
    ];
    for (words, wanted) in rows {
        let words: Vec<&str> = words.split(' ').collect();
        let outcome = definition(&words).validate().map_err(|invalid| invalid.to_string());
        assert_eq!(outcome, Err(wanted.to_string()), "{words:?}");
    }
    let mut stage = check("");
    let outcome = stage.step("define hold=0 if=7");
    assert!(outcome.starts_with("!InvalidDefinition"), "{outcome}");
    assert!(stage.sale.event(&id("org"), &id("ev")).is_none());
}
