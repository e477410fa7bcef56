//! The C-node as a program. It has no host of its own yet: it says what it is.

use std::process::ExitCode;

const USAGE: &str = "\
Usage: pets_cnode [--version | --help]

The C-node of PartitionedEts runs inside the BEAM, in its NIF library; this
program does not run one yet.

Options:
  --version  print the version
  --help     print this text
";

fn main() -> ExitCode {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|text| text.to_string_lossy().into_owned()).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["--version"] => println!("pets_cnode {}", env!("CARGO_PKG_VERSION")),
        ["--help"] => print!("{USAGE}"),
        [] => {
            eprint!("pets_cnode: expected an option\n\n{USAGE}");
            return ExitCode::from(2);
        }
        [unknown, ..] => {
            eprint!("pets_cnode: unexpected argument: {unknown}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
