//! Joining two byte streams.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio_util::sync::CancellationToken;

/// After one side has said its last word, the other may go on; this long without a byte from it ends both. A peer
/// that has gone without a word would hold its place for ever otherwise.
pub(super) const LINGER: Duration = Duration::from_secs(10);
/// One buffer per direction, as long as the stream lives.
const BUFFER: usize = 8 * 1024;

/// How many bytes went which way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Carried {
    /// From the caller to the host.
    pub to_host: u64,
    /// From the host to the caller.
    pub to_caller: u64,
}

/// Copies between `caller` and `host` until both have ended, one has broken, or `cut`. What was read is written
/// before anything is closed, and the end of one direction is passed on as such.
pub(super) async fn splice<C, H>(
    caller: C,
    host: H,
    linger: Duration,
    cut: &CancellationToken,
) -> (Carried, io::Result<()>)
where
    C: AsyncRead + AsyncWrite,
    H: AsyncRead + AsyncWrite,
{
    let (from_caller, to_caller) = split(caller);
    let (from_host, to_host) = split(host);
    let (up, down) = (AtomicU64::new(0), AtomicU64::new(0));
    let join = async {
        let upward = std::pin::pin!(pump(from_caller, to_host, &up));
        let downward = std::pin::pin!(pump(from_host, to_caller, &down));
        let mut upward = upward;
        let mut downward = downward;
        tokio::select! {
            ended = &mut upward => {
                ended?;
                rest(downward, &down, linger).await
            }
            ended = &mut downward => {
                ended?;
                rest(upward, &up, linger).await
            }
        }
    };
    let ended = tokio::select! {
        ended = join => ended,
        () = cut.cancelled() => Err(io::Error::new(io::ErrorKind::ConnectionAborted, "shutting down")),
    };
    let carried = Carried { to_host: up.load(Ordering::Relaxed), to_caller: down.load(Ordering::Relaxed) };
    (carried, ended)
}

/// Copies until `from` ends, then ends `to`.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let read = match from.read(&mut buffer).await {
            Ok(0) => return to.shutdown().await,
            Ok(read) => read,
            Err(error) => {
                // The other end deserves to learn that this was the last of it.
                let _ = to.shutdown().await;
                return Err(error);
            }
        };
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        count.fetch_add(read as u64, Ordering::Relaxed);
    }
}

/// Goes on with the direction that is left while it carries something.
async fn rest(
    mut left: std::pin::Pin<&mut impl Future<Output = io::Result<()>>>,
    count: &AtomicU64,
    linger: Duration,
) -> io::Result<()> {
    loop {
        let before = count.load(Ordering::Relaxed);
        match tokio::time::timeout(linger, &mut left).await {
            Ok(ended) => return ended,
            Err(_) if count.load(Ordering::Relaxed) == before => return Ok(()),
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};
    use tokio::task::JoinHandle;

    type Ended = JoinHandle<(Carried, io::Result<()>)>;

    /// The caller's end, the host's end, and the splice between them.
    fn spliced(cut: &CancellationToken) -> (DuplexStream, DuplexStream, Ended) {
        let ((caller, near), (far, host)) = (duplex(64), duplex(64));
        let cut = cut.clone();
        (caller, host, tokio::spawn(async move { splice(near, far, LINGER, &cut).await }))
    }

    #[tokio::test(start_paused = true)]
    async fn the_callers_end_is_passed_on_and_the_hosts_last_words_arrive() {
        let (mut caller, mut host, ended) = spliced(&CancellationToken::new());
        caller.write_all(b"exit 3\n").await.unwrap();
        caller.shutdown().await.unwrap();
        let mut heard = String::new();
        host.read_to_string(&mut heard).await.unwrap();
        assert_eq!(heard, "exit 3\n");
        // Long after, and more than any buffer holds.
        let answer = "x".repeat(100_000);
        let (sent, got) = tokio::join!(
            async {
                tokio::time::sleep(LINGER / 2).await;
                host.write_all(answer.as_bytes()).await?;
                host.shutdown().await
            },
            async {
                let mut got = String::new();
                caller.read_to_string(&mut got).await.map(|_| got)
            }
        );
        sent.unwrap();
        assert_eq!(got.unwrap(), answer);
        let (carried, result) = ended.await.unwrap();
        assert_eq!(carried, Carried { to_host: 7, to_caller: 100_000 });
        result.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn the_hosts_end_is_passed_on_and_a_silent_caller_is_not_waited_for() {
        let (mut caller, mut host, ended) = spliced(&CancellationToken::new());
        host.write_all(b"bye").await.unwrap();
        host.shutdown().await.unwrap();
        let mut got = String::new();
        caller.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "bye");
        let (carried, result) = ended.await.unwrap();
        assert_eq!(carried, Carried { to_host: 0, to_caller: 3 });
        result.unwrap();
        assert_eq!(host.read(&mut [0; 8]).await.unwrap(), 0, "both ends are closed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_direction_that_still_carries_something_is_not_cut() {
        let (mut caller, mut host, ended) = spliced(&CancellationToken::new());
        caller.shutdown().await.unwrap();
        for _ in 0..10 {
            tokio::time::sleep(LINGER * 9 / 10).await;
            host.write_all(b"tick").await.unwrap();
            let mut got = [0; 4];
            caller.read_exact(&mut got).await.unwrap();
        }
        drop(host);
        assert_eq!(ended.await.unwrap().0.to_caller, 40);
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_vanishes_closes_the_host() {
        let (caller, mut host, ended) = spliced(&CancellationToken::new());
        drop(caller);
        assert_eq!(host.read(&mut [0; 8]).await.unwrap(), 0);
        let _ = host.write_all(&[0; 4096]).await;
        drop(host);
        let _ = ended.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn silence_alone_ends_nothing_and_a_cut_ends_everything() {
        let cut = CancellationToken::new();
        let (mut caller, mut host, ended) = spliced(&cut);
        tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
        host.write_all(b"still here").await.unwrap();
        let mut got = [0; 10];
        caller.read_exact(&mut got).await.unwrap();
        cut.cancel();
        assert!(ended.await.unwrap().1.is_err());
        assert_eq!(caller.read(&mut [0; 8]).await.unwrap(), 0);
        assert_eq!(host.read(&mut [0; 8]).await.unwrap(), 0);
    }
}
