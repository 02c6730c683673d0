//! Messages that Kafka will not take, and records that the MQTT broker will not take.

use std::sync::Arc;

use client::{Admin, Producer, ProducerRecord};
use mqtt_codec::Publish;

use crate::kafka::{TopicState, create_topic, pause, topic_state};
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

    /// Where the dead letters of messages for `topic` go.
    pub(crate) fn topic(&self, topic: &str) -> Arc<str> {
        self.topic.clone().unwrap_or_else(|| format!("{topic}.dead-letter").into())
    }

    /// The records that keep a message.
    pub(crate) fn records(&self, message: &Publish, topic: &str, error: &str) -> Vec<ProducerRecord> {
        self.to.letters(message, &self.topic(topic), topic, error)
    }
}

/// Makes the topic of dead letters when it is not there. Where that fails, the write will fail as well, or it is there.
pub(crate) async fn prepare(admin: &Admin, topic: &str) {
    if topic_state(admin, topic).await == TopicState::Missing
        && let Err(error) = create_topic(admin, topic, &[]).await
    {
        tracing::error!(topic, %error, "the dead-letter topic cannot be created");
    }
}

/// Writes dead letters and waits for them, as long as it takes: a message that nobody has kept is not acknowledged.
pub(crate) async fn write(producer: Producer, admin: Admin, letters: Vec<ProducerRecord>) {
    let topic = letters.first().map_or("", |l| &*l.topic);
    let mut failures = 0;
    loop {
        prepare(&admin, topic).await;
        let Err(error) = attempt(&producer, &letters).await else { return };
        tracing::error!(topic, %error, "a dead letter cannot be written: its message is not acknowledged");
        tokio::time::sleep(pause(failures)).await;
        failures += 1;
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
