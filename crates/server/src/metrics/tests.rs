//! The metrics as a scraper reads them.

use super::*;

#[test]
fn counts_by_route_and_status_in_cumulative_buckets() {
    let metrics = Metrics::new([("POST", "/holds"), ("GET", "/healthz")].into_iter());
    let holds = metrics.index("POST", "/holds");
    assert_ne!(holds, RouteIndex::NONE);
    assert_eq!(metrics.index("GET", "/holds"), RouteIndex::NONE);
    metrics.answered(holds, 201, Duration::from_micros(100));
    metrics.answered(holds, 201, Duration::from_micros(101));
    metrics.answered(holds, 409, Duration::from_secs(60));
    let mut figures = Figures { batches: 3, sync_seconds: 0.5, ..Figures::default() };
    (figures.sync_buckets[0], figures.sync_buckets[SYNC_BUCKETS_US.len()]) = (2, 1);
    let text = metrics.render(&[figures], &Beside::default());
    let lines = [
        "onsale_http_requests_total{method=\"POST\",route=\"/holds\",status=\"201\"} 2",
        "onsale_http_requests_total{method=\"POST\",route=\"/holds\",status=\"409\"} 1",
        "onsale_http_request_seconds_bucket{method=\"POST\",route=\"/holds\",le=\"0.0001\"} 1",
        "onsale_http_request_seconds_bucket{method=\"POST\",route=\"/holds\",le=\"0.00025\"} 2",
        "onsale_http_request_seconds_bucket{method=\"POST\",route=\"/holds\",le=\"10\"} 2",
        "onsale_http_request_seconds_bucket{method=\"POST\",route=\"/holds\",le=\"+Inf\"} 3",
        "onsale_http_request_seconds_count{method=\"POST\",route=\"/holds\"} 3",
        "onsale_shard_holds{shard=\"0\"} 0",
        "onsale_shard_sync_seconds_bucket{shard=\"0\",le=\"0.00005\"} 2",
        "onsale_shard_sync_seconds_bucket{shard=\"0\",le=\"+Inf\"} 3",
        "onsale_shard_sync_seconds_count{shard=\"0\"} 3",
    ];
    for line in lines {
        assert!(text.lines().any(|l| l == line), "no line {line:?} in\n{text}");
    }
    assert!(!text.contains("/healthz"), "a route without requests has no lines");
}
