//! Repository chores: `cargo xtask <command>`.

mod arrows;
mod bench;
mod codegen;
mod foreign;
mod test;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask <command>

  codegen [--check]     write crates/kafka-codec/src/messages from Kafka's schemas (--check: only compare),
                        and docs/configuration.md from the tables in crates/meta
  codec-compare [--seed N]  our codecs against kafka-clients' own, over random instances
  test [NAME...]        all stages of the tests, or those whose name contains a NAME
  bench [NAME...]       measure ours beside Apache Kafka and Mosquitto, write docs/benchmarks.md
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => bail!("{USAGE}"),
    };
    match command {
        "codegen" => codegen::run(rest),
        "codec-compare" => codegen::compare::run(rest),
        "test" => test::run(rest),
        "bench" => bench::run(rest),
        _ => bail!("unknown command {command}\n{USAGE}"),
    }
}

/// The repository.
fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Runs a command; its failure is an error that names it.
fn command(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("start {command:?}"))?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(())
}
