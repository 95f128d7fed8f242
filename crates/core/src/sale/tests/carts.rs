//! Holds and carts: stock, windows, prices, limits.

use super::stage::{check, check_open};

#[test]
fn one_ticket_two_buyers() {
    check(
        "0 define q=all:1 t=std:500:all => group group, defined v1
           open                         => Open v2
           hold h1 ann std*1            => held h1 for 500 until @300
           hold h2 bob std*1            => !NoneFreeNow { quota: \"all\", asked: 1, free: 0, held: 1 }
         1 claim h1 ann                 => ordered o1 for 500 due @901
           hold h2 bob std*1            => !SoldOut { quota: \"all\", asked: 1, free: 0 }
           buy bob std*1                => !SoldOut { quota: \"all\", asked: 1, free: 0 }
           stock                        => all 0/0/1",
    );
}

#[test]
fn the_last_ticket_goes_to_the_next_when_its_hold_is_due() {
    check(
        "0 define q=all:1 t=std:500:all => ok
           open => ok
           hold h1 ann std*1 => ok
         299 hold h2 bob std*1 => !NoneFreeNow { quota: \"all\", asked: 1, free: 0, held: 1 }
         300 hold h2 bob std*1 => expired h1, held h2 for 500 until @600
           claim h1 ann        => !HoldExpired { at: @300 }
           claim h2 bob        => ordered o1 for 500 due @1200
           stock               => all 0/0/1",
    );
    check(
        "0 define q=all:1 t=std:500:all => ok
           open => ok
           hold h1 ann std*1 => ok
         300 buy bob std*1 => expired h1, ordered o1 for 500 due @1200",
    );
}

#[test]
fn due_holds_expire_first_due_first_until_nothing_is_short() {
    check(
        "0 define q=a:3 q=b:2 t=x:1:a t=y:1:b t=z:1:a,b => ok
           open => ok
         0 hold h1 ann x*1 => ok
         1 hold h2 ann y*1 => ok
         2 hold h3 ann x*1 => ok
         3 hold h4 ann z*1 => ok
         303 hold h5 bob x*1 => expired h1, held h5 for 1 until @603
           stock             => a 0/3/0, b 0/2/0
           hold h6 bob x*1   => expired h2, expired h3, held h6 for 1 until @603
           stock             => a 0/3/0, b 1/1/0
           hold h7 bob z*2   => !NoneFreeNow { quota: \"a\", asked: 2, free: 1, held: 2 }
           hold h7 bob y*1   => held h7 for 1 until @603
           hold h8 bob z*1   => expired h4, held h8 for 1 until @603",
    );
}

#[test]
fn of_two_deadlines_at_once_the_one_that_was_set_first_comes_first() {
    check_open(
        "0 define hold=10 if=any => ok
           hold h1 ann std*1 => ok
           release h1 => ok
           define hold=300 if=any => ok
           hold h2 ann std*5 => ok
           define hold=10 if=any => ok
         290 hold h3 bob std*5 => held h3 for 2500 until @300
         300 hold h4 cee std*1 => expired h2, held h4 for 500 until @310
           hold h5 cee std*9 => expired h3, held h5 for 4500 until @310",
    );
}

#[test]
fn one_command_expires_so_many_holds_and_no_more() {
    let mut stage = check("0 define q=all:100 t=std:500:all => ok\n open => ok");
    for n in 1..=100 {
        stage.run(&format!("0 hold h{n} ann std*1 => ok"));
    }
    stage.run(
        "300 hold h101 bob std*65 => !NoneFreeNow { quota: \"all\", asked: 65, free: 64, held: 36 }
           hold h101 bob std*64 => ok
           stock => all 0/100/0
           hold h102 bob std*36 => ok",
    );
}

#[test]
fn due_holds_count_as_free_in_a_refusal_and_stay() {
    check_open(
        "0 hold h1 ann std*4 => ok
         1 hold h2 bob std*6 => ok
         300 hold h3 cee std*5 => !NoneFreeNow { quota: \"all\", asked: 5, free: 4, held: 6 }
           stock => all 0/10/0
           hold h3 cee std*4 => expired h1, held h3 for 2000 until @600",
    );
}

#[test]
fn due_holds_of_extended_and_changed_durations_merge_by_deadline() {
    check_open(
        "0 hold h1 ann std*5 => ok
         1 define hold=10 if=any => ok
         2 hold h2 bob std*5 => held h2 for 2500 until @12
         11 extend h2 => extended h2 until @21
         21 hold h3 cee std*1 => expired h2, held h3 for 500 until @31
         300 hold h4 cee std*10 => expired h3, expired h1, held h4 for 5000 until @310",
    );
}

#[test]
fn an_extension_never_takes_time_away() {
    check_open(
        "0 hold h1 ann std*1 => ok                 # until @300
           hold h2 bob std*1 => ok
         5 define hold=10 if=any => ok
           extend h1 => extended h1 until @300
           extend h1 => !ExtendedBefore
           see h1 => std*1@500 for 500 until @300 extended
         295 extend h2 => extended h2 until @305
         300 tick => expired h1
         305 tick => expired h2",
    );
}

#[test]
fn all_or_nothing_over_lines_and_quotas() {
    check(
        "0 define q=site:10 q=camp:2 t=day:100:site t=tent:300:site,camp => ok
           open => ok
           hold h1 ann day*3 tent*2 => held h1 for 900 until @300
           stock => site 5/5/0, camp 0/2/0
           hold h2 bob day*1 tent*1 => !NoneFreeNow { quota: \"camp\", asked: 1, free: 0, held: 2 }
           hold h2 bob day*6 tent*1 => !NoneFreeNow { quota: \"site\", asked: 7, free: 5, held: 5 }
           hold h2 bob tent*3       => !SoldOut { quota: \"camp\", asked: 3, free: 2 }
           hold h2 bob day*3 day*2 => held h2 for 500 until @300
           stock => site 0/10/0, camp 0/2/0
           release h1 => released h1
           stock => site 5/5/0, camp 2/0/0",
    );
}

#[test]
fn unlimited_quotas_count_but_never_end() {
    check(
        "0 define q=all:- q=few:2 t=a:1:all t=b:1:all,few => ok
           open => ok
           hold h1 ann a*1000 => ok
           buy ann a*900 b*2 => ok
           stock => all -/1000/902, few 0/0/2",
    );
}

#[test]
fn event_states_and_windows() {
    check(
        "0 define sale=10..20 => ok
           hold h1 ann std*1 => !NotOpen { state: Paused }
           open => ok
         9 hold h1 ann std*1 => !SaleNotBegun { line: None, opens_at: @10 }
         10 hold h1 ann std*1 => ok
           close => Closed v3
           hold h2 ann std*1 => !NotOpen { state: Closed }
           buy ann std*1 => !NotOpen { state: Closed }
           extend h1 => !NotOpen { state: Closed }
           open => ok
         19 hold h2 ann std*1 => ok
         20 hold h3 ann std*1 => !SaleOver { line: None, closed_at: @20 }
           buy ann std*1 => !SaleOver { line: None, closed_at: @20 }
           extend h1 => extended h1 until @320     # takes an open event, not an open window
           pause => ok
           claim h1 ann => ok                      # takes neither
           release h2 => ok",
    );
}

#[test]
fn windows_of_ticket_types() {
    check(
        "0 define q=all:9 t=early:1:all@..10 t=late:2:all@10.. => ok
           open => ok
         9 hold h1 ann early*1 late*1 => !SaleNotBegun { line: Some(1), opens_at: @10 }
           hold h1 ann early*1 => ok
         10 hold h2 ann late*1 early*1 => !SaleOver { line: Some(1), closed_at: @10 }
           hold h2 ann late*1 => ok",
    );
}

#[test]
fn lines_quantities_and_prices() {
    check(
        "0 define q=all:5000 t=std:500:all t=gift:500+:all t=null:0+:all => ok
           open => ok
           hold h1 ann => !LineCount
           hold h1 ann none*1 => !UnknownTicketType { line: 0 }
           hold h1 ann std*1 none*1 => !UnknownTicketType { line: 1 }
           hold h1 ann std*0 => !Quantity { line: 0, max: 1000 }
           hold h1 ann std*1001 => !Quantity { line: 0, max: 1000 }
           hold h1 ann std*4294967295 => !Quantity { line: 0, max: 1000 }
           hold h1 ann std*600 std*401 => !TooManyTickets { max: 1000 }
           hold h1 ann std*1@499 => !PriceFixed { line: 0, price: 500 }
           hold h1 ann std*1@501 => !PriceFixed { line: 0, price: 500 }
           hold h1 ann gift*1@499 => !PriceBelowMinimum { line: 0, minimum: 500 }
           hold h1 ann null*1@-1 => !PriceBelowMinimum { line: 0, minimum: 0 }
           hold h1 ann gift*1@1000000000001 => !PriceTooHigh { line: 0 }
           hold h1 ann std*1@500 gift*2 gift*1@777 => held h1 for 2277 until @300
           see h1 => std*1@500 gift*2@500 gift*1@777 for 2277 until @300
           hold h2 ann gift*1000@1000000000000 => held h2 for 1000000000000000 until @300",
    );
    let many = |n| vec!["std*1"; n].join(" ");
    check_open(&format!("0 hold h1 ann {} => !LineCount", many(33)));
    let mut stage = check("0 define q=all:- t=std:500:all => ok\n open => ok");
    stage.run(&format!(
        "hold h1 ann {} => held h1 for 16000 until @300\n release h1 => ok",
        many(32)
    ));
}

#[test]
fn the_first_broken_rule_is_told() {
    check(
        "0 define sale=10.. limit=*:o1:c1 q=all:1 t=std:5:all@20.. => ok
           hold h1 ann ev=other std*0 => !UnknownEvent
           hold h1 ann org=other std*0 => !UnknownEvent
           hold h1 ann => !NotOpen { state: Paused }
           open => ok
           hold h1 ann => !SaleNotBegun { line: None, opens_at: @10 }
         10 hold h1 ann => !LineCount
           hold h1 ann none*0@4 => !UnknownTicketType { line: 0 }
           hold h1 ann std*0@4 => !Quantity { line: 0, max: 1000 }
           hold h1 ann std*1000@4 std*9 => !PriceFixed { line: 0, price: 5 }
           hold h1 ann std*1000 std*9 => !SaleNotBegun { line: Some(0), opens_at: @20 }
         20 hold h1 ann std*1000 std*9 => !TooManyTickets { max: 1000 }
           hold h1 ann std*2 => !OrderLimit { limit: 0, asked: 2, max: 1 }
           hold h1 ann std*1 => ok
           hold h2 ann std*1 => !CustomerLimit { limit: 0, has: 1, asked: 1, max: 1 }
           hold h2 bob std*1 => !NoneFreeNow { quota: \"all\", asked: 1, free: 0, held: 1 }",
    );
}

#[test]
fn limits_per_order_and_customer_over_sets() {
    check(
        "0 define limit=a,b:o3:c4 limit=*:c6 q=all:99 t=a:0:all t=b:1:all t=c:1:all => ok
           open => ok
           hold h1 ann a*2 b*2 => !OrderLimit { limit: 0, asked: 4, max: 3 }
           hold h1 ann a*2 b*1 c*3 => ok
           hold h2 ann c*1 => !CustomerLimit { limit: 1, has: 6, asked: 1, max: 6 }
           hold h2 bob a*2 b*1 => ok
           hold h3 bob b*2 => !CustomerLimit { limit: 0, has: 3, asked: 2, max: 4 }
           hold h3 bob b*1 => ok
           buy bob a*1 => !CustomerLimit { limit: 0, has: 4, asked: 1, max: 4 }
           claim h2 bob => ok                     # owned ones count as held ones do
           buy bob a*1 => !CustomerLimit { limit: 0, has: 4, asked: 1, max: 4 }
           cancel o1 => ok
           buy bob a*1 => ok
           release h1 => ok
           buy ann a*3 c*3 => ok
         900 tick => ok
           buy ann a*1 => ok",
    );
}

#[test]
fn a_limit_that_comes_later_counts_what_was_there_before() {
    check_open(
        "0 hold h1 ann std*3 => ok
           buy ann gift*2 => ok
           define limit=*:c5 if=any => ok
           hold h2 ann std*1 => !CustomerLimit { limit: 0, has: 5, asked: 1, max: 5 }
           claim h1 ann => ok                     # limits are for new tickets
           buy bob std*1 => ok",
    );
}

#[test]
fn lives_of_a_hold() {
    check_open(
        "0 hold h1 ann std*2 => ok
         10 extend h1 => extended h1 until @310
           see h1 => std*2@500 for 1000 until @310 extended
         20 extend h1 => !ExtendedBefore
         309 see h1 => ok
         310 see h1 => !HoldExpired { at: @310 }
           extend h1 => !HoldExpired { at: @310 }
           release h1 => !HoldExpired { at: @310 }
           claim h1 ann => !HoldExpired { at: @310 }
           stock => all 8/2/0
           expire h1 => expired h1
           stock => all 10/0/0
         311 claim h1 ann => !HoldExpired { at: @310 }
           expire h1 => !NotDue
           hold h2 ann std*1 => ok
         312 expire h2 => !NotDue
           release h2 => released h2
           see h2 => !HoldReleased { at: @312 }
           release h2 => !HoldReleased { at: @312 }
           hold h3 ann std*1 => ok
           claim h3 ann => ok
           claim h3 ann => !HoldClaimed { order: o1 }
           release h3 => !HoldClaimed { order: o1 }
           see h9 => !UnknownHold
           claim h9 ann => !UnknownHold
           expire h9 => !NotDue",
    );
}

#[test]
fn holds_belong_to_one_event_and_one_customer() {
    check_open(
        "0 define ev=other => defined v1
           open ev=other => ok
           hold h1 ann std*2 => ok
           claim h1 ann ev=other => !UnknownHold
           release h1 ev=other => !UnknownHold
           see h1 ev=other => !UnknownHold
           claim h1 ann ev=third => !UnknownEvent
           claim h1 bob => !HoldOfAnother
           hold h1 bob std*1 => !HoldIdTaken
           release h1 => ok
           see h1 ev=other => !UnknownHold
           hold h1 bob std*1 => !HoldIdTaken
           expire h1 ev=other => !NotDue",
    );
}

#[test]
fn a_claim_keeps_the_price_and_version_of_the_hold() {
    check_open(
        "0 hold h1 ann std*2 => ok
           define q=all:10 t=std:900:all t=gift:0:all if=any => ok
           claim h1 ann => ordered o1 for 1000 due @900
           order o1 => AwaitingPayment: std*2@500 for 1000, 0 tickets
           buy ann std*1 => ordered o2 for 900 due @900",
    );
}
