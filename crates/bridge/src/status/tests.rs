//! What of the noted facts is to be looked after, and that a look makes nothing.

use super::*;

const NOW: &str = "2026-11-24T10:00:00Z";

/// What a bridge that works well has noted.
fn well() -> Value {
    json!({
        "capture": {"at": "2026-11-24T09:59:58Z"},
        "write-back": {"at": "2026-11-24T09:59:59Z", "error": null},
        "reconcile": {"differences": 0, "at": "2026-11-24T09:55:00Z"},
    })
}

#[test]
fn what_was_noted_says_what_to_look_after() {
    let told = |name: &str, value: Value| {
        let mut facts = well();
        facts[name] = value;
        told_by(facts.as_object().unwrap(), NOW.parse().unwrap())
    };
    let nothing: [String; 0] = [];
    assert_eq!(told("clock", json!(1)), nothing);
    // Without write-back capture alone tells that it works.
    assert_eq!(told("write-back", json!({})), nothing);
    let capture = |at: &str| told("capture", json!({"at": at}));
    assert_eq!(capture("2026-11-24T09:55:00Z"), nothing, "it may read for long");
    for (found, expected) in [
        (capture("2026-11-24T09:54:59Z"), "capture gave no sign for 301 s"),
        (told("capture", json!(null)), "capture has not begun yet"),
        (told("write-back", json!({"at": NOW, "error": "no such table"})), "waits: no such table"),
        (told("reconcile", json!({"differences": 2, "at": NOW})), "2 differences at 2026"),
        (told("reconcile", json!({"error": "503", "at": NOW})), "can't be compared: 503"),
    ] {
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:?}");
    }
}

#[test]
fn a_bridge_that_does_not_run_is_told() {
    let told = |facts: Value| told_by(facts.as_object().unwrap(), NOW.parse().unwrap());
    let of = |capture: &str, writing: &str| json!({"capture": {"at": capture}, "write-back": {"at": writing}});
    assert_eq!(told(of("2026-11-24T09:59:00Z", "2026-11-24T08:00:00Z")).len(), 0);
    for facts in [
        of("2026-11-24T09:58:59Z", "2026-11-24T09:50:00Z"),
        of("2026-11-24T09:50:00Z", "2026-11-24T09:58:59Z"),
    ] {
        let found = told(facts);
        assert!(found.len() == 1 && found[0].contains("does not run"), "{found:?}");
        assert!(found[0].contains("61 s old"), "{found:?}");
    }
    let found = told(json!({"instance": 1}));
    assert!(found.len() == 1 && found[0].contains("no bridge has worked with"), "{found:?}");
}

#[tokio::test]
async fn each_reason_alone_is_not_fine() {
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(folder.path()).unwrap();
    let set = |facts: &Value| {
        for (name, value) in facts.as_object().unwrap() {
            state.set_fact(name, Some(&value.to_string())).unwrap();
        }
    };
    let mut facts = well();
    facts["capture"]["at"] = json!(Timestamp::now().to_string());
    set(&facts);
    assert!(status(&state, None).await.unwrap().is_fine());
    facts["reconcile"]["differences"] = json!(1);
    set(&facts);
    let found = status(&state, None).await.unwrap();
    assert!(!found.is_fine());
    assert!(found.text().starts_with("ALARM  the sides differ: 1 differences"), "{}", found.text());
    assert_eq!(found.json["alarms"].as_array().unwrap().len(), 1);
}

/// Who only looks makes nothing.
#[test]
fn a_folder_that_is_not_there_is_told_and_not_made() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("elsewhere");
    for folder in [missing.as_path(), folder.path()] {
        let error = State::open_there(folder).unwrap_err().to_string();
        assert!(error.contains("no bridge has worked with the folder"), "{error}");
        assert!(error.contains("--state"), "{error}");
        assert!(!folder.join("bridge.db").exists());
    }
    assert!(!missing.exists());
    State::open(&missing).unwrap();
    State::open_there(&missing).unwrap();
}
