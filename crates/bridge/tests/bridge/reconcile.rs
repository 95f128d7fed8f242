//! What the comparison says of events that the engine sells and the platform no longer gives.

use onsale_bridge::database::Kind;
use onsale_bridge::reconcile::{Difference, reconcile};
use onsale_bridge::run::{Options, context};
use onsale_bridge::take::take;

use crate::platform::Site;

/// The only difference of an event that was taken over, compared with all others or alone.
async fn difference(site: &Site, event: Option<&str>) -> Difference {
    let context = context(&site.parts(), &Options::default());
    let report = reconcile(&context, event).await.unwrap();
    assert!(!report.is_clean());
    assert!(report.metrics().contains("reconcile_differences 1\n"), "{}", report.metrics());
    let mut found: Vec<_> = report.events.into_iter().flat_map(|event| event.differences).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

async fn is_clean(site: &Site) {
    let context = context(&site.parts(), &Options::default());
    let report = reconcile(&context, None).await.unwrap();
    assert!(report.is_clean(), "{}", report.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_was_taken_over_and_is_gone_is_told() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    for (id, slug) in [(1, "fest"), (2, "other")] {
        site.event(id, slug).await;
        site.until_event(&format!("river/{slug}"), |_, _| true).await;
    }
    take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    is_clean(&site).await;

    // One that can't be read is there.
    site.sql("UPDATE ticket_types SET price_minor = 'much' WHERE id = 1").await;
    let found = difference(&site, None).await;
    assert_eq!(
        (found.of, found.which.as_str(), found.platform.as_str()),
        ("event", "river/fest", "not readable")
    );
    assert!(found.cause.contains("price"), "{found:?}");
    site.sql("UPDATE ticket_types SET price_minor = 2500 WHERE id = 1").await;
    is_clean(&site).await;

    // What the engine does not sell may go.
    site.sql("UPDATE events SET status = 'draft' WHERE id = 2").await;
    is_clean(&site).await;
    site.sql("UPDATE events SET status = 'draft' WHERE id = 1").await;
    for event in [None, Some("river/fest")] {
        let found = difference(&site, event).await;
        assert_eq!((found.of, found.which.as_str()), ("event", "river/fest"));
        assert_eq!(
            (found.engine.as_str(), found.platform.as_str()),
            ("100 taken over, 0 orders", "not there")
        );
        assert!(found.cause.contains("deleted it there, made it a draft again"), "{found:?}");
    }
    // The bridge's own file may be new: what was taken over is in the engine's log.
    site.state().set_taken("river/fest", None).unwrap();
    difference(&site, None).await;
    // It is over for a month.
    let mut known = site.fake.known.lock().unwrap().events["river/fest"].0.clone();
    known["starts_at"] = "2020-01-01T00:00:00Z".into();
    site.fake.known.lock().unwrap().events.get_mut("river/fest").unwrap().0 = known;
    is_clean(&site).await;
}

/// What the house kept back before, and more of it later, is no difference; what is missing of the engine's is one.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_house_keeps_back_for_itself_is_told_and_is_no_difference() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    site.event(1, "fest").await;
    site.sql("UPDATE stocks SET blocked = 3").await;
    site.until_event("river/fest", |_, _| true).await;
    let taken = take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    assert_eq!(taken.quotas["1"], 97);
    for own in [3, 5, 0] {
        site.sql(&format!("UPDATE stocks SET capacity = 110, blocked = 97 + {own}")).await;
        let context = context(&site.parts(), &Options::default());
        let report = reconcile(&context, None).await.unwrap();
        assert!(report.is_clean(), "{}", report.text());
        let quota = &report.events[0].quotas[0];
        assert_eq!((quota.blocked, quota.own), (Some(97 + own), own));
        let told = report.text();
        assert_eq!(told.contains(&format!("kept back by the house {own}")), own > 0, "{told}");
    }
    site.sql("UPDATE stocks SET blocked = 96").await;
    let found = difference(&site, None).await;
    assert_eq!((found.engine.as_str(), found.platform.as_str()), ("97 left", "96 blocked"));
}

/// Set past the platform's own check.
#[tokio::test(flavor = "multi_thread")]
async fn a_capacity_below_what_is_kept_back_is_told() {
    let mut site = Site::attached(Kind::Sqlite).await;
    let _running = site.run();
    site.event(1, "fest").await;
    site.until_event("river/fest", |_, _| true).await;
    take(&site.parts(), "river/fest", |_| Ok(())).await.unwrap();
    site.sql("PRAGMA ignore_check_constraints = ON; UPDATE stocks SET capacity = 60").await;
    let found = difference(&site, None).await;
    assert_eq!((found.of, found.platform.as_str()), ("quota", "capacity 60, 0 sold, 100 blocked"));
}
