//! A client's socket that does not wait for ever: what is to be written has to be read at a minimum speed, and a head
//! that has begun has to end soon. Between two requests, and while an answer is still being made, nothing is measured
//! here. `tokio-io-timeout` knows no speed: a byte now and then would hold a connection for ever.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connection::Connection;
use super::slots::{Lease, Slots};
use crate::metrics::Cut;

/// A socket, and what its connection waits for.
pub struct Socket {
    stream: TcpStream,
    connection: Arc<Connection>,
    slots: Arc<Slots>,
    /// By when the head that has begun has to end, and how many had come before it.
    head: Deadline,
    begun: u32,
    /// By when more of what is to be written has to be read.
    write: Deadline,
}

impl Socket {
    /// The socket of a new connection.
    pub fn new(stream: TcpStream, lease: &Lease) -> Self {
        let (connection, slots) = (Arc::clone(lease), Arc::clone(lease.slots()));
        let mut head = Deadline::default();
        if !connection.is_patient() {
            head.set(Instant::now() + slots.limits().head_patience);
        }
        Self { stream, connection, slots, head, begun: 0, write: Deadline::default() }
    }

    fn has_read(&mut self, bytes: usize) {
        self.connection.has_moved(bytes);
        if self.connection.is_busy() {
            return;
        }
        self.connection.holds_head(bytes);
        if !self.awaits_head() {
            self.begun = self.connection.begun();
            self.head.set(Instant::now() + self.slots.limits().head_patience);
        }
    }

    /// Whether the head of which the end is awaited has not come.
    fn awaits_head(&mut self) -> bool {
        if self.begun != self.connection.begun() {
            self.head.clear();
        }
        self.head.is_set()
    }

    /// An error once the client has had enough time to read.
    fn blocked(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        self.connection.is_blocked();
        if !self.write.is_set() {
            self.write.set(Instant::now() + self.slots.limits().write_grace);
        }
        self.write.poll(cx).map(|()| {
            self.slots.count(Cut::SlowReader);
            io::Error::new(io::ErrorKind::TimedOut, "the client does not read its answers")
        })
    }

    fn has_written(&mut self, bytes: usize) {
        self.connection.has_moved(bytes);
        let limits = self.slots.limits();
        self.write.extend(limits.time_for(bytes), limits.write_grace);
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The kernel must not keep what the client does not read.
        if self.connection.has_unread() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        if let Poll::Ready(done) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            this.has_read(buffer.filled().len() - before);
            return Poll::Ready(done);
        }
        if this.awaits_head() && this.head.poll(cx).is_ready() {
            this.slots.count(Cut::SlowHead);
            let error =
                io::Error::new(io::ErrorKind::TimedOut, "the head of the request did not end in time");
            return Poll::Ready(Err(error));
        }
        Poll::Pending
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        match Pin::new(&mut this.stream).poll_write_vectored(cx, parts) {
            Poll::Ready(written) => {
                this.has_written(*written.as_ref().unwrap_or(&0));
                Poll::Ready(written)
            }
            Poll::Pending => this.blocked(cx).map(Err),
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        // hyper comes here once it has written everything.
        this.write.clear();
        this.connection.has_written();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A moment to wake up at; its timer is made when somebody waits for it.
#[derive(Default)]
struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    fn is_set(&self) -> bool {
        self.at.is_some()
    }

    fn set(&mut self, at: Instant) {
        self.at = Some(at);
    }

    fn clear(&mut self) {
        self.at = None;
    }

    /// Moves the deadline, if there is one, but no further than `most` from now.
    fn extend(&mut self, by: Duration, most: Duration) {
        self.at = self.at.map(|at| (at + by).min(Instant::now() + most));
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        timer.as_mut().poll(cx)
    }
}
