use std::io;
use std::path::PathBuf;

/// Why the broker could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// A listener's address could not be bound.
    #[error("listener {name} cannot listen on {address}")]
    Bind {
        /// Listener name, `PLAINTEXT` and the like.
        name: String,
        /// `host:port` as configured.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error("data directory {}", path.display())]
    DataDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The logs could not be opened.
    #[error(transparent)]
    Log(#[from] log::LogError),
    /// The cluster state could not be read or written.
    #[error(transparent)]
    Meta(#[from] meta::MetaError),
    /// The settings contradict what stands in the data directory.
    #[error("{0}")]
    Config(String),
}
