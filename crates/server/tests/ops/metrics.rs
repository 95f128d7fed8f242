//! The alerts name metrics that a real server has, and each says what to do; the documentation lists just
//! the metrics that there are.

use std::collections::BTreeSet;

use serde_yaml_ng::Value;

use crate::support::{EVENT, Server, buyers, root};

const RULES: &str = "packaging/prometheus/onsale.rules.yml";
const MANUAL: &str = "docs/operations.md";

/// Names of the metrics that a server has after some work, and all their series' names.
fn scrape() -> (BTreeSet<String>, BTreeSet<String>) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    server.open_event();
    onsale_rush::run(buyers(&server.url, 100, 1_000.0), &mut |_| {}).unwrap();
    let refused = server.send("POST", &format!("{EVENT}/holds"), ("accept", "*/*"), "{}");
    assert_eq!(refused.status, 400);
    let webhook = r#"{"url":"http://127.0.0.1:9/"}"#;
    let made = server.send("PUT", "/v1/organizers/o/webhooks/w", ("accept", "*/*"), webhook);
    assert_eq!(made.status, 201);
    let answer = server.send("GET", "/metrics", ("accept", "*/*"), "");
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body).unwrap();
    server.stop();
    let (mut metrics, mut series) = (BTreeSet::new(), BTreeSet::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            metrics.insert(rest.split(' ').next().unwrap().to_owned());
        } else if !line.starts_with('#') {
            let (name, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            series.insert(name.split('{').next().unwrap().to_owned());
        }
    }
    let counted = text.lines().any(|l| l == "onsale_problems_total{type=\"missing-field\"} 1");
    assert!(counted, "the refusal was not counted:\n{text}");
    for name in &series {
        let bare = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = metrics.contains(name) || bare.is_some_and(|bare| metrics.contains(bare));
        assert!(known, "{name} has no type");
    }
    (metrics, series)
}

/// Words of a text that look like our metrics.
fn names(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("onsale_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

/// Headings of a page as GitHub links to them.
fn anchors(page: &str) -> BTreeSet<String> {
    let heading = |line: &str| {
        let title = line.strip_prefix('#')?.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        Some(kept.collect::<String>().replace(' ', "-"))
    };
    page.lines().filter_map(heading).collect()
}

#[test]
fn alerts_and_documentation_name_what_there_is() {
    let (metrics, series) = scrape();
    let manual = std::fs::read_to_string(root(MANUAL)).unwrap();
    let rules: Value =
        serde_yaml_ng::from_str(&std::fs::read_to_string(root(RULES)).unwrap()).unwrap();
    let headings = anchors(&manual);
    let mut alerts = BTreeSet::new();
    for group in rules["groups"].as_sequence().unwrap() {
        assert!(group["name"].is_string());
        for rule in group["rules"].as_sequence().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            assert!(alerts.insert(name.to_owned()), "{name} is there twice");
            check_form(rule, name);
            let expression = rule["expr"].as_str().unwrap();
            let used = names(expression);
            assert!(!used.is_empty() || expression.contains("up{"), "{name} looks at nothing");
            for metric in used {
                assert!(series.contains(&metric), "{name}: there is no metric {metric}");
            }
            let annotation = |key: &str| rule["annotations"][key].as_str().unwrap().to_owned();
            assert!(annotation("summary").ends_with('.'), "{name} has no summary");
            let runbook = annotation("runbook");
            let heading = runbook.strip_prefix(&format!("{MANUAL}#")).unwrap();
            assert!(headings.contains(heading), "{name}: no heading {heading} in {MANUAL}");
            assert!(manual.contains(&format!("`{name}`")), "{name} is not in {MANUAL}");
        }
    }
    assert!(alerts.len() > 10);
    let rows: String = manual.lines().filter(|line| line.starts_with("| `")).collect();
    let documented: BTreeSet<String> =
        names(&rows).into_iter().filter(|name| !name.starts_with("onsale_test")).collect();
    assert_eq!(documented, metrics, "documented on the left, there on the right");
}

/// The fields of an alert, as Prometheus takes them.
fn check_form(rule: &Value, name: &str) {
    let fields = ["alert", "expr", "for", "labels", "annotations"];
    for (key, _) in rule.as_mapping().unwrap() {
        assert!(fields.contains(&key.as_str().unwrap()), "{name}: {key:?} is no field of an alert");
    }
    if let Some(wait) = rule.get("for") {
        let (number, unit) = wait.as_str().unwrap().split_at(wait.as_str().unwrap().len() - 1);
        assert!(number.parse::<u32>().is_ok() && "smh".contains(unit), "{name}: {wait:?}");
    }
    let severity = rule["labels"]["severity"].as_str().unwrap();
    assert!(["page", "ticket"].contains(&severity), "{name}: {severity}");
    let expression = rule["expr"].as_str().unwrap();
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        let count = |c: char| expression.matches(c).count();
        assert_eq!(count(open), count(close), "{name}: {expression}");
    }
}
