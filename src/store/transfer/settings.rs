//! Sources and endpoints: how they are exported and imported. What comes in passes the checks of what a request brings: bounds
//! of the model, secrets of the dialects, URLs and headers by the rules of whoever sends. Does not depend on how lines are
//! read and written.

use data_encoding::BASE64;
use serde::de::DeserializeOwned;

use super::batches;
use super::export_page::{ExportPage, raw, time};
use super::import_line::{ImportContext, LineOutcome, Refused, is_known, is_same_age, read, wrong};
use super::plausible::MOST_REVISIONS;
use crate::clock::random_bytes;
use crate::dialect::check::CHECKED_SECRETS;
use crate::dialect::signature::{check_secret, check_signing_secret};
use crate::dialect::{self, Proof};
use crate::model::account::Limited;
use crate::model::bounds::{LONGEST_DEADLINE, LONGEST_TEXT, MOST_HEADERS, TIMEOUTS, is_span, is_text};
use crate::model::endpoint::Shape;
use crate::model::id::Kind;
use crate::model::secret::Credential;
use crate::model::{AccountKey, DialectName, EventType, Text, Time};
use crate::store::config::accounts::Changed;
use crate::store::config::endpoint_rows::ImportedEndpoint;
use crate::store::config::sealed::{self, SealedCredential, SealedEndpoint, SealedSource};
use crate::store::config::source_rows::ImportedSource;
use crate::store::config::{account_row, endpoint_counters, endpoint_rows, limits, source_rows};
use crate::store::export::{EndpointLine, Secrets, ShapeLine, SourceLine, WireRules};
use crate::store::layout::keys::{MOST_BROUGHT, keys_of, pack, unpack};
use crate::store::packed::damaged;
use crate::store::sql::{Connection, OptionalExtension};
use crate::store::vault::Vault;
use crate::store::{EndpointRef, StoreError};

/// Why an endpoint is not sent to after it came in.
const HELD: &str = "imported: set its secret if it was left out, then enable it when nobody else sends to it";

/// What is said of values that another vault sealed.
pub const SEALED_ELSEWHERE: &str =
    "It was sealed under another master.key. Export with secrets=clear, or bring that key along.";

fn unseal<T: DeserializeOwned>(vault: &Vault, sealed: &str) -> Result<T, Refused> {
    let opened = BASE64.decode(sealed.as_bytes()).ok().and_then(|bytes| vault.open(&bytes).ok());
    opened
        .and_then(|plain| serde_json::from_slice(&plain).ok())
        .ok_or_else(|| Refused::Line("sealed_elsewhere", SEALED_ELSEWHERE.to_owned()))
}

fn known_dialect(name: &str) -> Result<DialectName, Refused> {
    match DialectName::parse(name) {
        Some(dialect) => Ok(dialect),
        None => wrong("unknown_dialect", "This postcall does not know its dialect."),
    }
}

fn must_fit(what: &str, fits: bool) -> Result<(), Refused> {
    if fits {
        return Ok(());
    }
    wrong("setting_refused", format!("Its {what} is not what can be set through the API."))
}

fn credential_of(sealed: &SealedCredential) -> Result<Credential, Refused> {
    sealed.open().or_else(|_| wrong("malformed_line", "Its credential cannot be read."))
}

/// Each secret as if it was given by hand. One that is no text was made by an import, in place of one that was left out.
fn check_secrets(
    credential: &Credential,
    proof: Proof,
    check: impl Fn(Proof, &str) -> Result<(), String>,
) -> Result<(), Refused> {
    let secrets = credential.secrets.iter().map(|dated| &dated.secret);
    for secret in secrets.chain(&credential.bearer_token) {
        must_fit("secret", is_text(secret.expose()))?;
        if let Ok(text) = std::str::from_utf8(secret.expose()) {
            must_fit("secret", check(proof, text).is_ok())?;
        }
    }
    Ok(())
}

pub fn give_sources(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let mut statement = page.db.prepare_cached(
        "SELECT id, dialect, sealed, created_at, deleted_at FROM sources
         WHERE id > ? AND id <= ? /*account of ?1*/ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(page.range(i64::MAX))?;
    while let Some(row) = rows.next()? {
        let number = unpack(row.get(0)?).1;
        let packed: Vec<u8> = row.get(2)?;
        let source: SealedSource = sealed::open(page.vault, &packed)?;
        let is_there = row.get::<Option<i64>>(4)?.is_none();
        let secrets = match page.secrets {
            Secrets::Clear if is_there => Some(raw(&serde_json::to_string(&source).map_err(damaged)?)?),
            _ => None,
        };
        let fields = SourceLine {
            id: page.id(Kind::Source, number),
            name: source.name,
            dialect: row.get(1)?,
            created_at: Time::from_micros(row.get(3)?),
            deleted_at: time(row.get(4)?),
            secrets,
            sealed: (page.secrets == Secrets::Sealed && is_there).then(|| BASE64.encode(&packed)),
        };
        if !page.lines.add("source", number, &fields) {
            break;
        }
    }
    Ok(())
}

pub fn give_endpoints(page: &mut ExportPage<'_>) -> Result<(), StoreError> {
    let db = page.db;
    let mut statement = db.prepare_cached(
        "SELECT id, revision, sealed, disabled, created_at, deleted_at, of_batch FROM endpoints
         WHERE id > ? AND id <= ? /*account of ?1*/ ORDER BY id LIMIT ?",
    )?;
    let mut rows = statement.query(page.range(i64::MAX))?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let packed: Vec<u8> = row.get(2)?;
        let mut settings: SealedEndpoint = sealed::open(page.vault, &packed)?;
        let is_there = row.get::<Option<i64>>(5)?.is_none();
        let has_secret = is_there && !settings.credential.is_empty();
        if page.secrets != Secrets::Clear || !is_there {
            settings.credential = SealedCredential::default();
            settings.headers.clear();
            settings.plain_headers.clear();
        }
        let gone: Option<[i64; 3]> = db
            .prepare_cached(
                "SELECT delivered, dead, cancelled FROM purged WHERE endpoint = ? /*account of ?1*/",
            )?
            .query_row([id], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))
            .optional()?;
        let fields = EndpointLine {
            id: page.id(Kind::Endpoint, unpack(id).1),
            created_at: Time::from_micros(row.get(4)?),
            deleted_at: time(row.get(5)?),
            disabled: row.get(3)?,
            of_batch: row.get(6)?,
            has_secret,
            revision: row.get(1)?,
            shapes: shapes(db, id)?,
            gone: gone.unwrap_or_default(),
            settings: raw(&serde_json::to_string(&settings).map_err(damaged)?)?,
            sealed: (page.secrets == Secrets::Sealed && is_there).then(|| BASE64.encode(&packed)),
        };
        if !page.lines.add("endpoint", unpack(id).1, &fields) {
            break;
        }
    }
    Ok(())
}

fn shapes(db: &Connection, endpoint: i64) -> Result<Vec<ShapeLine>, StoreError> {
    let mut statement = db.prepare_cached(
        "SELECT revision, dialect, shape FROM shapes WHERE endpoint = ? /*account of ?1*/
             ORDER BY revision",
    )?;
    let mut rows = statement.query([endpoint])?;
    let mut shapes = Vec::new();
    while let Some(row) = rows.next()? {
        let shape = raw(&row.get::<String>(2)?)?;
        shapes.push(ShapeLine { revision: row.get(0)?, dialect: row.get(1)?, shape });
    }
    Ok(shapes)
}

/// Takes a source in.
pub fn take_source(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    let line: SourceLine = read(line)?;
    let (db, number) = (context.db, context.number(Kind::Source, &line.id)?);
    let key = pack(context.account, number);
    if is_same_age(db, "sources", key, line.created_at)? == Some(true) {
        return Ok(LineOutcome::Unchanged);
    }
    context.must_be_open()?;
    let dialect = known_dialect(&line.dialect)?;
    let settings: SealedSource = match (&line.sealed, &line.secrets) {
        (Some(sealed), _) => unseal(context.vault, sealed)?,
        (None, Some(clear)) => read(clear.get())?,
        (None, None) => unknown_source(line.name, dialect),
    };
    check_source(&settings, dialect, context.import.now)?;
    if line.deleted_at.is_none() {
        limits::check(db, context.account, Limited::Sources)?;
    }
    let source = ImportedSource {
        id: key,
        dialect: dialect.as_str(),
        sealed: sealed::seal(context.vault, &settings)?,
        created_at: line.created_at,
        deleted_at: line.deleted_at,
    };
    source_rows::put_imported(db, &source)?;
    account_row::raise_number(db, context.account, "sources", number)?;
    context.effects.changed.push(Changed::Source(context.account, number));
    Ok(LineOutcome::Added)
}

fn check_source(settings: &SealedSource, dialect: DialectName, now: Time) -> Result<(), Refused> {
    let credential = credential_of(&settings.credential)?;
    let token = settings.url_token.as_deref().map(sealed::decode).transpose();
    let token = token.or_else(|_| wrong("malformed_line", "Its URL token cannot be read."))?;
    must_fit("name", is_text(settings.name.as_bytes()))?;
    must_fit("deadline", settings.lost_after.is_none_or(|span| is_span(span, LONGEST_DEADLINE)))?;
    // Each one is an HMAC over whatever a stranger sends.
    must_fit("number of secrets", credential.valid(now).count() <= CHECKED_SECRETS)?;
    check_secrets(&credential, dialect::get(dialect).proof(), check_secret)?;
    must_fit("URL token", token.as_ref().is_none_or(|token| is_text(token.expose())))?;
    // A door without a credential has a token in its URL: without that it would be open to anybody.
    must_fit("credential", !settings.credential.is_empty() || token.is_some())
}

/// A source whose secret was left out: a door without one would be open to anybody, so it gets one that nobody knows.
fn unknown_source(name: String, dialect: DialectName) -> SealedSource {
    let unknown = SealedCredential::unknown(random_bytes());
    match dialect::get(dialect).proof() {
        Proof::Unsigned => SealedSource {
            name,
            credential: SealedCredential::default(),
            url_token: unknown.token(),
            lost_after: None,
        },
        _ => SealedSource { name, credential: unknown, url_token: None, lost_after: None },
    }
}

/// Takes an endpoint in.
pub fn take_endpoint(context: &mut ImportContext<'_>, line: &str) -> Result<LineOutcome, Refused> {
    let line: EndpointLine = read(line)?;
    let (db, number) = (context.db, context.number(Kind::Endpoint, &line.id)?);
    let key = pack(context.account, number);
    if is_same_age(db, "endpoints", key, line.created_at)? == Some(true) {
        return Ok(LineOutcome::Unchanged);
    }
    context.must_be_open()?;
    // One of the same number is replaced, but not if it is owed something: that would go to another's address.
    let is_owed = db
        .prepare_cached("SELECT 1 FROM endpoint_sums WHERE endpoint = ? /*account of ?1*/ AND owed > 0")?
        .exists([key])?;
    if is_owed {
        return is_known(false);
    }
    let mut settings: SealedEndpoint = match &line.sealed {
        Some(sealed) => unseal(context.vault, sealed)?,
        None => read(line.settings.get())?,
    };
    settings.batch_id = batches::id_here(context, settings.batch_id);
    // One from before there was a shortest time gets that.
    settings.timeout = settings.timeout.map(|timeout| timeout.max(*TIMEOUTS.start()));
    let is_there = line.deleted_at.is_none();
    check_endpoint(&settings, is_there.then_some(context.import.rules.as_ref()))?;
    let lacks_secret = line.has_secret && settings.credential.is_empty();
    if lacks_secret {
        settings.credential = SealedCredential::unknown(random_bytes());
    }
    let is_held = is_there && (lacks_secret || !context.import.deliver);
    let disabled = line.disabled.or_else(|| is_held.then(|| HELD.to_owned()));
    let is_reason = |why: &String| why.len() <= LONGEST_TEXT && !why.contains('\0');
    must_fit("reason to be disabled", disabled.as_ref().is_none_or(is_reason))?;
    check_shapes(&line.shapes, line.revision, &settings)?;
    let gone = gone_of(context, line.gone)?;
    let of_batch = line.of_batch && settings.batch_id.is_some();
    match (line.deleted_at, of_batch) {
        (Some(_), _) => {}
        (None, false) => limits::check(db, context.account, Limited::Endpoints)?,
        (None, true) => limits::check_of_batch(db, context.account)?,
    }
    let endpoint = ImportedEndpoint {
        id: key,
        revision: line.revision,
        sealed: sealed::seal(context.vault, &settings)?,
        disabled,
        created_at: line.created_at,
        deleted_at: line.deleted_at,
        of_batch,
    };
    endpoint_rows::put_imported(db, &endpoint)?;
    for ShapeLine { revision, dialect, shape } in &line.shapes {
        endpoint_rows::add_imported_shape(db, key, *revision, dialect, shape.get())?;
    }
    endpoint_counters::put_imported(db, key, gone.owed, gone.parts)?;
    account_row::raise_number(db, context.account, "endpoints", number)?;
    context.effects.changed.push(Changed::Endpoint(EndpointRef { account: context.account, number }));
    Ok(LineOutcome::Added)
}

/// `rules` are those of an endpoint that is still there: nothing is sent to others.
fn check_endpoint(settings: &SealedEndpoint, rules: Option<&dyn WireRules>) -> Result<(), Refused> {
    let dialect = known_dialect(&settings.dialect)?;
    must_fit("url", is_text(settings.url.as_bytes()))?;
    let scope = [&settings.agent_id, &settings.campaign_id, &settings.batch_id];
    must_fit("scope", scope.into_iter().flatten().map(Text::as_bytes).all(is_text))?;
    let dialects = dialect::get(dialect);
    if let Some(events) = &settings.events {
        let is_said =
            |name: &String| EventType::parse(name).is_some_and(|kind| dialects.triggers().contains(&kind));
        let is_list = (1..=EventType::ALL.len()).contains(&events.len());
        must_fit("list of events", is_list && events.iter().all(is_said))?;
    }
    if let Some(name) = sealed::delivering_of(settings).misfit() {
        must_fit(name, false)?;
    }
    let headers = &settings.headers;
    must_fit("number of headers", headers.len().max(settings.plain_headers.len()) <= MOST_HEADERS)?;
    let is_repeated =
        |at: usize| headers[..at].iter().any(|(name, _)| name.eq_ignore_ascii_case(&headers[at].0));
    must_fit("list of headers", !(0..headers.len()).any(is_repeated))?;
    let plain = settings.plain_headers.iter();
    must_fit("list of plain headers", plain.map(String::as_bytes).all(is_text))?;
    check_secrets(&credential_of(&settings.credential)?, dialects.proof(), check_signing_secret)?;
    let Some(rules) = rules else { return Ok(()) };
    if let Err(why) = rules.check_url(&settings.url) {
        return wrong("url_refused", format!("Its endpoint cannot be sent to from here: {why}."));
    }
    let is_refused = |(name, value): &(String, String)| rules.check_header(name, value).is_err();
    must_fit("list of headers", !headers.iter().any(is_refused))
}

/// Each revision once, the last one being that of today.
fn check_shapes(shapes: &[ShapeLine], revision: i64, settings: &SealedEndpoint) -> Result<(), Refused> {
    let refused = || Refused::Line("malformed_line", "Its revisions cannot be.".to_owned());
    let shape_of = |line: &ShapeLine| serde_json::from_str::<Shape>(line.shape.get()).map_err(|_| refused());
    for shape in shapes {
        known_dialect(&shape.dialect)?;
        shape_of(shape)?;
    }
    let newest = shapes.last().ok_or_else(refused)?;
    let are_numbered = shapes.iter().all(|it| (1..=MOST_REVISIONS).contains(&it.revision))
        && shapes.is_sorted_by(|one, next| one.revision < next.revision)
        && newest.revision == revision;
    let is_todays = newest.dialect == settings.dialect && shape_of(newest)? == settings.shape;
    if are_numbered && is_todays { Ok(()) } else { Err(refused()) }
}

/// The deliveries of an endpoint that are gone.
struct Gone {
    owed: i64,
    parts: [i64; 3],
}

/// Together an account's endpoints were owed no more than it can number.
fn gone_of(context: &mut ImportContext<'_>, parts: [i64; 3]) -> Result<Gone, Refused> {
    let sum = |parts: [i64; 3]| parts.into_iter().try_fold(0i64, i64::checked_add);
    let owed = sum(parts).filter(|&owed| parts.iter().all(|&count| count >= 0) && owed <= MOST_BROUGHT);
    let before = match context.effects.owed {
        Some(before) => before,
        None => owed_before(context.db, context.account)?,
    };
    let all = owed.and_then(|owed| before.checked_add(owed));
    match (owed, all) {
        (Some(owed), Some(all)) if all <= MOST_BROUGHT => {
            context.effects.owed = Some(all);
            Ok(Gone { owed, parts })
        }
        _ => wrong(
            "out_of_range",
            "With what is gone of it, its endpoints were owed more than an account can number.",
        ),
    }
}

fn owed_before(db: &Connection, account: AccountKey) -> Result<i64, StoreError> {
    let sums = db
        .prepare_cached(
            "SELECT CAST(COALESCE(SUM(owed), 0) AS BIGINT) FROM endpoint_sums
             WHERE endpoint > ? AND endpoint < ? /*account of ?1*/",
        )?
        .query_row(keys_of(account), |row| row.get(0))?;
    Ok(sums)
}
