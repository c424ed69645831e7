//! `postcall keys`: makes, lists and revokes API keys of a running server. Does not know how a key is kept, nor what each
//! right opens.

use std::process::ExitCode;

use clap::Subcommand;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use super::client::Server;
use super::table;
use super::terminal::say;
use crate::model::Right;

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
    ///
    /// Without --right it may do all that the key which asks may do, but admin; without an end it ends when that one does.
    Create {
        /// What people call it
        #[arg(long)]
        name: String,
        /// Whose key it is: acc_...; left out, the account of the key that asks
        #[arg(long, value_name = "ACCOUNT")]
        account: Option<String>,
        /// What it may do, given once for each right: read sees, ingest brings events, write changes, erase destroys, admin
        /// makes accounts
        #[arg(long = "right", value_name = "RIGHT", value_parser = PossibleValuesParser::new(Right::ALL.map(Right::as_str)))]
        rights: Vec<String>,
        /// Let it make accounts and keys for them, and do everything else unless --right says what
        #[arg(long)]
        admin: bool,
        /// How long it opens anything: 12h, 90d or 8w
        #[arg(long, value_name = "LENGTH", value_parser = days)]
        expires_in: Option<f64>,
        /// Until when it opens anything: 2027-01-31T09:00:00Z
        #[arg(long, value_name = "TIME", conflicts_with = "expires_in")]
        expires_at: Option<String>,
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
        Action::Create { name, account, mut rights, admin, expires_in, expires_at } => {
            let mut asked = json!({"name": name});
            if admin && !rights.is_empty() {
                rights.push(Right::Admin.as_str().to_owned());
            }
            let given = [
                ("account_id", account.map(Value::from)),
                ("rights", (!rights.is_empty()).then(|| rights.into())),
                ("admin", admin.then(|| true.into())),
                ("expires_in_days", expires_in.map(Value::from)),
                ("expires_at", expires_at.map(Value::from)),
            ];
            for (field, value) in given {
                if let Some(value) = value {
                    asked[field] = value;
                }
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
    say(&if keys.json { format!("{answer}\n") } else { shown })?;
    Ok(ExitCode::SUCCESS)
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

/// A length of time, in days.
fn days(text: &str) -> Result<f64, String> {
    let parts = text.split_at_checked(text.len().saturating_sub(1));
    let of_unit = parts.and_then(|(number, unit)| {
        let number: f64 = number.parse().ok().filter(|number| *number > 0.0)?;
        match unit {
            "h" => Some(number / 24.0),
            "d" => Some(number),
            "w" => Some(number * 7.0),
            _ => None,
        }
    });
    of_unit.ok_or_else(|| "give a number with h, d or w for hours, days or weeks, such as 90d".to_owned())
}

fn created(made: &Value) -> String {
    let Some(key) = made["key"].as_str() else {
        // The first answer was lost on the way, and the client asked again.
        return format!(
            "{id} was made, but its key was lost on the way and is not shown again. Revoke it and make another.\n",
            id = text(made, "id")
        );
    };
    let end = match made["expires_at"].as_str() {
        Some(end) => format!("until {end}"),
        None => "without an end".to_owned(),
    };
    let (id, rights) = (text(made, "id"), rights(made));
    format!("{id}\n  {key}\n  may {rights}, {end}\nThe key is not shown again.\n")
}

fn rights(key: &Value) -> String {
    let words = key["rights"].as_array().into_iter().flatten();
    words.filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
}

fn listed(found: &Value) -> String {
    let columns = ["id", "name", "rights", "made", "expires", "last used"];
    let mut table = table::new(&columns, columns.len());
    for key in found["data"].as_array().into_iter().flatten() {
        let or = |field, word: &str| key[field].as_str().unwrap_or(word).to_owned();
        table.add_row([
            or("id", ""),
            or("name", ""),
            rights(key),
            or("created_at", ""),
            or("expires_at", "never"),
            or("last_used_at", "never"),
        ]);
    }
    table::text(&table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_hours_days_or_weeks() {
        assert_eq!((days("12h"), days("90d"), days("8w")), (Ok(0.5), Ok(90.0), Ok(56.0)));
        for wrong in ["", "d", "90", "-1d", "0d", "NaNd", "3m", "9\u{e9}"] {
            assert!(days(wrong).is_err(), "{wrong}");
        }
    }
}
