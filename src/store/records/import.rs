//! An account comes in: lines are checked one by one and written under the numbers that they had. A line that is there
//! already changes nothing, so whatever broke off is sent again. Does not depend on how lines travel.
//!
//! They go into an account that has recorded nothing yet. The first line reserves the numbers that were handed out, so
//! what is recorded meanwhile gets numbers of its own, and takes over the mark in ids where no other account has it.

use data_encoding::BASE64;
use serde::Deserialize;

use super::kinds::KINDS;
use crate::model::id::{self, Kind, Tag};
use crate::model::{AccountKey, Time};
use crate::store::StoreError;
use crate::store::analytics::names::Remembered;
use crate::store::analytics::rollups::Table;
use crate::store::config::account_row::{self, ImportedAccount};
use crate::store::config::accounts::Changed;
use crate::store::deliveries::replays;
use crate::store::export::{AccountLine, Import, Imported, VERSION, Wrong};
use crate::store::layout::codec;
use crate::store::lifetime::{retention, transcripts};
use crate::store::sql::Connection;
use crate::store::transfer::batches;
use crate::store::transfer::import_line::{Effects, ImportContext, LineOutcome, Refused, read, wrong};
use crate::store::transfer::plausible::{self, HandedOut};
use crate::store::transfer::settings::SEALED_ELSEWHERE;
use crate::store::tx::head::Head;
use crate::store::tx::slots;
use crate::store::vault::Vault;

/// What an import works with beside the transaction.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Opens and seals.
    pub vault: &'a Vault,
    /// The campaigns and agents that have records.
    pub remembered: &'a Remembered,
}

/// Takes lines in. What is wrong with one does not keep the others out.
pub fn import(
    db: &Connection,
    known: Known<'_>,
    account: AccountKey,
    import: &Import,
) -> Result<(Imported, Effects), StoreError> {
    let (mut done, mut effects) = (Imported::default(), Effects::default());
    Head::take(db, account)?;
    for (number, line) in &import.lines {
        // While a line before it is wrong, the end does not end it.
        let may_end = import.may_end && done.wrong.is_empty();
        match take(db, known, account, import, may_end, line, &mut effects) {
            Ok((_, Some(LineOutcome::Unchanged))) => done.unchanged += 1,
            Ok((kind, Some(LineOutcome::Added))) => *done.added.entry(kind).or_default() += 1,
            Ok((_, None)) => done.ended = true,
            Err(Refused::Store(error)) => return Err(error),
            Err(Refused::Line(code, detail)) => done.wrong.push(Wrong { line: *number, code, detail }),
            Err(Refused::All(code, detail)) => {
                done.wrong.push(Wrong { line: *number, code, detail });
                done.stopped = true;
                break;
            }
        }
    }
    effects.tallies.write(db, Table::Standing)?;
    std::mem::take(&mut effects.mentions).add_missing(db, import.now)?;
    Ok((done, effects))
}

/// Takes one line in. Gives its kind, and nothing else when it was the end.
fn take(
    db: &Connection,
    known: Known<'_>,
    account: AccountKey,
    import: &Import,
    may_end: bool,
    line: &str,
    effects: &mut Effects,
) -> Result<(String, Option<LineOutcome>), Refused> {
    #[derive(Deserialize)]
    struct Kinded {
        kind: String,
    }
    let kind = serde_json::from_str::<Kinded>(line).map_err(|_| {
        let detail = "It is no JSON object with a \"kind\". Was the file cut, or changed by hand?";
        Refused::Line("malformed_line", detail.to_owned())
    })?;
    let kind = kind.kind;
    if kind == "account" {
        let outcome = begin(db, known.vault, account, &read(line)?, import, &mut effects.changed)?;
        return Ok((kind, Some(outcome)));
    }
    if kind == "cursor" {
        return Ok((kind, Some(LineOutcome::Unchanged)));
    }
    let (origin, is_open, tag, handed_out): (Option<i64>, bool, i64, HandedOut) = db
        .prepare_cached(&format!(
            "SELECT origin, importing, tag, {} FROM accounts WHERE account = ?",
            HandedOut::COLUMNS
        ))?
        .query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, HandedOut::of(row, 3)?)))?;
    let Some(origin) = origin else {
        let detail = "The first line has to be the account's. Send the export from its beginning.";
        return Err(Refused::All("no_account_line", detail.to_owned()));
    };
    let [origin, tag] = [origin, tag].map(|mark| Tag::from_random(mark.cast_unsigned()));
    let Known { vault, remembered } = known;
    let mut context =
        ImportContext { db, vault, account, origin, tag, is_open, handed_out, remembered, import, effects };
    if kind == "end" {
        return match may_end {
            true => end(&context).map(|()| (kind, None)),
            false => Ok((kind, Some(LineOutcome::Unchanged))),
        };
    }
    let room = KINDS.iter().filter_map(|kind| kind.carry.as_ref()).find(|carry| carry.word == kind);
    let Some(room) = room else {
        let known: Vec<&str> = KINDS.iter().filter_map(|room| Some(room.carry.as_ref()?.word)).collect();
        return wrong("unknown_kind", format!("Its kind is none of: account, {}, end.", known.join(", ")));
    };
    (room.take)(&mut context, line).map(|outcome| (kind, Some(outcome)))
}

/// The last line: the account goes on from here, and what rested until then with it.
fn end(context: &ImportContext<'_>) -> Result<(), Refused> {
    if context.is_open {
        batches::end(context)?;
        replays::end_import(context.db, context.account, context.import.now)?;
        account_row::end_import(context.db, context.account)?;
    }
    Ok(())
}

/// The first line. An account that has recorded something is refused: two feeds cannot become one.
fn begin(
    db: &Connection,
    vault: &Vault,
    account: AccountKey,
    line: &AccountLine,
    import: &Import,
    changed: &mut Vec<Changed>,
) -> Result<LineOutcome, Refused> {
    let tag = check_account(line)?;
    let (origin, is_used): (Option<i64>, bool) = db
        .prepare_cached(
            "SELECT origin, position + calls + deliveries + quarantined > 0 FROM accounts WHERE account = ?",
        )?
        .query_row([account.0], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let batch_secret = batch_secret(vault, line)?;
    match origin {
        Some(origin) if origin == tag.0.cast_signed() => return Ok(LineOutcome::Unchanged),
        None if !is_used => {}
        _ => {
            let detail = "This account has recorded something already. Make a new one and import into that.";
            return Err(Refused::All("account_not_empty", detail.to_owned()));
        }
    }
    if import.keeps_ids {
        take_over_tag(db, account, tag)?;
    }
    write_account(db, account, tag, line, batch_secret, import.now)?;
    begin_ages(db, account, line, import.now)?;
    changed.push(Changed::Everything(account));
    Ok(LineOutcome::Added)
}

/// Whether the first line is one that an account can have. Gives the mark in the ids of the lines.
fn check_account(line: &AccountLine) -> Result<Tag, Refused> {
    if line.version > VERSION {
        let detail = "It was written by a newer postcall. Import it with that version or a later one.";
        return Err(Refused::All("newer_version", detail.to_owned()));
    }
    let Some((tag, _)) = id::parse(Kind::Account, &line.id) else {
        return Err(Refused::All("bad_id", "Its \"id\" is not acc_....".to_owned()));
    };
    if let Some(name) = plausible::misfit(line) {
        let detail = format!("Its {name:?} is not one that an account can have.");
        return Err(Refused::All("out_of_range", detail));
    }
    Ok(tag)
}

/// Gives the account the mark that its records had in their ids, where no other account has it.
fn take_over_tag(db: &Connection, account: AccountKey, tag: Tag) -> Result<(), StoreError> {
    let is_taken = db
        .prepare_cached("SELECT 1 FROM accounts WHERE tag = ? AND account <> ?")?
        .exists([tag.0.cast_signed(), account.0])?;
    // Receivers know records by their ids, so who may choose the mark in them could speak for another account somewhere.
    if !is_taken {
        account_row::set_tag(db, account, tag)?;
    }
    Ok(())
}

/// Writes what the first line says of the account, and that its import has begun.
fn write_account(
    db: &Connection,
    account: AccountKey,
    tag: Tag,
    line: &AccountLine,
    batch_secret: Option<Vec<u8>>,
    now: Time,
) -> Result<(), StoreError> {
    let imported = ImportedAccount {
        origin: tag,
        created_at: line.created_at,
        position: line.position,
        calls: line.calls,
        deliveries: line.deliveries,
        sources: line.sources,
        endpoints: line.endpoints,
        purged: line.purged,
        transcripts_gone: line.transcripts_gone,
        batches: line.batches,
        replays: line.replays,
        call_credit: line.call_credit,
        batch_secret,
    };
    account_row::begin_import(db, account, &imported, now)
}

/// Lets what comes in age from now on, and sets for how long it is kept.
fn begin_ages(db: &Connection, account: AccountKey, line: &AccountLine, now: Time) -> Result<(), StoreError> {
    // Nothing says when an event was recorded elsewhere: ages begin now.
    let kept = [line.retention, line.transcript_retention].map(|micros| micros.map(codec::length));
    if line.position > line.purged {
        slots::begin_slot(db, account, kept.into_iter().flatten().min(), line.purged + 1, now)?;
    }
    retention::set(db, account, kept[0], now)?;
    transcripts::set(db, account, kept[1], now)?;
    if let Some(micros) = line.repeat_memory {
        account_row::set_repeat_memory(db, account, codec::length(micros), now)?;
    }
    Ok(())
}

/// The secret for batches, sealed anew. Where it was left out, the next batch with endpoints makes one.
fn batch_secret(vault: &Vault, line: &AccountLine) -> Result<Option<Vec<u8>>, Refused> {
    let decode = |text: &Option<String>| text.as_ref().map(|text| BASE64.decode(text.as_bytes())).transpose();
    let (Ok(clear), Ok(sealed)) = (decode(&line.batch_secret), decode(&line.batch_secret_sealed)) else {
        return Err(Refused::All("malformed_line", "Its secret for batches is not base64.".to_owned()));
    };
    let secret = match sealed.map(|sealed| vault.open(&sealed)) {
        Some(Err(_)) => return Err(Refused::All("sealed_elsewhere", SEALED_ELSEWHERE.to_owned())),
        Some(Ok(secret)) => Some(secret),
        None => clear,
    };
    Ok(secret.map(|secret| vault.seal(&secret)))
}
