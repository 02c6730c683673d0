//! `tributary links DIR`: a link under every tool's name, so that each can be called as people know it.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::processes;
use crate::tools::{NAMES, SERVERS};

const USAGE: &str = "\
Usage: tributary links DIR

Writes into DIR a link to this program for every tool (kafka-topics, kafka-topics.sh, mosquitto_pub …); on Windows
copies, and .bat files for Kafka's names. Links that are there already are renewed; other files are left alone.

Example:
  tributary links ~/.local/bin";

/// Runs the command.
pub fn main(args: &[String]) -> ExitCode {
    let [folder] = args else {
        eprintln!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if matches!(folder.as_str(), "--help" | "-h") {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    match processes::program().and_then(|program| write_all(&program, Path::new(folder))) {
        Ok(count) => {
            println!("Wrote {count} links to {folder}; put that folder into PATH to use them.");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Every name to link.
fn names() -> Vec<String> {
    let tools = NAMES.iter().map(|(name, _)| *name).chain(SERVERS.iter().copied());
    tools
        .flat_map(|name| [Some(name.to_owned()), script_of_kafka(name).then(|| format!("{name}.sh"))])
        .flatten()
        .collect()
}

/// Whether the original is a script with `.sh` or `.bat` behind its name.
fn script_of_kafka(name: &str) -> bool {
    name.starts_with("kafka-") || name.starts_with("zookeeper-")
}

fn write_all(program: &Path, folder: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(folder)?;
    let names = names();
    for name in &names {
        let path = folder.join(name);
        if path.symlink_metadata().is_ok_and(|found| !found.is_symlink()) && !cfg!(windows) {
            return Err(io::Error::other(format!("{} exists and is not a link", path.display())));
        }
    }
    for name in &names {
        write_link(program, folder, name).map_err(|error| io::Error::other(format!("{name}: {error}")))?;
    }
    Ok(names.len())
}

#[cfg(unix)]
fn write_link(program: &Path, folder: &Path, name: &str) -> io::Result<()> {
    let path: PathBuf = folder.join(name);
    // A new link takes the old one's place at once: nobody finds the name missing.
    let temporary = folder.join(format!(".{name}.new"));
    let _ = std::fs::remove_file(&temporary);
    std::os::unix::fs::symlink(program, &temporary)?;
    std::fs::rename(&temporary, path)
}

#[cfg(not(unix))]
fn write_link(program: &Path, folder: &Path, name: &str) -> io::Result<()> {
    if let Some(name) = name.strip_suffix(".sh") {
        let script = format!("@\"%~dp0{name}.exe\" %*\r\n");
        return std::fs::write(folder.join(format!("{name}.bat")), script);
    }
    let path: PathBuf = folder.join(format!("{name}.exe"));
    std::fs::copy(program, path).map(|_| ())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_every_name_and_leaves_other_files_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = Path::new("/opt/tributary");
        for _ in 0..2 {
            assert_eq!(write_all(program, folder.path()).expect("links"), names().len());
        }
        for name in [
            "kafka-topics",
            "kafka-topics.sh",
            "kafka-server-start.sh",
            "mosquitto_pub",
            "mosquitto",
            "confluent",
        ] {
            assert_eq!(std::fs::read_link(folder.path().join(name)).expect(name), program);
        }
        assert!(!folder.path().join("mosquitto.sh").exists());
        std::fs::remove_file(folder.path().join("confluent")).expect("removes");
        std::fs::write(folder.path().join("confluent"), "mine").expect("writes");
        assert!(
            write_all(program, folder.path())
                .is_err_and(|e| e.to_string().contains("exists and is not a link"))
        );
        assert_eq!(std::fs::read(folder.path().join("confluent")).expect("reads"), b"mine");
    }
}
