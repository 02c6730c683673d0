//! Messages that Kafka will not take, and records that the MQTT broker will not take.

use std::sync::Arc;

use client::{Admin, Producer, ProducerRecord};
use mqtt_codec::Publish;

use crate::kafka::{create_topic, pause};
use crate::record::ToRecord;

/// Where dead letters of a route go.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetters {
    /// `None`: `<topic>.dead-letter`.
    topic: Option<Arc<str>>,
    to: ToRecord,
}

impl DeadLetters {
    pub(crate) fn new(topic: Option<&str>, to: ToRecord) -> Self {
        Self { topic: topic.map(Arc::from), to }
    }

    /// The records that keep a message.
    pub(crate) fn records(&self, message: &Publish, topic: &str, error: &str) -> Vec<ProducerRecord> {
        let to = self.topic.clone().unwrap_or_else(|| format!("{topic}.dead-letter").into());
        self.to.letters(message, &to, topic, error)
    }
}

/// Writes dead letters and waits for them, as long as it takes: a message that nobody has kept is not acknowledged.
pub(crate) async fn write(producer: Producer, admin: Admin, letters: Vec<ProducerRecord>) {
    let mut failures = 0;
    while let Err(error) = attempt(&producer, &letters).await {
        let topic = letters.first().map_or("", |l| &*l.topic);
        tracing::error!(topic, %error, "a dead letter cannot be written: its message is not acknowledged");
        tokio::time::sleep(pause(failures)).await;
        failures += 1;
        if let Err(error) = create_topic(&admin, topic, &[]).await {
            tracing::error!(topic, %error, "the dead-letter topic cannot be created");
        }
    }
}

async fn attempt(producer: &Producer, letters: &[ProducerRecord]) -> Result<(), client::Error> {
    let mut deliveries = Vec::with_capacity(letters.len());
    for letter in letters {
        deliveries.push(producer.send(letter.clone()).await?);
    }
    for delivery in deliveries {
        delivery.await?;
    }
    Ok(())
}
