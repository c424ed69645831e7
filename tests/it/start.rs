//! The first start of a store: what it makes is shown once, so nothing that can be wrong may come after it.

use std::sync::Arc;

use postcall::app::first_start::first_start;
use postcall::app::{App, Settings};
use postcall::clock::{Clock, System};
use postcall::model::AccountKey;
use tokio::task::JoinSet;

use crate::home::Home;

#[tokio::test]
async fn settings_that_are_wrong_leave_the_first_start_to_the_next_one() {
    let home = Home::new();
    let nonsense = home.beside().join("roots.pem");
    std::fs::write(&nonsense, "nonsense").unwrap();
    for wrong in [
        Settings { public_url: Some("calls.example.com".to_owned()), ..home.settings() },
        Settings { public_url: Some("ftp://calls.example.com".to_owned()), ..home.settings() },
        Settings { public_url: Some("https://calls.example.com/?a=b".to_owned()), ..home.settings() },
        Settings { extra_roots: Some(nonsense), ..home.settings() },
        Settings { extra_roots: Some(home.beside().join("nowhere.pem")), ..home.settings() },
        Settings { admin_key: Some("short".to_owned()), ..home.settings() },
    ] {
        let (listen, public_url) = (wrong.listen, wrong.public_url.clone());
        assert!(App::start(wrong).await.is_err(), "{listen} {public_url:?}");
    }
    let right =
        Settings { public_url: Some("https://calls.example.com/hooks/".to_owned()), ..home.settings() };
    let app = App::start(right).await.unwrap();
    let made = app.first_start().expect("nothing was made before").clone();
    assert_eq!(app.public_url(), "https://calls.example.com/hooks", "what is shown leads there");
    app.stop().await;
    assert_eq!(
        std::fs::read_to_string(home.data().join("admin.key")).unwrap().trim(),
        made.admin_key.unwrap()
    );
    assert_eq!(
        std::fs::read_to_string(home.data().join("dialer.secret")).unwrap().trim(),
        made.dialer_secret
    );
    let app = App::start(home.settings()).await.unwrap();
    assert!(app.first_start().is_none(), "shown once");
    app.stop().await;
}

/// A start that was killed before it had made a key has shown nothing; the next one shows the same secret.
#[tokio::test]
async fn a_first_start_that_broke_off_begins_anew() {
    let home = Home::new();
    let app = App::start(home.settings()).await.unwrap();
    let first = app.first_start().unwrap().clone();
    app.stop().await;
    home.sql("DELETE FROM api_keys");
    let app = App::start(home.settings()).await.unwrap();
    let second = app.first_start().expect("it begins anew").clone();
    app.stop().await;
    assert_eq!(first.dialer_secret, second.dialer_secret);
    assert_ne!(first.admin_key, second.admin_key);
}

/// A directory that cannot be written keeps a start from making an admin key that nobody would ever read, and does not matter
/// to one that has been given its own.
#[tokio::test]
async fn a_secret_that_cannot_be_written_stops_the_first_start_unless_a_key_was_given() {
    for by_hand in [None, Some("an admin key set by hand")] {
        let home = Home::new();
        let (store, data) = (home.open(10_000), home.beside().join("node"));
        std::fs::create_dir_all(data.join("dialer.secret").join("in the way")).unwrap();
        let made = first_start(store.as_ref(), &System, &data, by_hand).await;
        match by_hand {
            None => {
                assert!(made.is_err_and(|why| why.contains("dialer.secret")));
                assert!(
                    store.keys(AccountKey::DEFAULT).await.unwrap().is_empty(),
                    "the next start begins anew"
                );
            }
            Some(_) => assert_eq!(made.unwrap().expect("the first start").dialer_secret_file, None),
        }
        store.close().await.unwrap();
    }
}

/// Nodes that start on an empty store at the same moment, each with a directory of its own for its keys.
#[tokio::test(flavor = "multi_thread")]
async fn of_many_nodes_one_makes_the_first_start() {
    const NODES: usize = 8;
    for by_hand in [None, Some("an admin key set by hand")] {
        let home = Home::new();
        let store = home.open(10_000);
        let mut starting = JoinSet::new();
        for node in 0..NODES {
            let (store, data) = (Arc::clone(&store), home.beside().join(format!("node-{node}")));
            std::fs::create_dir(&data).unwrap();
            starting.spawn(async move {
                let made = first_start(store.as_ref(), &System, &data, by_hand).await.unwrap();
                (made, ["admin.key", "dialer.secret"].map(|file| data.join(file).exists()))
            });
        }
        let all = starting.join_all().await;
        let shown: Vec<_> = all.iter().filter_map(|(made, _)| made.as_ref()).collect();
        assert_eq!(shown.len(), 1, "shown by one");
        assert_eq!(shown[0].admin_key.is_some(), by_hand.is_none());
        let written = [0, 1].map(|file| all.iter().filter(|(_, files)| files[file]).count());
        assert_eq!(written, [usize::from(by_hand.is_none()), 1], "each by the node that made it");
        assert_eq!(store.keys(AccountKey::DEFAULT).await.unwrap().len(), 1);
        let sources = &store.config(AccountKey::DEFAULT).unwrap().sources;
        let secret = sources[0].credential.signing(System.now()).unwrap().expose();
        assert_eq!((sources.len(), secret), (1, shown[0].dialer_secret.as_bytes()));
        store.close().await.unwrap();
    }
}
