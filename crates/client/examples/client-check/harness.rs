//! Runs checks one after the other and counts.

use std::cell::Cell;
use std::future::Future;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use client::{Admin, AdminConfig};

/// What a check answers; the error says what was expected.
pub type Outcome = Result<(), Box<dyn std::error::Error>>;

/// No check may take longer.
const LIMIT: Duration = Duration::from_secs(60);

/// The run.
pub struct Checks {
    /// `host:port`.
    pub bootstrap: String,
    only: Vec<String>,
    stamp: u128,
    passed: Cell<u32>,
    failed: Cell<u32>,
}

impl Checks {
    pub fn new(bootstrap: String, only: Vec<String>) -> Self {
        let stamp = SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis());
        Self { bootstrap, only, stamp, passed: Cell::new(0), failed: Cell::new(0) }
    }

    /// Runs one check with a name of its own to build topic and group names from.
    pub async fn check<F, Fut>(&self, name: &str, check: F)
    where
        F: FnOnce(String) -> Fut,
        Fut: Future<Output = Outcome>,
    {
        if !self.only.is_empty() && !self.only.iter().any(|word| name.contains(word.as_str())) {
            return;
        }
        let started = Instant::now();
        let unique = format!("cc-{}-{}", name.replace(|c: char| !c.is_ascii_alphanumeric(), "-"), self.stamp);
        let outcome = match tokio::time::timeout(LIMIT, Box::pin(check(unique))).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("not done after {} s", LIMIT.as_secs()).into()),
        };
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                self.passed.set(self.passed.get() + 1);
                println!("ok   {name} ({seconds:.2} s)");
            }
            Err(error) => {
                self.failed.set(self.failed.get() + 1);
                println!("FAIL {name} ({seconds:.2} s): {error}");
            }
        }
    }

    pub fn admin(&self) -> Result<Admin, client::Error> {
        Admin::new(AdminConfig::new(&self.bootstrap)?)
    }

    /// Properties with the bootstrap servers and these.
    pub fn properties(&self, pairs: &[(&str, &str)]) -> client::config::Properties {
        let bootstrap = [("bootstrap.servers", self.bootstrap.as_str())];
        bootstrap.iter().chain(pairs).map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    pub fn finish(&self) -> ExitCode {
        println!("{} passed, {} failed", self.passed.get(), self.failed.get());
        ExitCode::from(u8::from(self.failed.get() > 0))
    }
}

/// Fails a check with both values.
#[macro_export]
macro_rules! expect_eq {
    ($left:expr, $right:expr $(, $($what:tt)*)?) => {{
        let (left, right) = (&$left, &$right);
        if left != right {
            #[allow(unused_mut, unused_assignments)]
            let mut what = String::new();
            $(what = format!($($what)*);)?
            return Err(format!("{}:{} {what}: {left:?} is not {right:?}", file!(), line!()).into());
        }
    }};
}

/// Fails a check that does not hold.
#[macro_export]
macro_rules! expect {
    ($holds:expr, $($what:tt)*) => {
        if !$holds {
            return Err(format!("{}:{} {}", file!(), line!(), format!($($what)*)).into());
        }
    };
}
