//! What tests and benchmarks share: a bare MQTT client. Grows a node harness and the history checker.
pub mod mqtt_client;
pub mod node;
