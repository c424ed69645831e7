//! A receiver that accepts connections, reads what is sent and never answers: what a hanging endpoint looks like.
//! Refuses to know what is sent.

use tokio::io::{copy, sink};

use crate::wire;

/// Says nothing until it is killed.
pub async fn run() -> Result<(), String> {
    let listener = wire::listen().await?;
    loop {
        let (mut stream, _) = listener.accept().await.map_err(|error| error.to_string())?;
        tokio::spawn(async move {
            // It ends when the other side gives up.
            let _ = copy(&mut stream, &mut sink()).await;
        });
    }
}
