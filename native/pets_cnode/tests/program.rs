//! The program answers for itself, and says clearly what it does not do.

use std::process::{Command, Output};

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pets_cnode"))
        .args(arguments)
        .output()
        .expect("the program starts")
}

#[test]
fn version_and_help_are_printed() {
    let version = run(&["--version"]);
    assert!(version.status.success());
    let expected = format!("pets_cnode {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&version.stdout), expected);
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).starts_with("Usage: pets_cnode"));
}

#[test]
fn anything_else_is_an_error() {
    for arguments in [&[][..], &["--host"], &["--version", "--help"]] {
        let output = run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("pets_cnode: "));
    }
}
