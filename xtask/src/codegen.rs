//! Protobuf code: compiled by protox (no `protoc`), written by prost and tonic, checked in, and compared in CI.

use prost::Message;
use std::{error::Error, fs, path::Path};

/// A package below `proto/` and where its code is checked in.
struct Package {
    name: &'static str,
    files: &'static [&'static str],
    folder: &'static str,
    /// Has services, which are reflected: code for them, their descriptors, and serialisation of what tools print.
    service: bool,
}

const PACKAGES: [Package; 2] = [
    Package {
        name: "p2psp.wire.v1",
        files: &["p2psp/wire/v1/control.proto"],
        folder: "crates/p2psp-wire/src/generated",
        service: false,
    },
    Package {
        name: "p2psp.admin.v1",
        files: &[
            "p2psp/admin/v1/figures.proto",
            "p2psp/admin/v1/peer.proto",
            "p2psp/admin/v1/runtime.proto",
            "p2psp/admin/v1/splitter.proto",
        ],
        folder: "crates/p2psp-admin/src/generated",
        service: true,
    },
];

/// Messages of the admin API that tools print: those without a `oneof` or a field mask.
const PRINTED: [&str; 16] = [
    "Ban",
    "BufferMap",
    "BufferRun",
    "Channel",
    "DelayBucketFigures",
    "Info",
    "IngestFigures",
    "Neighbour",
    "NetFigures",
    "Peer",
    "PeerFigures",
    "PeerStatus",
    "PlayoutFigures",
    "SplitterFigures",
    "Team",
    "TeamLimits",
];

pub(crate) fn write(root: &Path) -> Result<(), Box<dyn Error>> {
    for package in &PACKAGES {
        for (name, content) in generate(root, package)? {
            fs::write(root.join(package.folder).join(name), content)?;
        }
    }
    Ok(())
}

pub(crate) fn check(root: &Path) -> Result<(), Box<dyn Error>> {
    for package in &PACKAGES {
        for (name, content) in generate(root, package)? {
            let path = Path::new(package.folder).join(name);
            if fs::read(root.join(&path))? != content {
                return Err(
                    format!("{} is stale: run `cargo xtask codegen` and commit it", path.display()).into()
                );
            }
        }
    }
    Ok(())
}

/// A file's name and content.
type Generated = (String, Vec<u8>);

fn generate(root: &Path, package: &Package) -> Result<Vec<Generated>, Box<dyn Error>> {
    let proto_root = root.join("proto");
    let files = package.files.iter().map(|file| proto_root.join(file));
    let descriptors = protox::compile(files, [&proto_root])?;
    let out = std::env::temp_dir().join(format!("p2psp-codegen-{}", std::process::id()));
    fs::create_dir_all(&out)?;
    let mut generated = Vec::new();
    if package.service {
        let mut builder = tonic_prost_build::configure().build_transport(false).out_dir(&out).bytes(".");
        for message in PRINTED {
            let path = format!(".{}.{message}", package.name);
            builder = builder.type_attribute(&path, "#[derive(serde::Serialize)]");
            if message.ends_with("Figures") {
                // Runtimes make them of their statistics, whose names they have.
                builder = builder.type_attribute(path, "#[derive(serde::Deserialize)]\n#[serde(default)]");
            }
        }
        for (field, name) in [
            ("BufferRun.state", "chunk_state"),
            ("Info.role", "role"),
            ("Info.state", "runtime_state"),
            ("Peer.state", "peer_state"),
        ] {
            let attribute = format!("#[serde(serialize_with = \"crate::names::{name}\")]");
            builder = builder.field_attribute(format!(".{}.{field}", package.name), attribute);
        }
        // Comments would make three quarters of what the binary carries for reflection.
        let mut lean = descriptors.clone();
        for file in &mut lean.file {
            file.source_code_info = None;
        }
        generated.push((format!("{}.binpb", package.name), lean.encode_to_vec()));
        builder.compile_fds(descriptors)?;
    } else {
        let mut config = prost_build::Config::new();
        config.out_dir(&out).bytes(["."]);
        config.compile_fds(descriptors)?;
    }
    let name = format!("{}.rs", package.name);
    generated.push((name.clone(), fs::read(out.join(name))?));
    fs::remove_dir_all(&out)?;
    Ok(generated)
}
