//! The configuration: defaults, order of sources, and what is refused.

use super::*;

fn variables(environment: &[(&str, &str)]) -> Environment {
    environment.iter().map(|(name, text)| ((*name).to_owned(), text.into())).collect()
}

fn resolve(file: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Config, Error> {
    let environment = variables(environment);
    Config::resolve(Some(("onsale.toml", file)), &environment, flags, 2).map(|(config, _)| config)
}

#[test]
fn the_defaults_are_what_the_file_says() {
    let config = resolve("", &[], &Flags::default()).unwrap();
    assert_eq!(config.data, PathBuf::from("onsale-data"));
    assert_eq!(config.listen, SocketAddr::from(([127, 0, 0, 1], 7070)));
    assert_eq!((config.cores, config.shards), (1, 4));
    assert_eq!(config.journal, onsale_engine::Options::new(32 << 20));
    assert_eq!(config.limits.body_bytes, 64 << 10);
    assert_eq!(config.limits.definition_body_bytes, 4 << 20);
    assert_eq!(config.limits.idle_time, Duration::from_secs(60));
}

#[test]
fn flags_over_environment_over_file() {
    let file = "shards = 8\ncores = 2\n[limits]\nconnections = 5";
    let environment = [("ONSALE_SHARDS", "16"), ("ONSALE_LIMITS_BODY_KIB", "7")];
    let flags = Flags { shards: Some("32".into()), ..Flags::default() };
    let config = resolve(file, &environment, &flags).unwrap();
    assert_eq!((config.shards, config.cores), (32, 2));
    assert_eq!((config.limits.connections, config.limits.body_bytes), (5, 7 << 10));
}

#[test]
fn tells_all_that_is_wrong_at_once() {
    let file = "shards = 65\ncoers = 1\nlisten = \"here\"\n[limits]\nbody_kib = \"big\"";
    let flags = Flags { cores: Some("3".into()), ..Flags::default() };
    let Error(wrong) = resolve(file, &[("ONSALE_SEGMENT_MIB", "0")], &flags).unwrap_err();
    let expected = [
        "coers (onsale.toml): there is no such key",
        "listen (onsale.toml): must be an address and a port such as 127.0.0.1:7070, is \"here\"",
        "cores (--cores): must be 1 to 2 (the cores of this machine), is \"3\"",
        "shards (onsale.toml): must be 1 to 64, is \"65\"",
        "segment_mib (ONSALE_SEGMENT_MIB): must be 1 to 4096 (MiB), is \"0\"",
        "limits.body_kib (onsale.toml): must be 1 to 16384 (KiB), is \"big\"",
    ];
    assert_eq!(wrong, expected);
}

#[test]
fn a_file_that_is_not_toml_is_told_with_its_line() {
    let Error(wrong) = resolve("shards = \n", &[], &Flags::default()).unwrap_err();
    assert_eq!(wrong.len(), 1);
    assert!(wrong[0].starts_with("onsale.toml: ") && wrong[0].contains("line 1"), "{wrong:?}");
}

#[test]
fn what_is_in_force_can_be_told_and_read_back() {
    let environment = variables(&[("ONSALE_LIMITS_BODY_KIB", "7"), ("ONSALE_ARCHIVE_FOLDER", "8")]);
    let flags = Flags { cores: Some("2".to_owned()), ..Flags::default() };
    let file = "data = \"with \\\"quotes\\\"\"\n";
    let sources = Some(("onsale.toml", file));
    let (config, told) = Config::resolve(sources, &environment, &flags, 2).unwrap();
    let line = |start: &str| told.lines().find(|line| line.starts_with(start)).unwrap();
    for (start, source) in [
        ("data = ", "onsale.toml"),
        ("cores = 2", "--cores"),
        ("body_kib = 7", "ONSALE_LIMITS_BODY_KIB"),
        ("folder = \"8\"", "ONSALE_ARCHIVE_FOLDER"),
        ("shards = 4", "default.toml"),
    ] {
        assert!(line(start).ends_with(&format!("# {source}")), "{told}");
    }
    let again = resolve(&told, &[], &Flags::default()).unwrap();
    assert_eq!(again, config, "{told}");
}

#[test]
fn a_database_is_told_without_its_password() {
    let flags = Flags {
        journal: Some("postgres://onsale:hush@db1,db2:5433/tickets".to_owned()),
        standby: true,
        ..Flags::default()
    };
    let (config, told) = Config::resolve(None, &Environment::new(), &flags, 2).unwrap();
    let rows = config.rows.as_ref().unwrap();
    assert!(rows.standby && rows.url.0.contains("hush"));
    assert!(!format!("{config:?}").contains("hush") && !told.contains("hush"), "{told}");
    assert!(told.contains("postgres://onsale:…@db1,db2:5433/tickets"), "{told}");
    let wrong = |url: &str| {
        let flags = Flags { journal: Some(url.to_owned()), ..Flags::default() };
        Config::resolve(None, &Environment::new(), &flags, 2).unwrap_err().to_string()
    };
    for url in ["hush", "postgres://hush", "postgres://u:hush@h/n?sslmode=verify-full"] {
        let told = wrong(url);
        assert!(told.starts_with("journal.url (--journal): "), "{told}");
        assert!(!told.contains("u:hush"), "{told}");
    }
}

#[test]
fn an_archive_and_the_data_folder_lie_apart() {
    let wrong = |data: &str, archive: &str| {
        let file = format!("data = {data:?}\n[archive]\nfolder = {archive:?}");
        resolve(&file, &[], &Flags::default()).err().map(|error| error.0)
    };
    for (data, archive) in [("d", "d"), ("d", "./d/archive"), ("/srv/onsale/d", "/srv/onsale")] {
        let rule = "must not be, be in, or be around data, which is";
        let told =
            format!("archive.folder (onsale.toml): {rule} {data:?} (onsale.toml), is {archive:?}");
        assert_eq!(wrong(data, archive), Some(vec![told]));
    }
    assert_eq!(wrong("/srv/onsale/d", "/srv/onsale/d-archive"), None);
    let flags = Flags { data: Some("there".into()), ..Flags::default() };
    let Error(wrong) = resolve("", &[("ONSALE_ARCHIVE_FOLDER", "there/a")], &flags).unwrap_err();
    assert!(
        wrong[0].contains("(ONSALE_ARCHIVE_FOLDER)") && wrong[0].contains("(--data)"),
        "{wrong:?}"
    );
}

#[test]
fn an_archive_is_no_data_folder_and_no_backup() {
    for file in ["onsale.log", "backup.json"] {
        let folder = tempfile::tempdir().unwrap();
        let settings = format!("[archive]\nfolder = {:?}", folder.path());
        assert!(resolve(&settings, &[], &Flags::default()).is_ok());
        std::fs::write(folder.path().join(file), "").unwrap();
        let Error(wrong) = resolve(&settings, &[], &Flags::default()).unwrap_err();
        let told = "archive.folder (onsale.toml): must be no data folder and no backup, is ";
        assert!(wrong.len() == 1 && wrong[0].starts_with(told), "{wrong:?}");
    }
}

#[test]
fn a_file_is_no_folder() {
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path().to_owned(), file.path().join("data")] {
        let told = format!("must be a folder, or a path where one can be made, is {path:?}");
        let settings = format!("data = {path:?}\n[archive]\nfolder = {path:?}");
        let Error(wrong) = resolve(&settings, &[], &Flags::default()).unwrap_err();
        let of = |key: &str| wrong.contains(&format!("{key} (onsale.toml): {told}"));
        assert!(of("data") && of("archive.folder"), "{wrong:?}");
    }
    let Error(wrong) = resolve("data = \"a\\u0000b\"", &[], &Flags::default()).unwrap_err();
    assert!(
        wrong.len() == 1 && wrong[0].starts_with("data (onsale.toml): must be a folder"),
        "{wrong:?}"
    );
    let Error(wrong) = resolve("data = \"\"", &[], &Flags::default()).unwrap_err();
    assert_eq!(wrong, ["data (onsale.toml): must be a path, is \"\""]);
}

#[test]
fn types_tables_and_variables_that_are_none_are_told() {
    let rows = [
        ("data = 7", "data (onsale.toml): must be a text in quotes, is 7"),
        ("data = [\"d\"]", "data (onsale.toml): must be a text in quotes, is [\"d\"]"),
        (
            "archive.folder = true",
            "archive.folder (onsale.toml): must be a text in quotes, is true",
        ),
        ("limits = 4", "limits (onsale.toml): is a table: [limits], and its keys below that"),
        (
            "[data]\nfolder = \"d\"",
            "data.folder (onsale.toml): there is no such key: data is a setting, not a table",
        ),
        ("[limit]\nbody_kib = 1", "limit.body_kib (onsale.toml): there is no such key"),
    ];
    for (file, told) in rows {
        let Error(wrong) = resolve(file, &[], &Flags::default()).unwrap_err();
        assert_eq!(wrong, [told]);
    }
    let variables = [
        ("ONSALE_LIMITS_BODY", "1"),
        ("ONSALE_STORE_URLS", "1"),
        ("ONSALE_STORE_SERVICE_HOST", "10.0.0.1"),
        ("ONSALE_STORE_PORT_6379_TCP_ADDR", "10.0.0.1"),
        ("ONSALE_SEED", "1"),
        ("ONSALE_KEY", "k"),
    ];
    let Error(wrong) = resolve("", &variables, &Flags::default()).unwrap_err();
    assert_eq!(
        wrong,
        ["ONSALE_LIMITS_BODY: there is no such key", "ONSALE_STORE_URLS: there is no such key"]
    );
    assert!(resolve("", &variables[2..], &Flags::default()).is_ok());
}
