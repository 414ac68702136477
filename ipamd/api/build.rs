//! Compiles the contract with a pure Rust compiler, so that no `protoc` is needed.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto/veni.proto");
    let descriptors = protox::compile(["proto/veni.proto"], ["proto"])?;
    tonic_prost_build::configure()
        .build_client(cfg!(feature = "client"))
        .build_server(cfg!(feature = "server"))
        .build_transport(false)
        .compile_fds(descriptors)?;
    Ok(())
}
