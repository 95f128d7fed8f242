//! Deadlines.

use super::stage::{check, check_open, seconds};

#[test]
fn what_is_due_is_told_in_slices_until_it_is_gone() {
    let mut stage = check_open(
        "0 hold h1 ann std*1 => ok
         1 hold h2 ann std*1 => ok
           buy bob std*1 => ok
         2 hold h3 ann std*1 => ok
         299 due =>
         300 due => h1
           due => h1                 # told again: nothing was applied
         301 due 1 => h1
           due => h1 h2
         302 due 2 => h1 h2
           tick => expired h1, expired h2, expired h3
           due =>
         900 due =>
         901 due => o1
           tick => cancelled o1 Unpaid
           stock => all 10/0/0",
    );
    assert_eq!(stage.sale.next_due(), None);
    stage.run("902 hold h4 ann std*1 => ok");
    assert_eq!(stage.sale.next_due(), Some(seconds("1202")));
}

#[test]
fn the_next_deadline_is_never_told_too_late() {
    let mut stage = check_open(
        "0 define hold=100 if=any => ok
           hold h1 ann std*1 => ok
           define hold=50 if=any => ok
         10 hold h2 ann std*1 => ok",
    );
    assert_eq!(stage.sale.next_due(), Some(seconds("60")));
    stage.run("10 release h2 => ok");
    assert_eq!(stage.sale.next_due(), Some(seconds("60")), "a bound may be early");
    stage.run("60 due => \n 60 define hold=5 if=any => ok");
    assert_eq!(stage.sale.next_due(), Some(seconds("100")), "and is put right when it comes up");
    // The empty queue of 50 seconds now serves 5 seconds.
    stage.run("60 hold h3 ann std*1 => held h3 for 500 until @65");
    assert_eq!(stage.sale.next_due(), Some(seconds("65")));
    stage.run("65 tick => expired h3\n 100 tick => expired h1");
    assert_eq!(stage.sale.next_due(), None);
}

#[test]
fn a_queue_with_a_new_duration_forgets_its_old_bound() {
    let mut stage = check_open(
        "0 define hold=50 if=any => ok
           hold h1 ann std*1 => ok
           release h1 => ok
           define hold=5 if=any => ok
           hold h2 ann std*1 => ok
           release h2 => ok
           define hold=70 if=any => ok
         1 hold h3 ann std*1 => held h3 for 500 until @71",
    );
    stage.run("70 tick => \n 71 tick => expired h3");
    assert_eq!(stage.sale.next_due(), None);
}

#[test]
fn a_queue_serves_one_duration_at_a_time() {
    check_open(
        "0 define hold=50 if=any => ok
           hold h1 ann std*1 => ok
           release h1 => ok
           define hold=100 if=any => ok
           hold h2 ann std*1 => ok                # takes over the empty queue
         1 define hold=50 if=any => ok
           hold h3 ann std*1 => ok                # must not queue behind h2
         51 tick => expired h3
         100 tick => expired h2",
    );
}

#[test]
fn many_events_wait_side_by_side() {
    let mut stage = check("");
    for n in 0..50 {
        stage.run(&format!(
            "0 define ev=e{n} group=e{n} hold={} => ok
               open ev=e{n} => ok
               hold h{n} ann std*1 ev=e{n} => ok",
            100 - n
        ));
    }
    let due: Vec<String> = (40..50).rev().map(|n| format!("expired h{n}")).collect();
    stage.run(&format!("60 tick => {}", due.join(", ")));
    assert_eq!(stage.sale.counts().holds, 40);
}
