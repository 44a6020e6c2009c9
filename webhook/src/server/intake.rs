//! Taking in bodies without being filled up by them. Anyone who reaches the port may send, so what all requests
//! hold together is bounded. What has not arrived does not count: a sender that only promises much takes nothing.

use axum::body::{Body, HttpBody};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The largest body, in bytes. A request to the API server may have 3 MiB, and a review holds the object twice.
const LARGEST: usize = 8 << 20;
/// The most that all bodies hold together, in bytes; with what reading one of them takes, it stays well inside the
/// container's memory limit.
const TOGETHER: usize = 16 << 20;
/// What any request counts at least, in bytes, so that small ones are bounded as well.
const LEAST: usize = 4 << 10;

/// Admits bodies.
#[derive(Debug)]
pub(super) struct Intake {
    bytes: Semaphore,
}

/// A body, counted for as long as it is kept.
#[derive(Debug)]
pub(super) struct Taken<'a> {
    bytes: Vec<u8>,
    _counted: SemaphorePermit<'a>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("the body is larger than {0} bytes")]
    TooLarge(usize),
    #[error("too many requests at once; try again")]
    Busy,
    #[error("reading the body: {0}")]
    Broken(#[source] axum::Error),
}

impl Default for Intake {
    fn default() -> Self {
        Self { bytes: Semaphore::new(TOGETHER) }
    }
}

impl Intake {
    /// Reads a body to its end. Never waits for others' bodies: when there is no room, the caller may try again.
    pub(super) async fn read(&self, mut body: Body) -> Result<Taken<'_>, Error> {
        let mut counted = self.count(LEAST)?;
        // Room for what is announced costs nothing until it is filled; growing step by step would take twice as much.
        let announced = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok());
        let mut bytes = Vec::with_capacity(announced.unwrap_or_default().min(LARGEST));
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(Error::Broken)?.into_data() else { continue };
            if bytes.len() + data.len() > LARGEST {
                return Err(Error::TooLarge(LARGEST));
            }
            counted.merge(self.count(data.len())?);
            bytes.extend_from_slice(&data);
        }
        Ok(Taken { bytes, _counted: counted })
    }

    fn count(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Error> {
        let bytes = u32::try_from(bytes).map_err(|_| Error::TooLarge(LARGEST))?;
        self.bytes.try_acquire_many(bytes).map_err(|_| Error::Busy)
    }
}

impl AsRef<[u8]> for Taken<'_> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::{StreamExt, stream};
    use std::convert::Infallible;

    fn endless() -> Body {
        Body::from_stream(stream::repeat_with(|| Ok::<_, Infallible>(vec![b' '; 1 << 16])))
    }

    #[tokio::test]
    async fn a_body_without_end_is_cut_off() {
        let intake = Intake::default();
        assert!(matches!(intake.read(endless()).await, Err(Error::TooLarge(LARGEST))));
        assert_eq!(intake.bytes.available_permits(), TOGETHER, "everything is given back");
    }

    #[tokio::test]
    async fn what_is_kept_counts_and_what_is_only_promised_does_not() {
        let intake = Intake::default();
        let kept = intake.read(Body::from(vec![b' '; LARGEST - 2 * LEAST])).await.unwrap();
        let also = intake.read(Body::from(vec![b' '; LARGEST / 2])).await.unwrap();
        assert!(matches!(intake.read(Body::from(vec![b' '; LARGEST])).await, Err(Error::Busy)));
        // A sender that stops in the middle.
        let silent = Body::from_stream(
            stream::once(async { Ok::<_, Infallible>(vec![b' '; 8]) }).chain(stream::pending()),
        );
        let mut waiting = Box::pin(intake.read(silent));
        assert!(futures::poll!(&mut waiting).is_pending());
        intake.read(Body::from(vec![b' '; LARGEST / 4])).await.unwrap();
        drop((kept, also));
        intake.read(Body::from(vec![b' '; LARGEST])).await.unwrap();
    }
}
