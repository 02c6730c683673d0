//! A bare broker for trying things out: `broker [KEY=VALUE]…` with the keys of `server.properties`.
//!
//! Prints one line for each listener and `ready`, and stops at Ctrl-C.

use std::error::Error;

use tracing_subscriber::EnvFilter;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let given = std::env::args().skip(1).filter_map(|argument| {
        argument.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned()))
    });
    let (config, notes) = broker::BrokerConfig::from_properties(given)?;
    for note in notes {
        tracing::warn!("{}: {}", note.key, note.message);
    }
    let handle = broker::Broker::start(config).await?;
    for listener in handle.listeners() {
        println!("{} {}", listener.name, listener.address);
    }
    println!("ready");
    tokio::signal::ctrl_c().await?;
    handle.shutdown().await;
    Ok(())
}
