//! From the log to the subscribers: one tail per followed partition, one bounded queue per consumer, and a
//! cursor for whoever falls behind.

mod consumer;
mod followed;
mod hub;
mod partition;
mod pump;
mod ready;
mod share;
mod tail;

pub(crate) use consumer::{Consumer, Cursor, Delivery, QueueLimits};
pub(crate) use hub::Hub;
pub(crate) use partition::Partition;
pub(crate) use share::ShareGroup;
