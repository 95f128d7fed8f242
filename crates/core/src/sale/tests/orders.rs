//! Orders, payments, refunds.

use super::stage::{check, check_open};

#[test]
fn free_and_paid_orders() {
    check_open(
        "0 buy ann gift*2 => ordered o1 for 0 confirmed
           order o1 => Confirmed: gift*2@0 for 0, 2 tickets
           pay o1 r1 0 => !NothingToPay
           buy ann std*1 gift*1 => ordered o2 for 500 due @900
           order o2 => AwaitingPayment: std*1@500 gift*1@0 for 500, 0 tickets
         5 pay o2 r1 500 => paid o2 Applied
           order o2 => Confirmed: std*1@500 gift*1@0 for 500, 2 tickets; Applied 500
           stock => all 6/0/4",
    );
}

#[test]
fn payments_are_exact() {
    check_open(
        "0 buy ann std*1 => ok
           pay o1 r1 499 => !PaymentAmount { expected: 500 }
           pay o1 r1 501 => !PaymentAmount { expected: 500 }
           pay o1 r1 -500 => !PaymentAmount { expected: 500 }
           pay o1 r1 500 USD => !PaymentCurrency { expected: EUR }
           pay o2 r1 500 => !UnknownOrder
           pay o1 r1 500 at=301 => !PaidAt
           pay o1 r1 500 at=-1 => !PaidAt
           pay o1 r1 500 at=300 => paid o1 Applied",
    );
}

#[test]
fn orders_belong_to_one_event() {
    check_open(
        "0 define ev=other => ok
           buy ann std*1 => ok
           pay o1 r1 500 ev=other => !UnknownOrder
           cancel o1 ev=other => !UnknownOrder
           order o1 ev=other => !UnknownOrder
           order o1 ev=third => !UnknownEvent
           order EAAAAAAAAA => !UnknownOrder
           order LAAAAAAAAA => !UnknownOrder
           expire o1 ev=other => !NotDue
           expire o2 => !NotDue",
    );
}

#[test]
fn references_are_unique_in_the_event() {
    check_open(
        "0 define ev=other => ok
           open ev=other => ok
           buy ann std*1 => ok
           buy bob std*1 => ok
           pay o1 r1 500 => ok
         9 pay o1 r1 500 => repeated 9
           pay o1 r1 400 => !PaymentAmount { expected: 500 }
           pay o2 r1 500 => !ReferenceUsed { order: o1 }
           buy ann std*1 ev=other => ok
           pay o3 r1 500 ev=other => paid o3 Applied",
    );
}

#[test]
fn a_second_payment_is_due_back() {
    check_open(
        "0 buy ann std*1 => ok
           pay o1 r1 500 => ok
           pay o1 r2 500 => paid o1 RefundDue(AlreadyPaid)
           order o1 => Confirmed: std*1@500 for 500, 1 tickets; Applied 500; RefundDue 500
           refund r1 => !NotDueBack
           refund r3 => !UnknownPayment
           refund r2 ev=other => !UnknownEvent
           refund r2 o9 => !UnknownPayment
           refund r2 o1 => refunded o1
           order o1 => Confirmed: std*1@500 for 500, 1 tickets; Applied 500; Refunded 500
           refund r2 => repeated 8
           buy bob std*1 => ok
           refund r2 o2 => !UnknownPayment
           pay o1 r2 500 => repeated 7",
    );
}

#[test]
fn cancellations() {
    check_open(
        "0 buy ann std*1 => ok
           cancel o1 => cancelled o1 Customer
           stock => all 10/0/0
           cancel o1 => !OrderCancelled { reason: Customer }
           cancel! o1 => !OrderCancelled { reason: Customer }
           pay o1 r1 500 => paid o1 RefundDue(Cancelled)
           order o1 => Cancelled(Customer): std*1@500 for 500, 0 tickets; RefundDue 500
           buy ann std*1 => ok
           cancel! o2 => cancelled o2 Organizer
           buy ann std*1 => ok
           pay o3 r3 500 => ok
           cancel o3 => !NeedsManage
           cancel! o3 => cancelled o3 Organizer
           order o3 => Cancelled(Organizer): std*1@500 for 500, 0 tickets; RefundDue 500
           refund r3 => refunded o3
           buy ann gift*1 => ok
           cancel o4 => !NeedsManage
           cancel! o4 => ok
           stock => all 10/0/0",
    );
}

#[test]
fn unpaid_orders_are_cancelled_and_come_back_by_a_late_payment() {
    check_open(
        "0 buy ann std*2 => ordered o1 for 1000 due @900
         899 expire o1 => !NotDue
         900 expire o1 => cancelled o1 Unpaid
           expire o1 => !NotDue
           cancel o1 => !OrderCancelled { reason: Unpaid }
           stock => all 10/0/0
           pause => ok                            # neither states nor windows matter
         950 pay o1 r1 1000 => paid o1 Reinstated
           order o1 => Confirmed: std*2@500 for 1000, 2 tickets; Applied 1000
           stock => all 8/0/2
           cancel! o1 => ok
           stock => all 10/0/0
           pay o1 r2 1000 => paid o1 RefundDue(Cancelled)",
    );
}

#[test]
fn an_overdue_order_that_has_not_been_cancelled_is_simply_paid() {
    check_open(
        "0 buy ann std*2 => ok
         900 pay o1 r1 1000 => paid o1 Applied
           tick => ",
    );
}

#[test]
fn a_late_payment_finds_the_stock_gone_or_the_limit_reached() {
    check(
        "0 define q=all:3 t=std:500:all t=lim:500:all limit=lim:c2 => ok
           open => ok
           buy ann std*2 => ok
           buy bob lim*1 => ok
         900 tick => cancelled o1 Unpaid, cancelled o2 Unpaid
           buy bob lim*2 => ok
           pay o1 r1 1000 => paid o1 RefundDue(StockGone)
           pay o2 r2 500 => paid o2 RefundDue(LimitReached)
           cancel o3 => ok
           pay o1 r3 1000 => paid o1 Reinstated    # a later payment may still find it
           order o1 => Confirmed: std*2@500 for 1000, 2 tickets; RefundDue 1000; Applied 1000
           refund r1 => ok
           define q=all:3 t=std:500:all if=any => ok
           pay o2 r4 500 => paid o2 RefundDue(StockGone)  # its type is gone",
    );
}

#[test]
fn a_late_payment_takes_the_stock_of_holds_that_are_due() {
    check_open(
        "0 buy ann std*6 => ok
         900 expire o1 => cancelled o1 Unpaid
           hold h1 bob std*3 => ok
           hold h2 cee gift*2 => ok
           hold h3 dan std*4 => ok
         1199 pay o1 r1 3000 => paid o1 RefundDue(StockGone)
         1200 pay o1 r2 3000 => expired h1, expired h2, paid o1 Reinstated
           pay o1 r3 3000 => paid o1 RefundDue(AlreadyPaid)
           stock => all 0/4/6",
    );
}

#[test]
fn an_order_has_so_many_payments_and_no_more() {
    let mut stage = check_open("0 buy ann std*1 => ok");
    for n in 0..100 {
        stage.run(&format!("0 pay o1 r{n} 500 => ok"));
    }
    stage.run("0 pay o1 r100 500 => !TooManyPayments\n pay o1 r99 500 => repeated 105");
}

#[test]
fn claims_become_orders_with_all_their_lines() {
    check(
        "0 define q=a:9 q=b:9 t=x:1:a t=y:2:a,b t=z:4:b => ok
           open => ok
           hold h1 ann x*1 y*2 z*3 => ok
           stock => a 6/3/0, b 4/5/0
           claim h1 ann => ordered o1 for 17 due @900
           stock => a 6/0/3, b 4/0/5
           order o1 => AwaitingPayment: x*1@1 y*2@2 z*3@4 for 17, 0 tickets
           pay o1 r 17 => ok
           order o1 => Confirmed: x*1@1 y*2@2 z*3@4 for 17, 6 tickets; Applied 17
           cancel! o1 => ok
           stock => a 9/0/0, b 9/0/0",
    );
}
