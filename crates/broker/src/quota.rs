//! Client quotas at work: rates are measured, and who exceeds one is told for how long its connection is not read
//! (KIP-13, KIP-124, KIP-219, KIP-546, KIP-599, KIP-612).

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use meta::config::BrokerProperties;
use meta::quota::{self, QuotaScope};
use parking_lot::Mutex;

use crate::context::ListenerInfo;
use crate::metadata::State;
use crate::security::ListenerValues;

/// Most rates that are remembered; those not used for longest go first.
const RATES_MAX: usize = 10_000;

/// Windows over which rates are measured.
#[derive(Clone, Copy, Debug)]
struct Windows {
    number: usize,
    size_ms: i64,
}

impl Windows {
    fn new(properties: &BrokerProperties, prefix: &str) -> Self {
        let number = properties.long(&format!("{prefix}quota.window.num"));
        let seconds = properties.long(&format!("{prefix}quota.window.size.seconds"));
        Self {
            number: usize::try_from(number).unwrap_or(11).clamp(1, 10_000),
            size_ms: seconds.clamp(1, 86_400) * 1000,
        }
    }
}

/// A rate over the last windows, as Kafka's `Rate` measures it.
#[derive(Debug)]
struct Rate {
    /// Start and sum of each window, the newest last.
    samples: std::collections::VecDeque<(i64, f64)>,
    used_ms: i64,
}

impl Rate {
    fn new(now_ms: i64) -> Self {
        Self { samples: std::collections::VecDeque::new(), used_ms: now_ms }
    }

    fn record(&mut self, windows: Windows, amount: f64, now_ms: i64) {
        self.used_ms = now_ms;
        let in_last = self.samples.back().is_some_and(|(start, _)| now_ms - start < windows.size_ms);
        if !in_last {
            self.samples.push_back((now_ms, 0.0));
        }
        if let Some((_, sum)) = self.samples.back_mut() {
            *sum += amount;
        }
        self.purge(windows, now_ms);
    }

    fn purge(&mut self, windows: Windows, now_ms: i64) {
        let oldest =
            now_ms - windows.size_ms * i64::try_from(windows.number).unwrap_or(i64::MAX / 100_000_000);
        while self.samples.len() > windows.number
            || self.samples.front().is_some_and(|(start, _)| *start < oldest)
        {
            self.samples.pop_front();
        }
    }

    /// The time that the rate is about: all windows but the last count whole, even when nothing was recorded in them.
    fn elapsed_ms(&self, windows: Windows, now_ms: i64) -> i64 {
        let oldest = self.samples.front().map_or(now_ms, |(start, _)| *start);
        let elapsed = now_ms - oldest;
        let whole = elapsed / windows.size_ms;
        let least = i64::try_from(windows.number).unwrap_or(i64::MAX) - 1;
        if whole < least { elapsed + (least - whole) * windows.size_ms } else { elapsed }
    }

    /// How long to wait until the rate is down to `limit` a second.
    // Milliseconds of a few windows and sums of bytes: far from where doubles lose whole numbers.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn throttle_ms(&mut self, windows: Windows, limit: f64, now_ms: i64) -> i64 {
        self.purge(windows, now_ms);
        let window = self.elapsed_ms(windows, now_ms).max(windows.size_ms) as f64;
        let sum: f64 = self.samples.iter().map(|(_, sum)| sum).sum();
        let rate = sum * 1000.0 / window;
        if limit <= 0.0 || rate <= limit {
            return 0;
        }
        ((rate - limit) / limit * window).round().min(1e12) as i64
    }
}

/// Tokens that partitions' creations and deletions take (KIP-599); may go below zero once.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_ms: i64,
    used_ms: i64,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    what: &'static str,
    user: Option<String>,
    client_id: Option<String>,
}

#[derive(Debug, Default)]
struct Measured {
    rates: HashMap<Key, Rate>,
    buckets: HashMap<Key, Bucket>,
    connections: HashMap<Connecting, Rate>,
}

/// Measures all clients.
#[derive(Debug)]
pub(crate) struct QuotaManager {
    windows: Windows,
    controller_windows: Windows,
    measured: Mutex<Measured>,
}

/// Whose quota is asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    /// The principal's name, without its type.
    pub(crate) user: &'a str,
    pub(crate) client_id: &'a str,
}

impl Client<'_> {
    fn key(&self, what: &'static str, scope: QuotaScope) -> Key {
        Key {
            what,
            user: scope.user.then(|| self.user.to_owned()),
            client_id: scope.client_id.then(|| self.client_id.to_owned()),
        }
    }
}

impl QuotaManager {
    pub(crate) fn new(properties: &BrokerProperties) -> Self {
        Self {
            windows: Windows::new(properties, ""),
            controller_windows: Windows::new(properties, "controller."),
            measured: Mutex::default(),
        }
    }

    /// Counts `amount` against one of the client's byte or time quotas; answers for how long it is to wait.
    pub(crate) fn record(
        &self,
        state: &State,
        client: Client<'_>,
        what: &'static str,
        amount: f64,
        now_ms: i64,
    ) -> i64 {
        let Some((limit, scope)) = quota::effective(&state.image.quotas, client.user, client.client_id, what)
        else {
            return 0;
        };
        let mut measured = self.measured.lock();
        trim(&mut measured.rates, |rate| rate.used_ms);
        let rate = measured.rates.entry(client.key(what, scope)).or_insert_with(|| Rate::new(now_ms));
        rate.record(self.windows, amount, now_ms);
        let throttle = rate.throttle_ms(self.windows, limit, now_ms);
        if what == quota::REQUEST_PERCENTAGE {
            // A request's time never holds a client for longer than one window.
            return throttle.min(self.windows.size_ms);
        }
        throttle
    }

    /// Takes `partitions` tokens for creating or deleting. Answers for how long the client is to wait; when it already
    /// has to and the request can be told so (`strict`), nothing is taken and the request is to be refused.
    ///
    /// # Errors
    /// The time to wait before the request may be sent again.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    pub(crate) fn mutate(
        &self,
        state: &State,
        client: Client<'_>,
        partitions: f64,
        strict: bool,
        now_ms: i64,
    ) -> Result<i64, i64> {
        let what = quota::CONTROLLER_MUTATION_RATE;
        let Some((limit, scope)) = quota::effective(&state.image.quotas, client.user, client.client_id, what)
        else {
            return Ok(0);
        };
        let windows = self.controller_windows;
        let burst = limit * windows.number as f64 * windows.size_ms as f64 / 1000.0;
        let mut measured = self.measured.lock();
        trim(&mut measured.buckets, |bucket| bucket.used_ms);
        let bucket = measured.buckets.entry(client.key(what, scope)).or_insert(Bucket {
            tokens: burst,
            filled_ms: now_ms,
            used_ms: now_ms,
        });
        let passed = (now_ms - bucket.filled_ms).max(0) as f64 / 1000.0;
        bucket.tokens = (bucket.tokens + passed * limit).min(burst);
        bucket.filled_ms = now_ms;
        bucket.used_ms = now_ms;
        let wait = |tokens: f64| if tokens >= 0.0 { 0 } else { (-tokens / limit * 1000.0).round() as i64 };
        if strict && bucket.tokens < 0.0 {
            return Err(wait(bucket.tokens).max(1));
        }
        bucket.tokens -= partitions;
        Ok(wait(bucket.tokens))
    }

    /// Counts a new connection of an address to a listener; answers for how long it is not served.
    pub(crate) fn connected(
        &self,
        state: &State,
        ip: IpAddr,
        listener: &ListenerInfo,
        now_ms: i64,
    ) -> Duration {
        const RATE: &str = "max.connection.creation.rate";
        let of_ip = quota::connection_rate(&state.image.quotas, &ip.to_string());
        let of_listener = ListenerValues::of(&listener.name, &state.properties).own(RATE);
        let all = state.properties.long(RATE);
        let mut measured = self.measured.lock();
        trim(&mut measured.connections, |rate| rate.used_ms);
        let windows = self.windows;
        let mut count = |key: Connecting, limit: f64| {
            let rate = measured.connections.entry(key).or_insert_with(|| Rate::new(now_ms));
            rate.record(windows, 1.0, now_ms);
            rate.throttle_ms(windows, limit, now_ms)
        };
        let mut wait = 0;
        if let Some(limit) = of_ip {
            wait = count(Connecting::From(ip), limit);
        }
        let of_listener = of_listener
            .and_then(|text| text.parse().ok())
            .map(|limit| (Connecting::To(listener.index), limit));
        let all = i32::try_from(all).ok().map(|limit| (Connecting::Anyhow, limit));
        for (key, limit) in of_listener.into_iter().chain(all).filter(|(_, limit)| *limit < i32::MAX) {
            wait = wait.max(count(key, f64::from(limit)));
        }
        // Kafka never holds a connection for longer than one window.
        Duration::from_millis(u64::try_from(wait.min(windows.size_ms)).unwrap_or(0))
    }
}

/// Whose connections are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Connecting {
    /// All.
    Anyhow,
    /// Those of an address.
    From(IpAddr),
    /// Those to a listener.
    To(usize),
}

/// Forgets the half that was not used for longest when there are too many.
fn trim<K: Clone + Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, used_ms: impl Fn(&V) -> i64) {
    if map.len() < RATES_MAX {
        return;
    }
    let mut times: Vec<i64> = map.values().map(&used_ms).collect();
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or(0);
    map.retain(|_, value| used_ms(value) > middle);
}

/// Until when a connection is not read.
#[derive(Debug, Default)]
pub(crate) struct Mute(Mutex<Option<tokio::time::Instant>>);

impl Mute {
    /// Holds the connection for some time from now.
    pub(crate) fn hold(&self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        let mut held = self.0.lock();
        *held = Some(held.map_or(until, |other| other.max(until)));
    }

    /// Until when the connection is held, if it is.
    pub(crate) fn until(&self) -> Option<tokio::time::Instant> {
        let mut held = self.0.lock();
        if held.is_some_and(|until| until <= tokio::time::Instant::now()) {
            *held = None;
        }
        *held
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use meta::quota::{QuotaEntity, QuotaEntityType, Quotas};

    use super::*;

    fn state(what: &str, value: f64) -> State {
        let mut image = meta::Image::default();
        let entity = QuotaEntity::from([(QuotaEntityType::User, Some("u".to_owned()))]);
        image.quotas = Arc::new(BTreeMap::from([(entity, Quotas::from([(what.to_owned(), value)]))]));
        State { image, properties: BrokerProperties::default() }
    }

    const U: Client<'static> = Client { user: "u", client_id: "c" };

    #[test]
    fn who_exceeds_a_rate_waits_until_it_is_down_again() {
        let quotas = QuotaManager::new(&BrokerProperties::default());
        let state = state(quota::PRODUCER_BYTE_RATE, 1000.0);
        let record = |bytes: f64, now| quotas.record(&state, U, quota::PRODUCER_BYTE_RATE, bytes, now);
        // Eleven windows of a second: ten thousand bytes are what the first ten may carry.
        assert_eq!(record(10_000.0, 0), 0);
        assert_eq!(record(5_000.0, 0), 5_000);
        let other = Client { user: "v", client_id: "c" };
        assert_eq!(quotas.record(&state, other, quota::PRODUCER_BYTE_RATE, 1e9, 0), 0);
        // Twelve seconds later nothing of it is left in the windows.
        assert_eq!(record(1.0, 12_000), 0);
    }

    #[test]
    fn mutations_may_overdraw_once() {
        let quotas = QuotaManager::new(&BrokerProperties::default());
        let state = state(quota::CONTROLLER_MUTATION_RATE, 1.0);
        let mutate = |n: f64, now| quotas.mutate(&state, U, n, true, now);
        assert_eq!(mutate(11.0, 0), Ok(0));
        assert_eq!(mutate(5.0, 0), Ok(5_000));
        assert_eq!(mutate(1.0, 0), Err(5_000));
        assert_eq!(mutate(1.0, 5_000), Ok(1_000));
        assert_eq!(quotas.mutate(&state, U, 1.0, false, 5_000), Ok(2_000), "older clients only wait");
    }

    #[test]
    fn connections_of_an_address_wait() {
        let quotas = QuotaManager::new(&BrokerProperties::default());
        let mut state = state(quota::PRODUCER_BYTE_RATE, 1.0);
        let entity = QuotaEntity::from([(QuotaEntityType::Ip, None)]);
        let rate = Quotas::from([(quota::CONNECTION_CREATION_RATE.to_owned(), 1.0)]);
        Arc::make_mut(&mut state.image.quotas).insert(entity, rate);
        let ip = IpAddr::from([192, 0, 2, 1]);
        let listener = ListenerInfo {
            index: 0,
            name: "EXTERNAL".into(),
            security: crate::security::ListenerSecurity::default(),
        };
        for _ in 0..10 {
            assert_eq!(quotas.connected(&state, ip, &listener, 0), Duration::ZERO);
        }
        assert_eq!(quotas.connected(&state, ip, &listener, 0), Duration::from_secs(1));
        assert_eq!(quotas.connected(&state, IpAddr::from([192, 0, 2, 2]), &listener, 0), Duration::ZERO);
        // A listener may have a rate of its own.
        let rate = "listener.name.external.max.connection.creation.rate".to_owned();
        state.properties.fixed.insert(rate, "1".into());
        let third = IpAddr::from([192, 0, 2, 3]);
        for _ in 0..10 {
            quotas.connected(&state, third, &listener, 0);
        }
        assert_eq!(quotas.connected(&state, third, &listener, 0), Duration::from_secs(1));
        let other = ListenerInfo { index: 1, name: "INTERNAL".into(), ..listener };
        assert_eq!(quotas.connected(&state, IpAddr::from([192, 0, 2, 4]), &other, 0), Duration::ZERO);
    }
}
