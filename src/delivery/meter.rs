//! What may pass on a connection for one request. Of what a receiver sends before its answer (informational answers, 1xx, and
//! the answer's head) only so much: hyper reads over informational answers for as long as they come; the meter ends that. Of
//! what is sent to it nothing once the request's time is up: a process that stood still must not write, when it wakes up, what
//! another node has taken over. Does not depend on HTTP itself: it is told when an answer is waited for and when it is there.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::bounds::{MOST_BEFORE_ANSWER, MOST_INFORMATIONAL};
use super::trouble::Limit;

/// Counts what comes on one connection while an answer is waited for, and knows until when may be written on it.
#[derive(Debug, Default)]
pub(super) struct Meter {
    is_waiting: AtomicBool,
    bytes: AtomicUsize,
    informational: AtomicUsize,
    is_flooded: AtomicBool,
    limit: Mutex<Option<Limit>>,
}

impl Meter {
    /// A request is about to be sent, which has so much time.
    pub(super) fn begin(&self, limit: Limit) {
        *self.limit.lock().unwrap_or_else(PoisonError::into_inner) = Some(limit);
        self.bytes.store(0, Ordering::Relaxed);
        self.informational.store(0, Ordering::Relaxed);
        self.is_waiting.store(true, Ordering::Release);
    }

    /// Its answer is there. What follows is its body, which is bounded by who reads it.
    pub(super) fn end(&self) {
        self.is_waiting.store(false, Ordering::Release);
    }

    /// An informational answer came.
    pub(super) fn informational(&self) {
        if self.informational.fetch_add(1, Ordering::Relaxed) >= MOST_INFORMATIONAL {
            self.is_flooded.store(true, Ordering::Release);
        }
    }

    /// Whether more came than may come. The connection is of no use any more then.
    pub(super) fn is_flooded(&self) -> bool {
        self.is_flooded.load(Ordering::Acquire)
    }

    /// Asked at each write: whoever only asks before may stand still in between.
    fn check_time(&self) -> io::Result<()> {
        let limit = *self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        match limit.is_some_and(Limit::is_over) {
            true => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the time for the request was up before it was written",
            )),
            false => Ok(()),
        }
    }

    fn read(&self, bytes: usize) -> io::Result<()> {
        if !self.is_waiting.load(Ordering::Acquire) {
            return Ok(());
        }
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > MOST_BEFORE_ANSWER {
            self.is_flooded.store(true, Ordering::Release);
        }
        match self.is_flooded() {
            true => Err(io::Error::other("too much came before the answer")),
            false => Ok(()),
        }
    }
}

/// A stream whose incoming bytes are counted, and on which nothing is written late.
pub(super) struct Metered<S> {
    stream: S,
    meter: Arc<Meter>,
}

impl<S> Metered<S> {
    /// Counts what comes on a stream.
    pub(super) fn new(stream: S, meter: Arc<Meter>) -> Self {
        Self { stream, meter }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            self.meter.read(buffer.filled().len() - before)?;
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.meter.check_time()?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.meter.check_time()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_when_the_time_is_up() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let meter = Arc::new(Meter::default());
        let mut stream = Metered::new(ours, Arc::clone(&meter));
        let second = Duration::from_secs(1);
        meter.begin(Limit::from(Instant::now(), second));
        stream.write_all(b"in time").await.unwrap();
        tokio::time::advance(second).await;
        for late in [stream.write(b"late").await, stream.write_vectored(&[io::IoSlice::new(b"late")]).await] {
            assert_eq!(late.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        meter.begin(Limit::from(Instant::now(), second));
        stream.write_all(b", and the next").await.unwrap();
        drop(stream);
        let mut got = String::new();
        theirs.read_to_string(&mut got).await.unwrap();
        assert_eq!(got, "in time, and the next");
    }
}
