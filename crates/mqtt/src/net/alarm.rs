//! A connection's one timer. Its deadline moves with every packet, so the timer itself is only set anew when it
//! would go off too late, or has gone off too early.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::Sleep;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Waits until `deadline`; for ever without one.
    pub(super) async fn at(&mut self, deadline: Option<Instant>) {
        poll_fn(|cx| self.poll_at(cx, deadline)).await;
    }

    fn poll_at(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline.map(tokio::time::Instant::from) else { return Poll::Pending };
        let sleep = self.0.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::Duration;

    #[tokio::test]
    async fn goes_off_at_the_deadline_of_the_moment_earlier_or_later_than_the_one_before() {
        let now = Instant::now();
        let far = now.checked_add(Duration::from_secs(3600));
        let mut alarm = Alarm::default();
        assert!(alarm.at(None).now_or_never().is_none());
        assert!(alarm.at(far).now_or_never().is_none());
        alarm.at(Some(now)).await;
        assert!(alarm.at(far).now_or_never().is_none(), "set to a moment that is over");
        assert!(alarm.at(None).now_or_never().is_none());
        alarm.at(Some(now)).await;
    }
}
