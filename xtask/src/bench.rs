//! `cargo xtask bench`: builds what is measured and runs `bench.py` on it.

use std::process::Command;

use anyhow::Result;

use crate::foreign::Foreign;
use crate::{command, root};

/// Measures everything (and writes `docs/benchmarks.md`), or only what is named (and prints it).
pub fn run(only: &[String]) -> Result<()> {
    let foreign = Foreign::new()?;
    foreign.debian()?;
    let forwarder = foreign.go("forwarder")?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let build = [
        "build",
        "--locked",
        "--profile",
        "dist",
        "--package",
        "tributary",
        "--package",
        "tributary-testkit",
        "--bins",
    ];
    command(Command::new(cargo).args(build).current_dir(root()))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let mut bench = Command::new("python3");
    bench.arg(Foreign::source("bench.py"));
    bench.arg("--tributary").arg(target.join("dist/tributary"));
    bench.arg("--load").arg(target.join("dist/load"));
    bench.arg("--kafka-load").arg(target.join("dist/kafka_load"));
    bench.arg("--forwarder").arg(forwarder);
    if only.is_empty() {
        bench.arg("--output").arg(root().join("docs/benchmarks.md"));
    } else {
        bench.arg("--only").arg(only.join(","));
    }
    command(&mut bench)
}
