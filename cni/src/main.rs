//! The plugin's process: hands the real environment, standard input and
//! standard output to the library, and nothing else.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    veni_cni::run(
        &|name| std::env::var_os(name),
        &mut io::stdin().lock(),
        &mut io::stdout().lock(),
        &mut io::stderr().lock(),
    )
}
