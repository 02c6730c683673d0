//! Kafka's features: the releases behind metadata versions, and the level of each feature that goes with one.

/// Metadata versions, ascending from the first that KRaft still knows.
const METADATA_VERSIONS: &[&str] = &[
    "3.3-IV3", "3.4-IV0", "3.5-IV0", "3.5-IV1", "3.5-IV2", "3.6-IV0", "3.6-IV1", "3.6-IV2", "3.7-IV0",
    "3.7-IV1", "3.7-IV2", "3.7-IV3", "3.7-IV4", "3.8-IV0", "3.9-IV0", "4.0-IV0", "4.0-IV1", "4.0-IV2",
    "4.0-IV3", "4.1-IV0", "4.1-IV1", "4.2-IV0", "4.2-IV1", "4.3-IV0", "4.4-IV0",
];
/// Level of the first of them.
const FIRST_LEVEL: i16 = 7;
/// Level of the last that is not a draft.
pub const LATEST_PRODUCTION: i16 = 30;
/// The feature they are levels of.
pub const METADATA_VERSION: &str = "metadata.version";

/// A feature besides the metadata version.
#[derive(Clone, Copy, Debug)]
pub struct Feature {
    /// Its name.
    pub name: &'static str,
    /// Metadata version that made each level from 1 on the default.
    defaults: &'static [i16],
    /// What each level from 1 on needs.
    needs: &'static [&'static [(&'static str, i16)]],
}

/// All, in the order in which the tools tell them.
pub const FEATURES: &[Feature] = &[
    Feature { name: "kraft.version", defaults: &[21], needs: &[&[]] },
    Feature { name: "transaction.version", defaults: &[24, 24], needs: &[&[], &[]] },
    Feature { name: "group.version", defaults: &[22], needs: &[&[]] },
    Feature {
        name: "eligible.leader.replicas.version",
        defaults: &[26],
        needs: &[&[(METADATA_VERSION, 23)]],
    },
    Feature { name: "share.version", defaults: &[28], needs: &[&[]] },
    Feature { name: "streams.version", defaults: &[29], needs: &[&[]] },
];

impl Feature {
    /// The level that goes with a metadata version.
    pub fn default_level(&self, metadata_version: i16) -> i16 {
        let reached = self.defaults.iter().filter(|needed| **needed <= metadata_version).count();
        i16::try_from(reached).unwrap_or(i16::MAX)
    }

    /// What `level` needs; `None` for a level that does not exist.
    pub fn needs(&self, level: i16) -> Option<&'static [(&'static str, i16)]> {
        match usize::try_from(level).ok()? {
            0 => Some(&[]),
            level => self.needs.get(level - 1).copied(),
        }
    }
}

/// Name of a metadata version (`4.3-IV0`).
pub fn version_name(level: i16) -> Option<&'static str> {
    let index = usize::try_from(level.checked_sub(FIRST_LEVEL)?).ok()?;
    METADATA_VERSIONS.get(index).copied()
}

/// Level of a metadata version by its name or by its release (`4.3-IV0`, `4.3`, `4.3.1`).
///
/// # Errors
/// The original's text.
pub fn level_of(version: &str) -> Result<i16, String> {
    let mut segments = version.split('.');
    let key = match (segments.next(), segments.next(), segments.next()) {
        (Some(major), Some(minor), Some(_)) => format!("{major}.{minor}"),
        _ => version.to_owned(),
    };
    let levels = METADATA_VERSIONS.iter().zip(FIRST_LEVEL..);
    let exact = levels.clone().find(|(name, _)| **name == key);
    let of_release = levels
        .filter(|(name, level)| *level <= LATEST_PRODUCTION && name.split('-').next() == Some(&key))
        .last();
    match exact.or(of_release) {
        Some((_, level)) => Ok(level),
        None => Err(format!(
            "Unknown metadata.version '{version}'. Supported metadata.version are: {}",
            METADATA_VERSIONS.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_by_name_and_release() {
        assert_eq!(level_of("3.9"), Ok(21));
        assert_eq!(level_of("4.3.1"), Ok(30));
        assert_eq!(level_of("4.0-IV1"), Ok(23));
        assert_eq!(level_of("3.7"), Ok(19));
        assert_eq!(level_of("4.4-IV0"), Ok(31));
        // A draft has no release yet.
        assert!(level_of("4.4").is_err_and(|e| e.starts_with("Unknown metadata.version '4.4'. Supported")));
        assert_eq!(version_name(LATEST_PRODUCTION), Some("4.3-IV0"));
        assert_eq!((version_name(6), version_name(32)), (None, None));
    }

    #[test]
    fn levels_go_with_versions() {
        let levels = |version| FEATURES.iter().map(|f| f.default_level(version)).collect::<Vec<_>>();
        assert_eq!(levels(30), [1, 2, 1, 1, 1, 1]);
        assert_eq!(levels(21), [1, 0, 0, 0, 0, 0]);
        assert_eq!(FEATURES.iter().map(|f| f.needs(3)).collect::<Vec<_>>(), [None; 6]);
    }
}
