//! Compiles the programs by whatever clang is there, 14 or later. Without one, the object
//! that is committed beside them is taken: it is the same, made by clang 14.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// The first release that makes what the programs need.
const OLDEST_CLANG: u32 = 14;

fn main() {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder for output"))
        .join("veni.bpf.o");
    println!("cargo::rerun-if-changed={}", programs.display());
    println!("cargo::rerun-if-env-changed=CLANG");
    let clang = env::var("CLANG").unwrap_or_else(|_| "clang".to_owned());
    if version(&clang).is_some_and(|version| version >= OLDEST_CLANG) {
        let made = Command::new(programs.join("build")).arg(&out).status();
        assert!(
            made.is_ok_and(|status| status.success()),
            "{clang} failed to compile bpf/programs/veni.bpf.c: its messages are above"
        );
    } else {
        fs::copy(programs.join("object/veni.bpf.o"), &out)
            .expect("bpf/programs/object/veni.bpf.o is committed and can be copied");
    }
}

/// Major version of a clang; `None` where there is none.
fn version(clang: &str) -> Option<u32> {
    let answer = Command::new(clang).arg("-dumpversion").output().ok()?;
    let answer = String::from_utf8(answer.stdout).ok()?;
    answer.split('.').next()?.trim().parse().ok()
}
