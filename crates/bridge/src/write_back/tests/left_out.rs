//! Orders of a batch that are not written: there is nothing to write, or it can't be read.

use super::*;

/// Somebody deleted it in the office: there is nothing to cancel, but something to pay.
#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_is_gone_needs_no_cancellation() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let (gone, paid) = (office.cancelled("E1"), office.paid("E2", &["T1"], false));
        let written = office.write(&[gone, paid]).await;
        let not_there = [("E2".to_owned(), "the order is not there".to_owned())];
        assert_eq!((written.orders, written.parked.as_slice()), (1, not_there.as_slice()));
        assert_eq!(office.stock().await, (2, 10));
    })
    .await;
}

/// An order of which one record has another form than is known is left out as a whole, and no other.
#[tokio::test(flavor = "multi_thread")]
async fn odd_orders_are_left_out_of_a_batch() {
    on_both(async |kind| {
        let mut office = office(kind).await;
        let (mut odd, good) = (office.placed("E1", "7", 1), office.placed("E2", "7", 2));
        odd.data["customer"] = json!(7);
        let (placed, mut paid) = (office.placed("E3", "7", 4), office.paid("E3", &["T1"], false));
        paid.data["tickets"] = json!("T1");
        let written = office.write(&[odd, good, placed, paid]).await;
        let codes: Vec<&str> = written.parked.iter().map(|(code, _)| code.as_str()).collect();
        assert_eq!((written.orders, codes), (1, vec!["E1", "E3"]));
        assert_eq!(parked_of(&office).into_keys().collect::<Vec<_>>(), ["E1", "E3"]);
        let there = "SELECT code FROM orders WHERE channel = 'onsale'";
        assert_eq!(office.row(there).await, [Value::from("E2")]);
        assert_eq!(office.stock().await, (4, 8));
        assert_eq!(office.state.echo("E1").unwrap(), None);
    })
    .await;
}
