//! `/v1/export` and `/v1/import`: an account as lines of JSON, on its way out and in. Streams both ways, a page at a time:
//! no read and no write spans it. Refuses to know what is in a line.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tracing::error;
use utoipa::ToSchema;

use super::auth::Caller;
use super::body::{self, Unread};
use super::budget::{Held, Share};
use super::keys::named_account;
use super::lines::Lines;
use super::problem::{BAD_CURSOR, Problem, WrongFields};
use super::query::Query;
use super::state::ApiState;
use crate::model::id::Tag;
use crate::model::{AccountKey, Right};
use crate::store::export::{Cursor, Exported, Import, Imported, Secrets, WireRules, Wrong};
use crate::store::{AccountConfigs, EndpointRef, StoreError};

/// Lines of JSON.
const LINES: HeaderValue = HeaderValue::from_static("application/x-ndjson");
/// Lines that are taken in together, and the bytes after which no more are: a transaction of a few milliseconds.
const STEP: usize = 200;
const STEP_BYTES: usize = 512 << 10;
/// How long an import waits for another one of its account to end. One whose connection broke ends at once, one that
/// stopped to send within the grace of the minimum speed.
const TURN_PATIENCE: Duration = Duration::from_secs(15);
/// The longest line of an import in bytes, unless bodies may be large. A record is put together from bodies of the size that
/// is usual, so it is far below this.
const LONGEST_LINE: usize = 24 << 20;
/// The longest line wherever: a record is kept up to 64 MiB and stands in its line as it is.
const LONGEST: usize = 66 << 20;

/// The longest line that is taken in: in memory it is there twice while its buffer grows.
fn longest_line(state: &ApiState) -> usize {
    let most = LONGEST_LINE.max(state.settings.max_body.saturating_mul(8));
    most.min(LONGEST).min(state.budget.limits().account)
}

/// What became of an import.
#[derive(Debug, Default, Serialize, ToSchema)]
pub struct ImportView {
    /// Lines that were written, by kind.
    added: BTreeMap<String, u64>,
    /// Lines that were there already.
    unchanged: u64,
    /// Whether the last line came: the account goes on from here. Until then the rest may still be sent.
    ended: bool,
}

/// The account that a request is about: the caller's, or for admins another one.
fn subject(configs: &dyn AccountConfigs, caller: &Caller, query: &mut Query) -> (AccountKey, Tag) {
    let Some(id) = query.take("account_id") else { return (caller.account, caller.tag) };
    named_account(configs, caller, &id).unwrap_or_else(|| {
        query.wrong("account_id", "unknown_account", "Give the id of an account: acc_...");
        (caller.account, caller.tag)
    })
}

/// Export the account
///
/// Everything that it keeps, as lines of JSON: `account`, then each `source`, `endpoint`, `campaign`, `agent`, `batch`,
/// `event`, `call`, `contact`, `replay` and `delivery` with its attempts, and `end`. Now and then a `cursor`: a stream that broke off goes on after it with `?cursor=`. What is
/// recorded after the beginning is not in it. Without `secrets` no credential and no endpoint's headers are in it; only an
/// admin key may ask for them, `sealed` as they lie in the store or `clear`.
#[utoipa::path(
    get, path = "/v1/export", tag = "Lifetime of data",
    params(
        ("cursor" = Option<String>, Query, description = "That of the last `cursor` line that came"),
        ("secrets" = Option<String>, Query, description = "`none`, `sealed` or `clear`; default `none`"),
        ("account_id" = Option<String>, Query, description = "Another account, for admin keys"),
    ),
    responses((status = 200, description = "Lines of JSON", body = String, content_type = "application/x-ndjson")),
)]
pub async fn export(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let mut query = Query::read(query.as_deref());
    let (account, tag) = subject(&*state.store, &caller, &mut query);
    let read = |word: &str| match word {
        "none" => Some(Secrets::Without),
        "sealed" => Some(Secrets::Sealed),
        "clear" => Some(Secrets::Clear),
        _ => None,
    };
    let secrets = query.word("secrets", read, &["none", "sealed", "clear"]).unwrap_or(Secrets::Without);
    let cursor = query.take("cursor").and_then(|cursor| {
        let place = Cursor::read(&cursor, tag);
        if place.is_none() {
            let detail = "Pass on the \"cursor\" of a line of this account's export, or leave it out.";
            query.wrong("cursor", BAD_CURSOR, detail);
        }
        place
    });
    query.finish()?;
    if secrets != Secrets::Without {
        caller.require(Right::Admin)?;
    }
    // The first page comes before the answer, so that trouble still is one.
    let first = state.store.export(account, secrets, cursor).await?;
    let pages = stream::try_unfold(Some(Ok(first)), move |page: Option<Result<Exported, Cursor>>| {
        let state = state.clone();
        async move {
            let page = match page {
                None => return Ok(None),
                Some(Ok(first)) => first,
                Some(Err(cursor)) => {
                    let read = state.store.export(account, secrets, Some(cursor)).await;
                    read.inspect_err(|error| error!(%error, "an export broke off"))?
                }
            };
            Ok::<_, StoreError>(Some((text(&page, tag), page.next.map(Err))))
        }
    });
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(pages)).into_response())
}

/// The lines of a page, and where it ended.
fn text(page: &Exported, tag: Tag) -> Bytes {
    let mut text = page.lines.join("\n");
    text.push('\n');
    if let Some(next) = &page.next {
        text.push_str(&format!("{{\"kind\":\"cursor\",\"cursor\":\"{}\"}}\n", next.write(tag)));
    }
    text.into()
}

/// Import an account
///
/// The lines of an export, into an account that has recorded nothing yet; sources and endpoints of the same number are
/// replaced. Records keep their numbers, and their ids for admin keys where no other account here has them. Lines that are there change
/// nothing: what broke off is sent again, whole or from any line on, until `end`. A wrong line is left out and named in the
/// answer. Endpoints come in disabled unless `deliver=true`; those whose secrets were left out always do. Batches that are
/// open go on after `end`, a replay that was under way comes in as cancelled. Ages count from now on.
#[utoipa::path(
    post, path = "/v1/import", tag = "Lifetime of data",
    params(
        ("deliver" = Option<bool>, Query, description = "Whether endpoints stay active: what is pending is sent after the end. Default false"),
        ("first_line" = Option<u64>, Query, description = "The number of the first line, where only a part is sent. Default 1"),
        ("may_end" = Option<bool>, Query, description = "False to leave the import open at `end`. Default true"),
        ("account_id" = Option<String>, Query, description = "Another account, for admin keys"),
    ),
    request_body(content = String, content_type = "application/x-ndjson"),
    responses(
        (status = 200, description = "All lines are in", body = ImportView),
        (status = 409, description = "`account_not_empty`, `import_ended`: nothing can be imported here"),
        (status = 422, description = "Wrong lines were left out: `errors` names them as `line 12`; all others are in"),
    ),
)]
pub async fn import(
    State(state): State<ApiState>,
    caller: Caller,
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Answer<ImportView>, Problem> {
    let mut query = Query::read(query.as_deref());
    let (account, _) = subject(&*state.store, &caller, &mut query);
    let deliver = query.flag("deliver");
    let may_end = query.word("may_end", |word| word.parse().ok(), &["true", "false"]).unwrap_or(true);
    let first = match query.take("first_line").map(|text| text.parse::<u64>()) {
        None => 1,
        Some(Ok(first @ 1..)) => first,
        Some(_) => {
            query.wrong("first_line", "out_of_range", "Give a whole number from 1 on.");
            1
        }
    };
    query.finish()?;
    // Nothing is read before it is this import's turn.
    let Ok(_turn) = tokio::time::timeout(TURN_PATIENCE, state.imports.take(account)).await else {
        let detail =
            "Another import into this account is under way. Wait for its end, then send this one again.";
        return Err(Problem::conflict("import_under_way", detail).closing());
    };
    let (sum, wrong) = Default::default();
    let keeps_ids = caller.may(Right::Admin);
    let mut taking = Taking { state: &state, account, deliver, may_end, keeps_ids, sum, wrong };
    let share = Share::Account(caller.account);
    let (speed, longest) = (state.settings.body_speed, longest_line(&state));
    let unread = |unread: Unread| {
        body::note(&state.budget, share, unread);
        if unread == Unread::TooLarge {
            let detail = format!(
                "A line is longer than {longest} bytes. If an export wrote it, raise --max-body of this server."
            );
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail);
        }
        unread.problem(longest, speed, "What came is in; send it again, whole or from there on.")
    };
    let lines = Lines::begin(request.into_body(), &state.budget, share, speed, longest);
    let mut lines = lines.map_err(|refused| unread(refused.into()))?;
    let (mut number, mut gathered, mut permits, mut bytes) = (first, Vec::new(), Vec::new(), 0);
    while let Some(Held { bytes: line, permit }) = lines.next().await.map_err(unread)? {
        if !line.trim_ascii().is_empty() {
            bytes += line.len();
            match String::from_utf8(line.into()) {
                Ok(line) => {
                    gathered.push((number, line));
                    permits.push(permit);
                }
                Err(_) => taking.malformed(number),
            }
        }
        number += 1;
        if gathered.len() >= STEP || bytes >= STEP_BYTES {
            taking.step(std::mem::take(&mut gathered)).await?;
            permits.clear();
            bytes = 0;
        }
    }
    taking.step(gathered).await?;
    taking.answer().map(Answer)
}

/// An import under way.
struct Taking<'a> {
    state: &'a ApiState,
    account: AccountKey,
    deliver: bool,
    may_end: bool,
    keeps_ids: bool,
    sum: ImportView,
    wrong: WrongFields,
}

impl Taking<'_> {
    fn malformed(&mut self, line: u64) {
        self.wrong.push(format!("line {line}"), "malformed_line", "It is not UTF-8.");
    }

    /// Hands lines to the store.
    async fn step(&mut self, lines: Vec<(u64, String)>) -> Result<(), Problem> {
        if lines.is_empty() {
            return Ok(());
        }
        let (deliver, now) = (self.deliver, self.state.clock.now());
        // An end among these lines must not come before what is wrong with one of them is known.
        let may_end = self.may_end && self.wrong.is_empty();
        let rules: Arc<dyn WireRules> = Arc::clone(&self.state.courier) as _;
        let import = Import { lines, deliver, may_end, keeps_ids: self.keeps_ids, rules, now };
        let done = self.state.store.import(self.account, import).await?;
        let Imported { added, unchanged, mut wrong, ended, stopped } = done;
        for (kind, count) in added {
            *self.sum.added.entry(kind).or_default() += count;
        }
        self.sum.unchanged += unchanged;
        self.sum.ended |= ended;
        if stopped && let Some(Wrong { line, code, detail }) = wrong.pop() {
            return Err(Problem::conflict(code, format!("Line {line}: {detail}")));
        }
        for Wrong { line, code, detail } in wrong {
            self.wrong.push(format!("line {line}"), code, detail);
        }
        if ended && let Some(config) = self.state.store.config(self.account) {
            let target = |number| EndpointRef { account: self.account, number };
            self.state.queues.wake(config.endpoints.iter().map(|it| target(it.number)).collect());
        }
        Ok(())
    }

    fn answer(self) -> Result<ImportView, Problem> {
        if self.wrong.is_empty() {
            return Ok(self.sum);
        }
        Err(Problem::of_fields(StatusCode::UNPROCESSABLE_ENTITY, self.wrong))
    }
}
