//! What a node does all the time beside its work: it keeps its lease, and it keeps up with what other nodes do. One thread
//! asks, another listens so that there is less to wait for. Refuses to know what deliveries are.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use futures_util::stream::{StreamExt, poll_fn};
use tokio::sync::oneshot;
use tokio_postgres::AsyncMessage;
use tracing::{debug, warn};

use super::configuration::read_changed;
use super::notifications::{CHANNEL, Message};
use super::server::Server;
use super::tenure::Tenure;
use crate::store::config::accounts::Directory;
use crate::store::feed::Feeds;
use crate::store::sql::Connection;
use crate::store::vault::Vault;
use crate::store::{Notification, StoreError};

/// How often the feeds are asked for that somebody follows here.
const FOLLOWING: Duration = Duration::from_millis(100);
/// How long the one who listens waits before it tries to connect again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// What wakes the keeper before its time.
enum Poke {
    /// Another node said something.
    Heard(Message),
    /// It listens again, and may have missed something.
    Missed,
    /// There is a new follower.
    Followed,
    /// The node stops.
    Stop,
}

/// The two threads. They end when this does.
pub struct Keeper {
    pokes: Sender<Poke>,
    keeping: Option<JoinHandle<()>>,
    listening: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// What the keeper keeps.
pub struct Kept {
    /// How to reach the database.
    pub server: Server,
    /// The lease.
    pub tenure: Arc<Tenure>,
    /// Everybody's view of the configuration.
    pub directory: Arc<Directory>,
    /// Opens secrets.
    pub vault: Arc<Vault>,
    /// Those who follow.
    pub feeds: Arc<Feeds>,
}

impl Keeper {
    /// Starts, with a connection for the lease.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(kept: Kept, db: Connection) -> std::io::Result<Self> {
        let (pokes, poked) = channel();
        let (server, theirs) = (kept.server.clone(), pokes.clone());
        let keeping = std::thread::Builder::new()
            .name("postcall-lease".to_owned())
            .spawn(move || kept.keep(db, &poked))?;
        let (stop, stopped) = oneshot::channel();
        let listening = std::thread::Builder::new()
            .name("postcall-news".to_owned())
            .spawn(move || listen(&server, &theirs, stopped))?;
        Ok(Self { pokes, keeping: Some(keeping), listening: Some((stop, listening)) })
    }

    /// There is a new follower of a feed.
    pub fn followed(&self) {
        let _ = self.pokes.send(Poke::Followed);
    }

    /// Gives the lease up and ends.
    pub fn stop(&mut self) {
        let _ = self.pokes.send(Poke::Stop);
        let mut threads: Vec<JoinHandle<()>> = self.keeping.take().into_iter().collect();
        if let Some((stop, thread)) = self.listening.take() {
            let _ = stop.send(());
            threads.push(thread);
        }
        for thread in threads.into_iter().filter(|it| it.thread().id() != std::thread::current().id()) {
            let _ = thread.join();
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Kept {
    fn keep(self, mut db: Connection, poked: &Receiver<Poke>) {
        loop {
            let pause = match self.feeds.followed().is_empty() {
                true => self.tenure.pause(),
                false => self.tenure.pause().min(FOLLOWING),
            };
            match poked.recv_timeout(pause) {
                Ok(Poke::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    if let Err(error) = self.tenure.end(&db) {
                        warn!(%error, "the lease was not given up; others take over when it is over");
                    }
                    return;
                }
                Ok(Poke::Heard(Message::Gone) | Poke::Missed) => self.tenure.tell(Notification::WakeAll),
                Ok(Poke::Heard(Message::CalledOff(all))) => self.tenure.tell(Notification::CalledOff(all)),
                Ok(Poke::Heard(Message::Changed(_)) | Poke::Followed) | Err(RecvTimeoutError::Timeout) => {}
            }
            if let Err(error) = self.look(&mut db) {
                debug!(%error, "the lease was not renewed");
            }
        }
    }

    /// Renews the lease and reads what is new.
    fn look(&self, db: &mut Connection) -> Result<(), StoreError> {
        if db.is_broken() {
            *db = self.server.open()?;
        }
        self.tenure.renew(db)?;
        let endpoints = read_changed(db, &self.directory, &self.vault)?;
        if !endpoints.is_empty() {
            self.tenure.tell(Notification::Wake(endpoints));
        }
        for account in self.feeds.followed() {
            let position = crate::store::reads::pages::position(db, account)?;
            self.feeds.moved(account, position);
        }
        Ok(())
    }
}

/// Listens until it is told to stop, over as many connections as it takes.
fn listen(server: &Server, pokes: &Sender<Poke>, mut stopped: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return warn!(%error, "no news of other nodes; they are asked for instead"),
    };
    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = &mut stopped => return,
                heard = hear(server, pokes) => if let Err(error) = heard {
                    debug!(%error, "news of other nodes are not heard");
                }
            }
            tokio::select! {
                _ = &mut stopped => return,
                () = tokio::time::sleep(LISTEN_AGAIN) => {}
            }
        }
    });
}

/// Listens on one connection until it breaks.
async fn hear(server: &Server, pokes: &Sender<Poke>) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = server.config().connect(server.tls()).await?;
    let mut messages = poll_fn(move |context| connection.poll_message(context));
    let listen = format!("LISTEN {CHANNEL}");
    let listening = client.batch_execute(&listen);
    tokio::pin!(listening);
    let mut is_listening = false;
    loop {
        tokio::select! {
            done = &mut listening, if !is_listening => {
                done?;
                is_listening = true;
                let _ = pokes.send(Poke::Missed);
            }
            message = messages.next() => match message {
                Some(Ok(AsyncMessage::Notification(told))) => {
                    if let Some(message) = Message::read(told.payload()) {
                        let _ = pokes.send(Poke::Heard(message));
                    }
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error),
                None => return Ok(()),
            }
        }
    }
}
