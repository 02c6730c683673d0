//! What a connection has begun and not yet answered, in the order in which it has to be answered.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;

use super::Step;

/// Only the first one is polled: none of them needs that to make progress, and the others could not be answered
/// before it.
#[derive(Default)]
pub(crate) struct UnderWay(VecDeque<BoxFuture<'static, Step>>);

impl UnderWay {
    pub(super) fn push(&mut self, step: BoxFuture<'static, Step>) {
        self.0.push_back(step);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the first one; `None` when there is none.
    pub(super) async fn next(&mut self) -> Option<Step> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Step>> {
        let Some(first) = self.0.front_mut() else { return Poll::Ready(None) };
        let step = std::task::ready!(first.as_mut().poll(cx));
        self.0.pop_front();
        Poll::Ready(Some(step))
    }
}
