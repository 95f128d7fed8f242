//! The key file: what is written, what is refused, what a running server sees.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const NOW: Time = Time(1_800_000_000_000_000);

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

fn new_key(scopes: &[Scope], organizer: Option<&str>) -> NewKey {
    let organizer = organizer.map(|id| Id::new(id).unwrap());
    NewKey { name: None, scopes: scopes.to_vec(), organizer, rate: None }
}

#[test]
fn the_first_key_is_made_once() {
    let folder = folder();
    let (store, first) = KeyStore::load_or_create(folder.path(), None, NOW).unwrap();
    let FirstKey::Made(secret) = first else { panic!("{first:?}") };
    let grant = store.authenticate(secret.reveal()).unwrap();
    assert!(Scope::ALL.iter().all(|scope| grant.scopes.contains(*scope)));
    assert_eq!(grant.organizer, None);
    assert!(grant.covers(&Id::new("anybody").unwrap()));

    let text = std::fs::read_to_string(folder.path().join(KEYS_FILE)).unwrap();
    assert!(!text.contains(secret.reveal().rsplit('_').next().unwrap()), "{text}");
    let mode = std::fs::metadata(folder.path().join(KEYS_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (store, first) = KeyStore::load_or_create(folder.path(), None, NOW).unwrap();
    assert_eq!(first, FirstKey::Existing);
    assert!(store.authenticate(secret.reveal()).is_some());
}

#[test]
fn the_first_key_can_be_handed_in() {
    let folder = folder();
    let own = "a-key-of-my-own-choice-1234";
    let load = |key| KeyStore::load_or_create(folder.path(), Some(key), NOW);
    let long = "x".repeat(129);
    for unfit in ["short", "", "with spaces in it, and long enough", &long] {
        assert!(matches!(load(unfit), Err(Error::UnfitSecret)), "{unfit}");
        assert!(!folder.path().join(KEYS_FILE).exists());
    }
    let (store, first) = load(own).unwrap();
    assert_eq!(first, FirstKey::Taken);
    assert!(store.authenticate(own).is_some());
    assert_eq!(load(own).unwrap().1, FirstKey::Existing);
    let (store, first) = load("another-key-that-is-not-in-it").unwrap();
    assert_eq!(first, FirstKey::NotAmongThem);
    assert!(store.authenticate("another-key-that-is-not-in-it").is_none());
}

#[test]
fn each_key_gets_its_own_grant() {
    let folder = folder();
    let make = |scope: &[Scope], organizer| {
        create(folder.path(), new_key(scope, organizer), NOW, |_, _| Ok(())).unwrap().1
    };
    let till = make(&[Scope::Pay, Scope::Pay], Some("river"));
    let shop = make(&[Scope::Sell, Scope::Read], Some("lake"));
    let store = KeyStore::load(folder.path()).unwrap();

    let grant = store.authenticate(till.reveal()).unwrap();
    assert_eq!(grant.scopes, Scopes::from_iter([Scope::Pay]));
    assert!(grant.covers(&Id::new("river").unwrap()));
    assert!(!grant.covers(&Id::new("lake").unwrap()));
    let grant = store.authenticate(shop.reveal()).unwrap();
    assert_eq!(grant.scopes, Scopes::from_iter([Scope::Read, Scope::Sell]));
    assert!(!grant.scopes.contains(Scope::Pay) && !grant.scopes.contains(Scope::Manage));

    let other = |secret: &str| store.authenticate(secret).is_none();
    assert!(other("") && other("onsale_"));
    assert!(other(&till.reveal()[1..]) && other(&format!("{}x", till.reveal())));
    let sum = list(folder.path()).unwrap()[0].sha256.clone();
    assert!(other(&sum), "the hash is not the key");
}

#[test]
fn a_running_server_sees_new_and_revoked_keys() {
    let folder = folder();
    let (store, _) = KeyStore::load_or_create(folder.path(), None, NOW).unwrap();
    assert!(store.refresh_if_changed().unwrap().is_none());

    let (entry, secret) =
        create(folder.path(), new_key(&[Scope::Read], None), NOW, |_, _| Ok(())).unwrap();
    let store = store.refresh_if_changed().unwrap().unwrap();
    assert_eq!(store.authenticate(secret.reveal()).unwrap().key.as_str(), entry.id);

    assert_eq!(revoke(folder.path(), &entry.id).unwrap(), entry);
    let store = store.refresh_if_changed().unwrap().unwrap();
    assert!(store.authenticate(secret.reveal()).is_none());
    assert!(store.refresh_if_changed().unwrap().is_none());

    let again = revoke(folder.path(), &entry.id).unwrap_err();
    assert_eq!(again.to_string(), format!("there is no key {}", entry.id));
    std::fs::remove_file(folder.path().join(KEYS_FILE)).unwrap();
    assert!(matches!(store.refresh_if_changed(), Err(Error::Io { .. })));
}

#[test]
fn writers_at_once_lose_nothing() {
    let folder = folder();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..4 {
                    create(folder.path(), new_key(&[Scope::Sell], None), NOW, |_, _| Ok(()))
                        .unwrap();
                }
            });
        }
    });
    assert_eq!(list(folder.path()).unwrap().len(), 32);
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "only the file and its lock are left: {left:?}");
}

#[test]
fn the_file_has_a_limit() {
    let folder = folder();
    let (entry, _) =
        create(folder.path(), new_key(&[Scope::Read], None), NOW, |_, _| Ok(())).unwrap();
    let entry = |i| KeyEntry { id: format!("key{i}"), ..entry.clone() };
    let keys: Vec<_> = (0..KEYS_MAX).map(entry).collect();
    let json = serde_json::json!({ "keys": keys }).to_string();
    std::fs::write(folder.path().join(KEYS_FILE), json).unwrap();
    let full = create(folder.path(), new_key(&[Scope::Read], None), NOW, |_, _| Ok(()));
    assert!(matches!(full, Err(Error::TooManyKeys)));
    assert_eq!(list(folder.path()).unwrap().len(), KEYS_MAX);
}

#[test]
fn malformed_files_are_told_by_place() {
    let sum = "ab".repeat(32);
    let good = format!(
        r#"{{"keys": [{{"id": "a", "sha256": "{sum}", "scopes": ["read"], "organizer": null, "created_at": "2027-01-01T00:00:00Z"}}]}}"#
    );
    assert!(KeyFile::parse(&good).is_ok());
    let rows = [
        (
            r#""a""#,
            r#""/""#,
            "keys[0].id: must be made of a-z, A-Z, 0-9, '-', '_' and '.' and begin with a letter or digit",
        ),
        ("abab", "ab", "keys[0].sha256: must be 64 hexadecimal digits"),
        (r#"["read"]"#, "[]", "keys[0].scopes: must have at least one entry"),
        ("null", r#""""#, "keys[0].organizer: must not be empty"),
        ("2027-01-01", "soon", "keys[0].created_at: must be a time as in RFC 3339"),
        (
            r#"["read"]"#,
            r#"["all"]"#,
            "unknown variant `all`, expected one of `sell`, `pay`, `manage`, `read` at line 1 column 116",
        ),
        (r#""organizer": null, "#, "", "missing field `organizer` at line 1 column 157"),
        (r#"}]}"#, "}]", "EOF while parsing an object at line 1 column 177"),
    ];
    for (from, to, expected) in rows {
        let json = good.replacen(from, to, 1);
        assert_ne!(json, good, "{from} is not in the file");
        assert_eq!(KeyFile::parse(&json).unwrap_err(), expected, "{from} → {to}");
    }
}

#[test]
fn the_commands_print_the_key_once() {
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: command::KeysCommand,
    }
    let folder = folder();
    let run = |line: &str| {
        let data = ["--data", folder.path().to_str().unwrap()];
        let line = Line::try_parse_from(["keys"].into_iter().chain(line.split(' ')).chain(data));
        let shown = std::cell::RefCell::new(String::new());
        let show = |text: &str| {
            text.clone_into(&mut shown.borrow_mut());
            Ok(())
        };
        let told = command::run(line.map_err(|e| e.to_string())?.command, NOW, &show);
        told.map(|told| told.unwrap_or(shown.take())).map_err(|e| e.to_string())
    };
    let text = run("create --json --scopes sell,read --organizer river --name till").unwrap();
    let made: serde_json::Value = serde_json::from_str(&text).unwrap();
    let store = KeyStore::load(folder.path()).unwrap();
    assert!(store.authenticate(made["key"].as_str().unwrap()).is_some());

    let id = made["id"].as_str().unwrap();
    let row = format!("{id}  2027-01-15T08:00:00   sell,read             river              till");
    assert_eq!(run("list").unwrap(), row);
    assert_eq!(run(&format!("revoke {id}")).unwrap(), format!("revoked: {row}"));
    assert_eq!(run("list --json").unwrap(), r#"{"keys":[]}"#);
    assert!(run("create --scopes all").unwrap_err().contains("[possible values: sell, pay"));
    assert!(run("create --scopes sell --organizer a/b").unwrap_err().contains("must be made of"));
}

#[test]
fn a_limit_is_kept_and_a_change_of_the_file_is_no_new_start() {
    let folder = folder();
    let new = NewKey { rate: Some(1), ..new_key(&[Scope::Sell], None) };
    let (_, secret) = create(folder.path(), new, NOW, |_, _| Ok(())).unwrap();
    let store = KeyStore::load(folder.path()).unwrap();
    let epoch = crate::rates::Epoch::now();
    let take = |store: &KeyStore| {
        let grant = store.authenticate(secret.reveal()).unwrap();
        assert_eq!(grant.rate, Some(1));
        // Enough for a minute, so that the test may be slow.
        grant.meter.take(epoch, 1, 60).is_ok()
    };
    assert!(take(&store) && !take(&store));
    create(folder.path(), new_key(&[Scope::Read], None), NOW, |_, _| Ok(())).unwrap();
    let store = store.refresh_if_changed().unwrap().unwrap();
    assert!(!take(&store), "the key has a new start");
    let over = NewKey { rate: Some(crate::rates::RATE_MAX + 1), ..new_key(&[Scope::Sell], None) };
    create(folder.path(), over, NOW, |_, _| Ok(())).unwrap();
    let error = KeyStore::load(folder.path()).unwrap_err().to_string();
    assert!(error.ends_with("keys[2].rate: must be at most 1000000"), "{error}");
}
