//! What pages say about this repository is so.

use std::collections::BTreeSet;
use std::path::Path;

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
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/faults.md")).expect("the page");
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
