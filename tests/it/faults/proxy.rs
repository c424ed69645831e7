//! A way over TCP between a node and its database that a test can cut, mend and lead elsewhere.
//! Passes bytes; refuses to know what they say.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// They pass.
    Open,
    /// They stay where they are, and nobody is told: a cable that was pulled.
    Cut,
    /// Every connection is closed, and so is each new one.
    Closed,
}

/// The way, and where it leads.
#[derive(Clone, Copy, Debug)]
struct Route {
    way: Way,
    to: SocketAddr,
}

/// The proxy. It ends with the runtime of its test.
pub struct Proxy {
    pub address: SocketAddr,
    route: watch::Sender<Route>,
}

impl Proxy {
    /// Listens on loopback and leads to this address.
    pub async fn to(to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let route = watch::Sender::new(Route { way: Way::Open, to });
        let routes = route.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, routes.subscribe()));
            }
        });
        Self { address, route }
    }

    /// Stops passing bytes, without closing anything.
    pub fn cut(&self) {
        self.route.send_modify(|route| route.way = Way::Cut);
    }

    /// Closes every connection, and each new one.
    pub fn close(&self) {
        self.route.send_modify(|route| route.way = Way::Closed);
    }

    /// Lets new connections through, and the bytes of those that were cut.
    pub fn open(&self) {
        self.route.send_modify(|route| route.way = Way::Open);
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, address: SocketAddr) {
        self.route.send_modify(|route| route.to = address);
    }
}

/// One connection. Whatever ends it closes both of its sides.
async fn carry(near: TcpStream, mut route: watch::Receiver<Route>) {
    let Some(to) = open(&mut route).await else { return };
    let Ok(far) = TcpStream::connect(to).await else { return };
    for side in [&near, &far] {
        let _ = side.set_nodelay(true);
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let mut closing = route.clone();
    tokio::select! {
        _ = pass(near_in, far_out, route.clone()) => {}
        _ = pass(far_in, near_out, route) => {}
        _ = closing.wait_for(|route| route.way == Way::Closed) => {}
    }
}

/// Passes bytes in one direction until they end; what is read while the way is cut waits.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut route: watch::Receiver<Route>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = from.read(&mut buffer).await;
        // Not even that the other side is gone goes over a way that is cut.
        if open(&mut route).await.is_none() {
            return Ok(());
        }
        match count? {
            0 => return to.shutdown().await,
            count => to.write_all(&buffer[..count]).await?,
        }
    }
}

/// Waits until the way is open and says where it leads; `None` when it is closed.
async fn open(route: &mut watch::Receiver<Route>) -> Option<SocketAddr> {
    let route = route.wait_for(|route| route.way != Way::Cut).await.ok()?;
    (route.way == Way::Open).then_some(route.to)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Greets everybody with a letter, then repeats what it hears.
    async fn echo(letter: u8) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                stream.write_all(&[letter]).await.unwrap();
                let (mut from, mut to) = stream.into_split();
                tokio::spawn(async move { tokio::io::copy(&mut from, &mut to).await });
            }
        });
        address
    }

    #[tokio::test]
    async fn bytes_pass_and_wait_and_go_elsewhere() {
        let proxy = Proxy::to(echo(b'a').await).await;
        let mut first = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), b'a');
        first.write_u8(1).await.unwrap();
        assert_eq!(first.read_u8().await.unwrap(), 1);

        proxy.cut();
        first.write_u8(2).await.unwrap();
        let mut second = TcpStream::connect(proxy.address).await.unwrap();
        for stream in [&mut first, &mut second] {
            let silence = tokio::time::timeout(Duration::from_millis(100), stream.read_u8()).await;
            assert!(silence.is_err(), "nothing passes, and nothing is closed");
        }
        proxy.lead_to(echo(b'b').await);
        proxy.open();
        assert_eq!(first.read_u8().await.unwrap(), 2, "what waited goes on");
        assert_eq!(second.read_u8().await.unwrap(), b'b');

        proxy.close();
        assert!(first.read_u8().await.is_err() && second.read_u8().await.is_err());
        let mut third = TcpStream::connect(proxy.address).await.unwrap();
        assert!(third.read_u8().await.is_err());
    }
}
