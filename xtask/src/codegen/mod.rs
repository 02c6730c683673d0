//! `cargo xtask codegen`: writes `crates/kafka-codec/src/messages` from the schemas in Kafka's own artifacts.
//!
//! The output is committed, so that a build needs neither Maven nor Java. `--check` generates into `target/`
//! instead and compares byte for byte.

pub mod compare;
mod emit;
mod index;
mod schema;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use schema::{Kind, Schema};

/// Version of `kafka-clients`: the newest, whose requests a client may send us.
pub const CLIENTS_VERSION: &str = "4.4.0";
/// Version of the server-side artifacts, whose records stand in logs.
pub const SERVER_VERSION: &str = "4.3.1";

/// The page of all configurations.
const CONFIGURATION: &str = "docs/configuration.md";

const ARTIFACTS: [(&str, &str); 5] = [
    ("kafka-clients", CLIENTS_VERSION),
    ("kafka-metadata", SERVER_VERSION),
    ("kafka-group-coordinator", SERVER_VERSION),
    ("kafka-transaction-coordinator", SERVER_VERSION),
    ("kafka-share-coordinator", SERVER_VERSION),
];

/// A schema and the artifact that holds it.
pub struct Sourced {
    pub artifact: &'static str,
    pub schema: Schema,
}

/// Runs the command: no argument writes, `--check` compares.
pub fn run(arguments: &[String]) -> Result<()> {
    let check = match arguments {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => bail!("usage: cargo xtask codegen [--check]"),
    };
    let committed = crate::root().join("crates/kafka-codec/src/messages");
    let out = if check { work_dir().join("messages") } else { committed.clone() };
    let schemas = read_schemas()?;
    let files = generate(&schemas)?;
    write_formatted(&out, &files)?;
    if check {
        compare(&committed, &out)?;
        println!("{} generated files are up to date", files.len());
        if std::fs::read(crate::root().join(CONFIGURATION))? != configuration()? {
            bail!("{CONFIGURATION} is not what the tables say: run `cargo xtask codegen`");
        }
    } else {
        println!("wrote {} files to {}", files.len(), out.display());
        std::fs::write(crate::root().join(CONFIGURATION), configuration()?)?;
    }
    Ok(())
}

/// `docs/configuration.md` as the tables in `meta` say it.
fn configuration() -> Result<Vec<u8>> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let printed = Command::new(cargo)
        .args(["run", "-q", "--locked", "-p", "tributary-meta", "--example", "configuration"])
        .current_dir(crate::root())
        .output()?;
    if !printed.status.success() {
        bail!("the page of configurations: {}", String::from_utf8_lossy(&printed.stderr));
    }
    Ok(printed.stdout)
}

/// Where jars and intermediate files go, below cargo's target directory.
pub fn work_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| crate::root().join("target"), PathBuf::from)
        .join("codegen")
}

/// Has Maven fetch an artifact (from its local repository when it is there) and answers the jar's path.
pub fn jar(group: &str, artifact: &str, version: &str) -> Result<PathBuf> {
    let path = work_dir().join("jars").join(format!("{artifact}-{version}.jar"));
    if path.exists() {
        return Ok(path);
    }
    let directory = work_dir().join("jars");
    std::fs::create_dir_all(&directory)?;
    let coordinates = format!("-Dartifact={group}:{artifact}:{version}");
    crate::command(Command::new("mvn").args([
        "-q",
        "-B",
        "-Dstyle.color=never",
        "dependency:get",
        "-Dtransitive=false",
        &coordinates,
    ]))?;
    let target = format!("-DoutputDirectory={}", directory.display());
    crate::command(Command::new("mvn").args([
        "-q",
        "-B",
        "dependency:copy",
        "-Dmdep.useBaseVersion=true",
        &coordinates,
        &target,
    ]))?;
    if !path.exists() {
        bail!("Maven did not deliver {}", path.display());
    }
    Ok(path)
}

fn read_schemas() -> Result<Vec<Sourced>> {
    let mut schemas = Vec::new();
    for (artifact, version) in ARTIFACTS {
        let jar = jar("org.apache.kafka", artifact, version)?;
        let unpacked = work_dir().join("schemas").join(format!("{artifact}-{version}"));
        if !unpacked.exists() {
            std::fs::create_dir_all(&unpacked)?;
            // The JDK that Maven runs on brings `jar`.
            crate::command(
                Command::new("jar").arg("xf").arg(jar.canonicalize()?).arg("common").current_dir(&unpacked),
            )?;
        }
        let mut paths = Vec::new();
        for folder in ["common/message", "common/metadata"] {
            let folder = unpacked.join(folder);
            if folder.is_dir() {
                for entry in std::fs::read_dir(&folder)? {
                    paths.push(entry?.path());
                }
            }
        }
        paths.retain(|p| p.extension().is_some_and(|e| e == "json"));
        paths.sort();
        if paths.is_empty() {
            bail!("no schemas in {artifact} {version}");
        }
        for path in paths {
            schemas.push(Sourced { artifact, schema: schema::read(&path)? });
        }
    }
    Ok(schemas)
}

/// File name → unformatted content.
fn generate(schemas: &[Sourced]) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    for sourced in schemas.iter().filter(|s| !s.schema.valid_versions.is_empty()) {
        let schema = &sourced.schema;
        let text = emit::module(schema).with_context(|| format!("generating {}", schema.name))?;
        if files.insert(format!("{}.rs", emit::snake(&schema.name)), text).is_some() {
            bail!("two schemas are called {}", schema.name);
        }
    }
    files.insert("api_key.rs".into(), index::api_keys(schemas)?);
    files.insert("metadata.rs".into(), index::metadata_records(schemas)?);
    files.insert(
        "group_records.rs".into(),
        index::coordinator_records(schemas, "kafka-group-coordinator", "Group")?,
    );
    files.insert(
        "transaction_records.rs".into(),
        index::coordinator_records(schemas, "kafka-transaction-coordinator", "Transaction")?,
    );
    files.insert(
        "share_records.rs".into(),
        index::coordinator_records(schemas, "kafka-share-coordinator", "Share")?,
    );
    files.insert("mod.rs".into(), index::module_list(schemas)?);
    Ok(files)
}

/// True for modules that hold one message, as opposed to tables over all of them.
fn is_message(sourced: &Sourced, kind: Kind) -> bool {
    sourced.schema.kind == kind && !sourced.schema.valid_versions.is_empty()
}

/// Replaces the files of `directory` by these, formatted by rustfmt with the workspace's settings.
fn write_formatted(directory: &Path, files: &BTreeMap<String, String>) -> Result<()> {
    let staging = work_dir().join("staging");
    if staging.exists() {
        std::fs::remove_dir_all(&staging)?;
    }
    std::fs::create_dir_all(&staging)?;
    for (name, text) in files {
        std::fs::write(staging.join(name), text)?;
    }
    let config = crate::root().join("rustfmt.toml");
    crate::command(
        Command::new("rustfmt")
            .args(["--edition", "2024", "--config-path"])
            .arg(config.canonicalize()?)
            .arg(staging.join("mod.rs")),
    )?;
    std::fs::create_dir_all(directory)?;
    for name in names(directory)? {
        if !files.contains_key(&name) {
            std::fs::remove_file(directory.join(name))?;
        }
    }
    for name in files.keys() {
        let text = std::fs::read(staging.join(name))?;
        let path = directory.join(name);
        // An unchanged file keeps its time stamp: cargo has nothing to rebuild.
        if std::fs::read(&path).ok().as_ref() != Some(&text) {
            std::fs::write(path, text)?;
        }
    }
    Ok(())
}

fn names(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| format!("listing {}", directory.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn compare(committed: &Path, fresh: &Path) -> Result<()> {
    let mut all = names(committed)?;
    all.extend(names(fresh)?);
    all.sort();
    all.dedup();
    let differing: Vec<String> = all
        .into_iter()
        .filter(|name| std::fs::read(committed.join(name)).ok() != std::fs::read(fresh.join(name)).ok())
        .collect();
    if !differing.is_empty() {
        bail!("not what `cargo xtask codegen` writes: {}", differing.join(", "));
    }
    Ok(())
}
