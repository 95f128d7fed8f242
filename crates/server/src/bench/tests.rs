//! What of the benchmarks can be tested without a server of its own.

use super::*;

#[test]
fn all_rows_are_meant_by_all_and_each_once() {
    let names = |which: &[Which]| chosen(which).map(|(name, _)| name).collect::<Vec<_>>();
    let all = [
        "holds", "batch", "engine", "core", "recovery", "memory", "growth", "bus", "postgres",
        "redis", "bridge",
    ];
    assert_eq!(names(&[Which::All]), all);
    assert_eq!(names(&[Which::Core, Which::Holds, Which::Core, Which::All]), all);
    assert_eq!(names(&[Which::Growth, Which::Core]), ["core", "growth"]);
}

#[test]
fn a_quick_look_is_short() {
    let (full, quick) = (Settings::new(20, false, 1.0), Settings::new(20, true, 1.0));
    assert_eq!((full.pairs, full.count(1_000_000)), (20, 1_000_000));
    assert_eq!((quick.pairs, quick.count(1_000_000)), (2, 20_000));
    assert_eq!(full.seconds(3.0), Duration::from_secs(3));
    assert!(quick.seconds(3.0) < Duration::from_secs(1) && quick.scale < 0.1);
}

#[test]
fn the_requests_are_what_they_say() {
    let mut one = site::Kind::Hold.template();
    let mut batch = site::Kind::Batch(3).template();
    assert_eq!((one.commands(), batch.commands()), (1, 3));
    for request in [one.fill(7), batch.fill(7)] {
        let text = String::from_utf8(request.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{text}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let holds = body["commands"].as_array().cloned().unwrap_or_else(|| vec![body]);
        for hold in &holds {
            assert_eq!(hold["customer"].as_str().unwrap().len(), 36, "{text}");
            assert!(!text.contains("####"), "{text}");
        }
        let last = &holds[holds.len() - 1];
        let first = &holds[0];
        assert!(holds.len() == 1 || first["customer"] != last["customer"], "{text}");
    }
}
