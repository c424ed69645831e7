//! `postcall migrate-store`: moves an embedded store to PostgreSQL. Refuses to know what is in it.

use std::path::PathBuf;
use std::process::ExitCode;

use super::progress::Progress;
use super::terminal::say;
use crate::app::DatabaseUrl;
use crate::config;
use crate::store::postgres::transfer::transfer;

/// Move a data directory's store to PostgreSQL; run it again when it broke off
#[derive(Debug, clap::Args)]
pub struct MigrateStore {
    /// The data directory; no postcall may run on it
    #[arg(long, value_name = "DIR", default_value = "postcall-data")]
    from: PathBuf,
    /// The database, empty and with nobody on it: postgres://user:password@host:5432/database
    #[arg(long, value_name = "URL")]
    to: Option<String>,
    /// PEM file of root certificates that the database's may be signed by, beside the public ones
    #[arg(long, value_name = "FILE")]
    extra_roots: Option<PathBuf>,
}

/// Moves everything, then compares the sums of both.
///
/// # Errors
/// A sentence when it could not be done; nothing is lost, and the next try goes on from there.
pub async fn run(migrate: MigrateStore) -> Result<ExitCode, String> {
    let url = migrate.to.or_else(|| config::variable(config::DATABASE_URL));
    let url = DatabaseUrl::new(url.ok_or("say where to with --to postgres://... or POSTCALL_DATABASE_URL")?)?;
    let roots = match &migrate.extra_roots {
        Some(path) => {
            Some(std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?)
        }
        None => None,
    };
    let from = migrate.from.clone();
    let moving = tokio::task::spawn_blocking(move || {
        let bar = std::sync::OnceLock::new();
        let progress = |done, total| bar.get_or_init(|| Progress::new("rows", total)).at(done);
        let moved = transfer(&from, url.expose(), roots.as_deref(), progress);
        if let Some(bar) = bar.get() {
            bar.finish();
        }
        moved
    });
    let moved = moving.await.map_err(|error| error.to_string())??;
    say(&format!(
        "{} rows of {} accounts are moved; {} deliveries were ever owed, and both stores say the same of them\n\
         Every node needs the same key: copy {} to the --data directory of each, then start\n  \
         postcall serve --database-url ...\n",
        moved.rows,
        moved.accounts,
        moved.owed,
        migrate.from.join("master.key").display()
    ))?;
    Ok(ExitCode::SUCCESS)
}
