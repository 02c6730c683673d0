//! `cargo xtask test`: everything that must hold, in stages; each stage says what it costs.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::foreign::Foreign;
use crate::{command, root};

/// One stage: its name, and what it does.
pub type Stage = (&'static str, fn(&Foreign) -> Result<()>);

/// The stages in order of cost: what fails soonest comes first.
const STAGES: &[Stage] = &[
    ("format", |_| cargo(&["fmt", "--all", "--check"])),
    ("lints", |_| cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])),
    ("crates", |_| cargo(&["test", "--workspace", "--locked", "--no-fail-fast"])),
    ("arrows between crates", |_| crate::arrows::check()),
    ("codegen", |_| xtask(&["codegen", "--check"])),
    ("codec against kafka-clients", |_| xtask(&["codec-compare"])),
];

/// Runs all stages, or those whose name contains one of `only`.
pub fn run(only: &[String]) -> Result<()> {
    let foreign = Foreign::new()?;
    let chosen = |name: &str| only.is_empty() || only.iter().any(|o| name.contains(o.as_str()));
    let mut failed = Vec::new();
    let mut passed = 0;
    let stages = STAGES.iter().chain(crate::foreign::STAGES);
    for (name, stage) in stages.filter(|(name, _)| chosen(name)) {
        println!("\n== {name}");
        let began = Instant::now();
        match stage(&foreign) {
            Ok(()) => passed += 1,
            Err(e) => {
                println!("FAILED: {name}: {e:#}");
                failed.push(*name);
            }
        }
        println!("== {name}: {:.0} s", began.elapsed().as_secs_f64());
    }
    println!("\nstages: {passed} passed, {} failed", failed.len());
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn cargo(args: &[&str]) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    command(Command::new(cargo).args(args).current_dir(root()))
}

fn xtask(args: &[&str]) -> Result<()> {
    let exe = std::env::current_exe().context("path of xtask")?;
    command(Command::new(exe).args(args).current_dir(root()))
}

/// Builds the binary that foreign clients talk to and answers where it lies.
pub fn build_tributary() -> Result<std::path::PathBuf> {
    cargo(&["build", "--locked", "--package", "tributary"])?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), Into::into);
    let path: &Path = target.as_ref();
    Ok(path.join("debug").join(format!("tributary{}", std::env::consts::EXE_SUFFIX)))
}
