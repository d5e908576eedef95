//! Protobuf code: compiled by protox (no `protoc`), written by prost, checked in, and compared in CI.

use std::{error::Error, fs, path::Path};

/// Each package: its proto file below `proto/`, the generated file, and the file it is checked in as.
const PACKAGES: [(&str, &str, &str); 1] =
    [("p2psp/wire/v1/control.proto", "p2psp.wire.v1.rs", "crates/p2psp-wire/src/generated/p2psp.wire.v1.rs")];

pub(crate) fn write(root: &Path) -> Result<(), Box<dyn Error>> {
    for (proto, generated, target) in PACKAGES {
        fs::write(root.join(target), generate(root, proto, generated)?)?;
    }
    Ok(())
}

pub(crate) fn check(root: &Path) -> Result<(), Box<dyn Error>> {
    for (proto, generated, target) in PACKAGES {
        if fs::read_to_string(root.join(target))? != generate(root, proto, generated)? {
            return Err(format!("{target} is stale: run `cargo xtask codegen` and commit it").into());
        }
    }
    Ok(())
}

fn generate(root: &Path, proto: &str, generated: &str) -> Result<String, Box<dyn Error>> {
    let proto_root = root.join("proto");
    let descriptors = protox::compile([proto_root.join(proto)], [proto_root])?;
    let out = std::env::temp_dir().join(format!("p2psp-codegen-{}", std::process::id()));
    fs::create_dir_all(&out)?;
    let mut config = prost_build::Config::new();
    config.out_dir(&out).bytes(["."]);
    config.compile_fds(descriptors)?;
    let code = fs::read_to_string(out.join(generated))?;
    fs::remove_dir_all(&out)?;
    Ok(code)
}
