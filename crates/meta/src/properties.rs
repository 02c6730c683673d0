//! `meta.properties`: which cluster and node a data directory belongs to (Kafka's format, version 1).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use kafka_codec::Uuid;

use crate::MetaError;

/// File name in the data directory.
pub const META_PROPERTIES: &str = "meta.properties";

/// Identity of a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaProperties {
    /// `cluster.id`.
    pub cluster_id: String,
    /// `node.id`.
    pub node_id: i32,
    /// `directory.id`.
    pub directory_id: Uuid,
}

impl MetaProperties {
    /// Reads the file; `None` when there is none.
    ///
    /// # Errors
    /// [`MetaError::Properties`] when it cannot be read or is not what Kafka writes in version 1.
    pub fn load(dir: &Path) -> Result<Option<Self>, MetaError> {
        let path = dir.join(META_PROPERTIES);
        let wrong = |reason: String| MetaError::Properties { file: path.display().to_string(), reason };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(wrong(error.to_string())),
        };
        let get = |key: &str| {
            text.lines()
                .filter(|line| !line.starts_with(['#', '!']))
                .filter_map(|line| line.split_once('='))
                .find(|(name, _)| name.trim() == key)
                .map(|(_, value)| value.trim().to_owned())
        };
        let need = |key: &str| get(key).ok_or_else(|| wrong(format!("{key} is missing")));
        let version = need("version")?;
        if version != "1" {
            return Err(wrong(format!("version {version} is not supported, only 1")));
        }
        let node_id = need("node.id")?;
        let node_id = node_id.parse().map_err(|_| wrong(format!("node.id {node_id} is not a number")))?;
        let directory_id = match get("directory.id") {
            Some(id) => id.parse().map_err(|_| wrong(format!("directory.id {id} is not an id")))?,
            None => Uuid::ZERO,
        };
        Ok(Some(Self { cluster_id: need("cluster.id")?, node_id, directory_id }))
    }

    /// Writes the file, whole or not at all, durable when this returns.
    ///
    /// # Errors
    /// [`MetaError::Properties`] when the system refuses.
    pub fn store(&self, dir: &Path) -> Result<(), MetaError> {
        let path = dir.join(META_PROPERTIES);
        let mut text = String::from("#\n");
        let _ = writeln!(text, "cluster.id={}", self.cluster_id);
        let _ = writeln!(text, "directory.id={}", self.directory_id);
        let _ = writeln!(text, "node.id={}", self.node_id);
        let _ = writeln!(text, "version=1");
        let fresh = dir.join("meta.properties.tmp");
        let write = || -> io::Result<()> {
            let mut file = File::create(&fresh)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&fresh, &path)?;
            #[cfg(unix)]
            File::open(dir)?.sync_all()?;
            Ok(())
        };
        write().map_err(|error| MetaError::Properties {
            file: path.display().to_string(),
            reason: error.to_string(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_read_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(MetaProperties::load(dir.path()).unwrap(), None);
        let properties = MetaProperties {
            cluster_id: "AAAAAAAAAAAAAAAAAAAAAQ".into(),
            node_id: 7,
            directory_id: Uuid([9; 16]),
        };
        properties.store(dir.path()).unwrap();
        assert_eq!(MetaProperties::load(dir.path()).unwrap(), Some(properties));
    }

    #[test]
    fn faults_are_named() {
        let check = |text: &str, want: &str| {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(META_PROPERTIES), text).unwrap();
            let error = MetaProperties::load(dir.path()).unwrap_err().to_string();
            assert!(error.ends_with(want), "{error}");
        };
        check("version=0\nbroker.id=1\n", "version 0 is not supported, only 1");
        check("version=1\ncluster.id=x\n", "node.id is missing");
        check("version=1\nnode.id=a\n", "node.id a is not a number");
        check("version=1\nnode.id=1\n", "cluster.id is missing");
    }
}
