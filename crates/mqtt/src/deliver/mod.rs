//! From the log to the subscribers: one tail per followed partition, one bounded queue per consumer, and a
//! cursor for whoever falls behind.

mod consumer;
mod hub;
mod partition;
mod pump;
mod tail;

pub(crate) use consumer::{Consumer, Delivery, QueueLimits};
pub(crate) use hub::Hub;
pub(crate) use partition::Partition;
