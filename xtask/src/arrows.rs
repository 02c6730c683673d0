//! The arrows between crates that ARCHITECTURE.md draws, and no others.

use anyhow::{Context, Result, bail};

use crate::root;

/// A crate's folder and the crates of this workspace that it may depend on (not counting tests).
const ARROWS: &[(&str, &[&str])] = &[
    ("kafka-codec", &[]),
    ("mqtt-codec", &[]),
    ("log", &["kafka-codec"]),
    ("meta", &["kafka-codec", "log"]),
    ("coordinator", &["kafka-codec"]),
    ("client", &["kafka-codec"]),
    ("broker", &["kafka-codec", "log", "meta", "coordinator", "client"]),
    ("mqtt", &["mqtt-codec", "client"]),
    ("mqtt-client", &["mqtt-codec"]),
    ("bridge", &["kafka-codec", "mqtt-codec", "client", "mqtt-client", "mqtt"]),
    ("console", &["client"]),
    ("testkit", &["kafka-codec", "mqtt-codec", "client"]),
    (
        "tributary",
        &[
            "kafka-codec",
            "mqtt-codec",
            "log",
            "meta",
            "coordinator",
            "broker",
            "client",
            "mqtt",
            "bridge",
            "console",
        ],
    ),
];

/// Compares each crate's `[dependencies]` with the table.
pub fn check() -> Result<()> {
    let names: Vec<&str> = ARROWS.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(root().join("crates")).context("list crates")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let Some((_, allowed)) = ARROWS.iter().find(|(known, _)| *known == name) else {
            wrong.push(format!("crate {name} is not in the table of xtask/src/arrows.rs"));
            continue;
        };
        let manifest = std::fs::read_to_string(root().join("crates").join(&name).join("Cargo.toml"))?;
        let dependencies = manifest.split("[dependencies]").nth(1).and_then(|rest| rest.split("\n[").next());
        for line in dependencies.unwrap_or_default().lines() {
            let dependency = line.split(['.', ' ', '=']).next().unwrap_or_default();
            if names.contains(&dependency) && !allowed.contains(&dependency) {
                wrong.push(format!(
                    "crates/{name} depends on {dependency}: an arrow that ARCHITECTURE.md does not draw"
                ));
            }
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    Ok(())
}
