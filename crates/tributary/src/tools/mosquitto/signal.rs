//! SIGINT, SIGTERM and the time given with `-W`.

use tokio::time::{Duration, Instant};

/// What ends `mosquitto_sub` and `mosquitto_rr` from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// SIGINT or SIGTERM, Ctrl-C.
    Signal,
    /// The time is over.
    Timeout,
}

/// Waits for signals and for the end of the time.
#[derive(Debug)]
pub struct Interrupts {
    #[cfg(unix)]
    signals: Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>,
    deadline: Option<Instant>,
}

impl Interrupts {
    /// Listens from now on. Without `signals` these keep their usual effect.
    ///
    /// # Errors
    /// When the operating system does not let us.
    pub fn listen(signals: bool, timeout_s: Option<u32>) -> std::io::Result<Self> {
        let deadline = timeout_s.map(|s| Instant::now() + Duration::from_secs(s.into()));
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let signals = if signals {
                Some((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
            } else {
                None
            };
            Ok(Self { signals, deadline })
        }
        #[cfg(not(unix))]
        {
            let _ = signals;
            Ok(Self { deadline })
        }
    }

    /// The next interruption. A timeout comes once.
    pub async fn next(&mut self) -> Interrupt {
        let deadline = self.deadline;
        let timeout = async move {
            match deadline {
                Some(moment) => tokio::time::sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        let interrupt = tokio::select! {
            () = timeout => Interrupt::Timeout,
            () = self.signal() => Interrupt::Signal,
        };
        if interrupt == Interrupt::Timeout {
            self.deadline = None;
        }
        interrupt
    }

    #[cfg(unix)]
    async fn signal(&mut self) {
        match &mut self.signals {
            Some((interrupt, terminate)) => {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
            }
            None => std::future::pending().await,
        }
    }

    #[cfg(not(unix))]
    async fn signal(&mut self) {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
