//! What the connections of an attack do: send, and then read, hold, drip or never read, over and over until the process
//! is ended; and what the server answered meanwhile. Does not depend on what is sent.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Wait before a connection that ended is opened again.
const PAUSE: Duration = Duration::from_millis(20);
/// The receive buffer of a client that does not read, in bytes. The kernel makes it as small as it can be.
const SMALL_BUFFER: u32 = 2048;
/// The longest head of an answer that is looked for.
const LONGEST_HEAD: usize = 64 << 10;

/// What is sent: the request of a number that counts up over all connections.
type Requests = Box<dyn Fn(u64) -> Bytes>;

/// What every connection of an attack does.
pub struct Script {
    /// How many connections there are at a time.
    pub connections: usize,
    /// From how many addresses of this machine they come.
    pub addresses: u8,
    /// What each sends.
    pub requests: Requests,
    /// What it does then.
    pub then: Then,
}

/// What a connection does after it has sent a request.
#[derive(Clone, Copy, Debug)]
pub enum Then {
    /// Reads the answer, waits so long, and sends the next one.
    Read(Duration),
    /// Sends one more byte each time that so much has passed, until the server answers or closes.
    Drip(Duration),
    /// Sends the next one and reads nothing.
    NeverRead,
}

/// What came of an attack, as its process says at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Connections that were opened.
    pub connections: u64,
    /// Of them broken off by the server, or never opened.
    pub broken: u64,
    /// Requests that were sent whole, as far as the attack sends them.
    pub requests: u64,
    /// Answers by status.
    pub statuses: BTreeMap<u16, u64>,
}

impl Script {
    /// One request that stays the same.
    pub fn repeat(connections: usize, request: impl Into<Bytes>, then: Then) -> Self {
        let request = request.into();
        Self { connections, addresses: 1, requests: Box::new(move |_| request.clone()), then }
    }

    /// The same from several addresses.
    pub fn spread(self, addresses: u8) -> Self {
        Self { addresses, ..self }
    }

    /// Plays it against a server until dropped.
    pub async fn play(self, host: &str, tally: &Rc<RefCell<Tally>>) -> Result<(), String> {
        let server: SocketAddr = host.parse().map_err(|_| format!("{host} is not an address and a port"))?;
        let play = Rc::new(Play { script: self, server, tally: Rc::clone(tally), next: Cell::new(0) });
        let mut all = JoinSet::new();
        for place in 0..play.script.connections {
            all.spawn_local(Rc::clone(&play).keep(place));
        }
        while all.join_next().await.is_some() {}
        Err("an attack ended by itself".to_owned())
    }
}

/// A script under way.
struct Play {
    script: Script,
    server: SocketAddr,
    tally: Rc<RefCell<Tally>>,
    next: Cell<u64>,
}

impl Play {
    /// Keeps one connection busy.
    async fn keep(self: Rc<Self>, place: usize) {
        // The first address of loopback is the honest users'.
        let last = 2 + u8::try_from(place % usize::from(self.script.addresses.max(1))).unwrap_or_default();
        loop {
            if self.connection(Ipv4Addr::new(127, 0, 0, last)).await.is_err() {
                self.tally.borrow_mut().broken += 1;
            }
            sleep(PAUSE).await;
        }
    }

    async fn connection(&self, from: Ipv4Addr) -> io::Result<()> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        if matches!(self.script.then, Then::NeverRead) {
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
        }
        let mut stream = socket.connect(self.server).await?;
        self.tally.borrow_mut().connections += 1;
        let mut read = BytesMut::new();
        loop {
            match self.script.then {
                Then::Read(pause) => {
                    if self.exchange(&mut stream, &mut read).await? {
                        return Ok(());
                    }
                    sleep(pause).await;
                }
                Then::Drip(every) => return self.drip(&mut stream, &mut read, every).await,
                Then::NeverRead => stream.write_all(&self.request()).await?,
            }
        }
    }

    fn request(&self) -> Bytes {
        let number = self.next.replace(self.next.get() + 1);
        self.tally.borrow_mut().requests += 1;
        (self.script.requests)(number)
    }

    fn answered(&self, status: u16) {
        *self.tally.borrow_mut().statuses.entry(status).or_default() += 1;
    }

    /// Sends a request and reads its answer, which may come before all is sent. True when the connection is of no more use.
    async fn exchange(&self, stream: &mut TcpStream, read: &mut BytesMut) -> io::Result<bool> {
        let request = self.request();
        let (mut from, mut to) = stream.split();
        let mut answer = std::pin::pin!(answer(&mut from, read));
        let (status, is_early) = tokio::select! {
            status = &mut answer => (status?, true),
            written = to.write_all(&request) => {
                // Who answers and closes before it has read all may still be heard.
                let is_cut = written.is_err();
                (answer.await?, is_cut)
            }
        };
        self.answered(status);
        Ok(is_early)
    }

    async fn drip(&self, stream: &mut TcpStream, read: &mut BytesMut, every: Duration) -> io::Result<()> {
        let request = self.request();
        let (mut from, mut to) = stream.split();
        let mut answer = std::pin::pin!(answer(&mut from, read));
        let send = async {
            to.write_all(&request).await?;
            loop {
                sleep(every).await;
                to.write_all(b"a").await?;
            }
        };
        let sent: io::Result<()> = tokio::select! {
            status = &mut answer => {
                self.answered(status?);
                return Ok(());
            }
            sent = send => sent,
        };
        if let Ok(status) = answer.await {
            self.answered(status);
        }
        sent
    }
}

/// Reads one answer to its end; gives its status.
async fn answer(from: &mut (impl AsyncReadExt + Unpin), read: &mut BytesMut) -> io::Result<u16> {
    let (status, mut left) = loop {
        if let Some(end) = memchr::memmem::find(read, b"\r\n\r\n") {
            let head = head(&read[..end]).ok_or(io::ErrorKind::InvalidData)?;
            read.advance(end + 4);
            break head;
        }
        if read.len() > LONGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if from.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    loop {
        let here = left.min(read.len());
        read.advance(here);
        left -= here;
        if left == 0 {
            return Ok(status);
        }
        if from.read_buf(read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Status and length of the body in the head of an answer. Everything that postcall answers here says its length.
fn head(head: &[u8]) -> Option<(u16, usize)> {
    let head = std::str::from_utf8(head).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((status, length.unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_are_read_one_after_the_other() {
        let said = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 204 No Content\r\n\r\n";
        let (mut from, mut read) = (&said[..], BytesMut::new());
        assert_eq!(answer(&mut from, &mut read).await.unwrap(), 401);
        assert_eq!(answer(&mut from, &mut read).await.unwrap(), 204);
        assert!(answer(&mut from, &mut read).await.is_err(), "there is no third");
        let mut cut = &b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"[..];
        assert!(answer(&mut cut, &mut BytesMut::new()).await.is_err());
    }
}
