//! What tests and benchmarks share.
//!
//! Duty: real nodes as child processes ([`node`]), a bare MQTT client ([`mqtt_client`]), and the history checker
//! ([`history`]) that holds a node to its promises after kills.
//!
//! Main types: [`node::Node`], [`mqtt_client::MqttClient`], [`history::Recorder`], [`history::check_log`],
//! [`history::check_mqtt`].
//!
//! Not its duty: anything that ships.
//!
//! ```
//! let recorder = testkit::history::Recorder::default();
//! let report = testkit::history::check_log(&recorder.history(), &[]);
//! assert!(report.is_valid());
//! ```

pub mod history;
pub mod mqtt_client;
pub mod node;
