//! The chaos run in short form: the long one is `cargo xtask bench chaos`.

use flotilla_tests::program;
use std::process::Command;

#[test]
fn a_short_storm_of_kills_commands_edits_and_engine_crashes_ends_as_it_was_wanted() {
    let storm = Command::new(program("chaos"))
        .args(["--seconds", "20", "--servers", "30", "--seed", "7"])
        .env("FLOTILLA_SECRETS", "file")
        .output()
        .expect("run the storm");
    let said = String::from_utf8_lossy(&storm.stdout).into_owned()
        + &String::from_utf8_lossy(&storm.stderr);
    assert!(storm.status.success(), "{said}");
}
