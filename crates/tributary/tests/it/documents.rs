//! What pages say about this repository is so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binary;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn page(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What `tributary command --help` prints.
fn help(command: &str) -> String {
    let out = Command::new(binary()).args([command, "--help"]).output().expect("runs");
    String::from_utf8(out.stdout).expect("text")
}

/// Functions and modules of all crates.
fn names(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            names(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source");
            let functions = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(functions.map(str::to_owned));
        }
        found.insert(stem);
    }
}

#[test]
fn every_test_that_the_page_of_faults_names_exists() {
    let (root, page) = (root(), page("docs/faults.md"));
    let mut known = BTreeSet::new();
    names(&root.join("crates"), &mut known);
    let mut looked_at = 0;
    for row in page.lines().filter(|line| line.starts_with('|')) {
        let held_by = row.rsplit('|').nth(1).unwrap_or_default();
        for path in held_by.split('`').skip(1).step_by(2) {
            let is_test = path.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':');
            for name in path.split("::").filter(|_| is_test) {
                assert!(known.contains(name), "{path}: there is no {name}");
                looked_at += 1;
            }
        }
    }
    assert!(looked_at > 60, "{looked_at}");
}

#[test]
fn every_link_between_pages_leads_somewhere() {
    let mut pages: Vec<_> = std::fs::read_dir(root().join("docs"))
        .expect("a folder")
        .map(|entry| format!("docs/{}", entry.expect("an entry").file_name().to_string_lossy()))
        .filter(|name| name.ends_with(".md"))
        .collect();
    pages.extend(["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(String::from));
    for name in pages {
        let text = page(&name);
        let folder = root().join(&name).parent().expect("a folder").to_owned();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            if !link.is_empty() && !link.contains("://") {
                assert!(folder.join(link).exists(), "{name}: there is no {link}");
            }
        }
    }
}

#[test]
fn what_the_deployment_files_name_exists() {
    let compose = page("deploy/compose.yaml");
    let units = ["deploy/tributary.service", "deploy/tributary-bridge.service"].map(page);
    let dockerfile = page("deploy/Dockerfile");
    assert!(page("Cargo.toml").contains("[profile.dist]") && dockerfile.contains("--profile dist"));
    let needed = page("Cargo.toml");
    let needed = needed.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version");
    let builder = format!("FROM rust:{}-", needed.trim_matches('"'));
    assert!(dockerfile.contains(&builder), "{builder}: the Rust that the workspace needs");
    // Flags, as the commands list them.
    let lines = compose.lines().map(str::trim).filter_map(|line| line.strip_prefix("command: "));
    let lines = lines.chain(
        units
            .iter()
            .flat_map(|unit| unit.lines())
            .filter_map(|line| line.strip_prefix("ExecStart=/usr/bin/tributary ")),
    );
    let mut flags = 0;
    for line in lines {
        let words = line.split([' ', ',', '"', '[', ']']).filter(|word| !word.is_empty());
        let words: Vec<_> = words.collect();
        let known = help(words[0]);
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            assert!(
                known.contains(&format!("{flag} ")) || known.contains(&format!("{flag}\n")),
                "{line}: {flag}"
            );
            flags += 1;
        }
    }
    assert!(flags >= 8, "{flags}");
    for path in ["deploy/Dockerfile", "deploy/mosquitto.conf"] {
        let name = Path::new(path).file_name().expect("a name").to_string_lossy();
        assert!(root().join(path).exists() && compose.contains(&*name), "{path}");
    }
}
