//! Two bridges where one should run.

use std::sync::Arc;
use std::time::Duration;

use onsale_bridge::capture::{self, Parts};
use onsale_bridge::database::Kind;
use onsale_bridge::dialect::By;
use onsale_bridge::run::{Options, run};
use onsale_bridge::state::State;

use crate::platform::{Running, Site};

/// Within this a bridge that is refused must have ended.
const WAIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_second_bridge_with_the_same_folder_is_refused() {
    let mut site = Site::attached(Kind::Sqlite).await;
    Arc::make_mut(&mut site.dialect).settings.write_back.by = By::Nothing;
    site.event(1, "fest").await;
    let begin = |site: &Site| Running { task: tokio::spawn(run(site.parts(), Options::default())) };
    let first = begin(&site);
    site.until_event("river/fest", |_, _| true).await;
    let second = tokio::time::timeout(WAIT, run(site.parts(), Options::default())).await;
    let error = second.expect("it goes on").unwrap_err().to_string();
    assert!(error.contains("another bridge runs with the folder"), "{error}");
    // Once the first has ended, however it did, the next one goes on.
    first.kill().await;
    site.event(2, "late").await;
    let third = begin(&site);
    site.until_event("river/late", |_, _| true).await;
    third.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_another_bridge_reads_is_told_until_it_is_free() {
    let mut site = Site::attached(Kind::Postgres).await;
    site.event(1, "fest").await;
    let first = site.run();
    site.until_event("river/fest", |_, _| true).await;
    let other = Arc::new(State::open(&site.folder.path().join("other")).unwrap());
    let alarm = || other.fact("alarm:capture").unwrap().unwrap_or_default();
    let parts = Parts { state: Arc::clone(&other), ..site.parts() };
    let second = Running { task: tokio::spawn(capture::run(parts)) };
    site.until("the other bridge is told", || {
        let alarm = alarm();
        alarm.contains("another bridge reads the replication slot") && alarm.contains("for PID ")
    })
    .await;
    first.kill().await;
    site.until("the slot is taken over", || {
        alarm().is_empty() && !other.sent().unwrap().is_empty()
    })
    .await;
    second.kill().await;
}
