//! One alarm per client id: for its delayed will and the end of its session.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

/// Alarms by time. Setting one for a client id replaces the one it had.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    alarms: Mutex<Alarms>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Alarms {
    by_time: BTreeSet<(Instant, Bytes)>,
    by_client: HashMap<Bytes, Instant>,
}

impl Timers {
    /// Sets, moves or (with `None`) removes the alarm of a client id.
    pub(crate) fn set(&self, client_id: &Bytes, at: Option<Instant>) {
        let alarms = &mut *self.alarms.lock();
        if let Some(old) = alarms.by_client.remove(client_id) {
            alarms.by_time.remove(&(old, client_id.clone()));
        }
        let Some(at) = at else { return };
        let first = alarms.by_time.first().is_none_or(|(t, _)| at < *t);
        alarms.by_time.insert((at, client_id.clone()));
        alarms.by_client.insert(client_id.clone(), at);
        if first {
            self.changed.notify_one();
        }
    }

    /// Waits for the next alarm and takes it.
    pub(crate) async fn next(&self) -> Bytes {
        loop {
            let first = self.alarms.lock().by_time.first().map(|(t, _)| *t);
            match first {
                None => self.changed.notified().await,
                Some(at) => {
                    tokio::select! {
                        () = self.changed.notified() => {}
                        () = tokio::time::sleep_until(at.into()) => {
                            if let Some(due) = self.take_due(Instant::now()) {
                                return due;
                            }
                        }
                    }
                }
            }
        }
    }

    fn take_due(&self, now: Instant) -> Option<Bytes> {
        let alarms = &mut *self.alarms.lock();
        let (at, _) = alarms.by_time.first()?;
        if *at > now {
            return None;
        }
        let (_, client_id) = alarms.by_time.pop_first()?;
        alarms.by_client.remove(&client_id);
        Some(client_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_alarm_per_client_in_order_of_time() {
        let t = Timers::default();
        let now = Instant::now();
        let at = |s| Some(now + Duration::from_secs(s));
        t.set(&"a".into(), at(3));
        t.set(&"b".into(), at(2));
        t.set(&"a".into(), at(1));
        t.set(&"c".into(), at(1));
        t.set(&"c".into(), None);
        let later = now + Duration::from_secs(9);
        assert_eq!(t.take_due(now), None);
        assert_eq!(t.take_due(later).as_deref(), Some(&b"a"[..]));
        assert_eq!(t.take_due(later).as_deref(), Some(&b"b"[..]));
        assert_eq!(t.take_due(later), None);
    }
}
