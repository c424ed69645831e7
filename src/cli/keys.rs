//! `postcall keys`: makes, lists and revokes API keys of a running server. Refuses to know how a key is kept.

use std::process::ExitCode;

use clap::Subcommand;
use serde_json::{Value, json};

use super::client::Server;
use super::table;

/// Make, list and revoke API keys
#[derive(Debug, clap::Args)]
pub struct Keys {
    #[command(flatten)]
    server: Server,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key; it is shown once
    Create {
        /// What people call it
        #[arg(long)]
        name: String,
        /// Whose key it is: acc_...; left out, the account of the key that asks
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// Let it make accounts and keys for them
        #[arg(long)]
        admin: bool,
    },
    /// List the keys of the account
    List,
    /// Revoke a key: it opens nothing from then on
    Revoke {
        /// Its id: key_...
        id: String,
    },
}

/// Does it.
///
/// # Errors
/// A sentence when the server does not answer or refuses.
pub async fn run(keys: Keys) -> Result<ExitCode, String> {
    let client = keys.server.client()?;
    let (answer, shown) = match keys.action {
        Action::Create { name, account, admin } => {
            let mut asked = json!({"name": name, "admin": admin});
            if let Some(account) = account {
                asked["account_id"] = account.into();
            }
            let made = client.post("/v1/keys", &asked).await?;
            let shown = created(&made);
            (made, shown)
        }
        Action::List => {
            let found = client.get("/v1/keys").await?;
            let shown = listed(&found);
            (found, shown)
        }
        Action::Revoke { id } => {
            if id.is_empty() || id.contains(['/', '?', '#', '%']) {
                return Err(format!("{id:?} is no id of a key; `postcall keys list` shows them"));
            }
            client.delete(&format!("/v1/keys/{id}")).await?;
            (json!({"revoked": id}), format!("revoked {id}\n"))
        }
    };
    super::say(&if keys.json { format!("{answer}\n") } else { shown })?;
    Ok(ExitCode::SUCCESS)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn created(made: &Value) -> String {
    format!("{}\n  {}\nThe key is not shown again.\n", text(made, "id"), text(made, "key"))
}

fn listed(found: &Value) -> String {
    let mut table = table::new(&["id", "name", "admin", "made"], 4);
    for key in found["data"].as_array().into_iter().flatten() {
        let admin = if key["admin"] == true { "yes" } else { "" };
        table.add_row([text(key, "id"), text(key, "name"), admin, text(key, "created_at")]);
    }
    table::text(&table)
}
