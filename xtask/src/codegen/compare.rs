//! `cargo xtask codec-compare`: our codecs against Kafka's own classes, over seeded random instances.
//!
//! Java fills and encodes ([`Messages.java`], [`Batches.java`] in `crates/kafka-codec/tests/java`), our example
//! `kafka_compare` decodes, encodes and compares, and Java reads the batches that we wrote.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{CLIENTS_VERSION, SERVER_VERSION, work_dir};
use crate::{command, root};

const SEED: u64 = 4400;
/// Instances of each version of each message.
const ROUNDS: u32 = 25;
/// Batches of each codec.
const BATCH_ROUNDS: u32 = 60;

/// Runs the command: `--seed N` for other instances than the usual ones.
pub fn run(arguments: &[String]) -> Result<()> {
    let seed = match arguments {
        [] => SEED,
        [flag, seed] if flag == "--seed" => seed.parse().context("the seed is not a number")?,
        _ => bail!("usage: cargo xtask codec-compare [--seed N]"),
    };
    println!("seed {seed}");
    let directory = work_dir().join("compare");
    std::fs::create_dir_all(&directory)?;
    let clients = Classpath::resolve("clients", CLIENTS_VERSION)?;
    let server = Classpath::resolve("server", SERVER_VERSION)?;
    let (seed, rounds) = (seed.to_string(), ROUNDS.to_string());

    for (classpath, file) in [(&clients, "clients.txt"), (&server, "server.txt")] {
        let out = directory.join(file);
        let mut java = classpath.java("Messages.java");
        java.args([&seed, &rounds]).arg(&out).args(classpath.jars_with_messages());
        command(&mut java)?;
        command(ours().arg("messages").arg(&out))?;
    }
    let (theirs, ours_written) = (directory.join("batches.txt"), directory.join("our-batches.txt"));
    command(clients.java("Batches.java").args(["write", &seed, &BATCH_ROUNDS.to_string()]).arg(&theirs))?;
    command(ours().arg("batches").arg(&theirs).arg(&ours_written))?;
    command(clients.java("Batches.java").arg("check").arg(&ours_written))
}

fn java_sources() -> PathBuf {
    root().join("crates/kafka-codec/tests/java")
}

fn ours() -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo.args(["run", "-q", "--locked", "-p", "kafka-codec", "--example", "kafka_compare", "--"]);
    cargo
}

/// One version of Kafka's jars with all they need.
struct Classpath(String);

impl Classpath {
    /// Has Maven resolve what a profile of the test's `pom.xml` names.
    fn resolve(profile: &str, version: &str) -> Result<Self> {
        let file = work_dir().join(format!("classpath-{profile}-{version}"));
        if !file.exists() {
            let fresh = file.with_extension("new");
            let output = format!("-Dmdep.outputFile={}", fresh.display());
            let pom = java_sources().join("pom.xml");
            command(
                Command::new("mvn")
                    .args(["-q", "-B", "-Dstyle.color=never", "-f"])
                    .arg(&pom)
                    .args(["-P", profile, &format!("-Dkafka.version={version}"), &output])
                    .args(["dependency:build-classpath"]),
            )?;
            std::fs::rename(&fresh, &file)?;
        }
        Ok(Self(std::fs::read_to_string(&file)?.trim().to_owned()))
    }

    /// Java on one of the test's sources.
    fn java(&self, source: &str) -> Command {
        let mut java = Command::new("java");
        java.args(["-XX:+UseSerialGC", "-Xmx512m", "-cp", &self.0]).arg(java_sources().join(source));
        java
    }

    /// The jars whose messages our generator reads: of kafka-clients only in its own version, lest the server's
    /// older one be compared.
    fn jars_with_messages(&self) -> Vec<PathBuf> {
        let wanted = |name: &str| {
            super::ARTIFACTS.iter().any(|(artifact, version)| name == format!("{artifact}-{version}.jar"))
        };
        std::env::split_paths(&self.0)
            .filter(|path| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())))
            .map(|path| Path::new(&path).to_path_buf())
            .collect()
    }
}
