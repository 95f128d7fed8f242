//! The command line by itself: help and exit codes.

use clap::CommandFactory as _;

use super::*;

#[test]
fn the_arguments_are_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_says_what_it_is_for_and_its_exit_codes() {
    fn check(command: &mut clap::Command, path: &str) {
        let path = format!("{path} {}", command.get_name());
        assert!(command.get_about().is_some(), "{path} does not say what it is for");
        let help = command.render_long_help().to_string();
        if !command.has_subcommands() && !path.contains(" keys ") {
            assert!(help.contains("Exit codes"), "{path} does not say its exit codes");
        }
        for argument in command.get_arguments() {
            let name = argument.get_id();
            assert!(argument.get_help().is_some(), "{path}: {name} does not say what it is for");
        }
        for command in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
            check(command, &path);
        }
    }
    let mut command = Cli::command();
    command.build();
    for command in command.get_subcommands_mut().filter(|c| c.get_name() != "help") {
        check(command, "onsale");
    }
}

#[test]
fn bad_arguments_end_with_2() {
    for arguments in
        [&["onsale"][..], &["onsale", "sell"], &["onsale", "demo", "--buyers", "25999"]]
    {
        let error = Cli::try_parse_from(arguments).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{arguments:?}");
    }
}

#[test]
fn a_cause_is_said_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("keys.json: cannot read: {0}")]
    struct Told(#[source] std::io::Error);
    let told = anyhow::Error::from(Told(std::io::Error::other("no disk")));
    assert_eq!(with_causes(&told), "keys.json: cannot read: no disk");
    assert_eq!(with_causes(&told.context("no keys")), "no keys: keys.json: cannot read: no disk");
}
