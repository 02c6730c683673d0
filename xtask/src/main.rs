//! Repository chores: `cargo xtask <command>`.

mod codegen;

use anyhow::{Result, bail};

const USAGE: &str = "usage: cargo xtask <command>

  codegen [--check]     write crates/kafka-codec/src/messages from Kafka's schemas (--check: only compare)
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match arguments.split_first() {
        Some((command, rest)) => (command.as_str(), rest),
        None => bail!("{USAGE}"),
    };
    match command {
        "codegen" => codegen::run(rest),
        _ => bail!("unknown command {command}\n{USAGE}"),
    }
}
