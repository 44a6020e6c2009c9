//! A client that does not ask for more than its share of a server that others use, too.

use super::bucket::Bucket;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Layer, Service};

/// Requests take their tokens from a [`Bucket`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Tokens that the bucket holds.
    pub(super) burst: u32,
    /// How long a new token takes.
    pub(super) every: Duration,
}

/// See [`Pace`].
#[derive(Debug)]
pub(super) struct Paced<S> {
    inner: S,
    bucket: Bucket,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> Layer<S> for Pace {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced { inner, bucket: Bucket::new(self.burst, self.every), waiting: None }
    }
}

impl<S, R> Service<R> for Paced<S>
where
    S: Service<R>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let due = self.bucket.due();
        if Instant::now() < due {
            let waiting = self.waiting.get_or_insert_with(|| Box::pin(sleep_until(due)));
            ready!(waiting.as_mut().poll(context));
        }
        self.waiting = None;
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.bucket.take();
        self.inner.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tower::{ServiceExt, service_fn};

    #[tokio::test(start_paused = true)]
    async fn a_burst_goes_at_once_and_the_rest_at_the_pace() {
        let pace = Pace { burst: 3, every: Duration::from_millis(100) };
        let mut service = pace.layer(service_fn(|()| async { Ok::<_, Infallible>(()) }));
        let start = Instant::now();
        let mut times = Vec::new();
        for _ in 0..6 {
            service.ready().await.unwrap().call(()).await.unwrap();
            times.push(start.elapsed().as_millis() / 100);
        }
        assert_eq!(times, [0, 0, 0, 1, 2, 3]);
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        for _ in 0..3 {
            service.ready().await.unwrap().call(()).await.unwrap();
        }
        assert_eq!(start.elapsed(), Duration::ZERO, "the bucket is full again, and not fuller");
        service.ready().await.unwrap().call(()).await.unwrap();
        assert!(start.elapsed() >= Duration::from_millis(100));
    }
}
