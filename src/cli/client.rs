//! A client of postcall's own API, for the commands that talk to a server: JSON in, JSON out, and problem documents
//! turned into the sentences that they hold. Refuses to know what the commands ask for.

use std::time::Duration;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Method};
use serde_json::Value;
use tokio::time::Instant;

use crate::clock::random_bytes;
use crate::config;
use crate::delivery::guard::Guard;
use crate::delivery::wire::{Exchange, Opened, Target, Wire};
use crate::model::AccountKey;

/// For the head of an answer, and for the rest of it.
const PATIENCE: Duration = Duration::from_secs(30);
/// For a request that brings many lines, which stand behind everything else.
const LONG_PATIENCE: Duration = Duration::from_secs(300);

/// The largest answer that is read, in bytes: a page of deliveries has every attempt with what came back.
const LARGEST: usize = 64 << 20;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A wire to any address: whoever types a command chooses where it goes.
///
/// # Errors
/// When the machine's TLS cannot be set up.
pub fn open_wire() -> Result<Wire, String> {
    let everywhere = ["0.0.0.0/0", "::/0"].iter().filter_map(|network| network.parse().ok()).collect();
    Wire::new(Guard::new(everywhere), None).map_err(|error| error.to_string())
}

/// Which server a command talks to.
#[derive(Debug, clap::Args)]
pub struct Server {
    /// Where postcall is; POSTCALL_URL unless said, else http://127.0.0.1:8080
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// The API key; POSTCALL_KEY or POSTCALL_ADMIN_KEY unless said
    #[arg(long, global = true, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
}

impl Server {
    /// A client of it.
    ///
    /// # Errors
    /// A sentence when no key was given.
    pub fn client(&self) -> Result<Client, String> {
        let url = self.url.clone().or_else(|| config::variable(config::URL));
        connect("--url", url.as_deref().unwrap_or("http://127.0.0.1:8080"), self.key.clone())
    }
}

/// A client of the server at `base`, which `option` says, with this API key or the one in the environment.
///
/// # Errors
/// A sentence when there is none.
pub fn connect(option: &'static str, base: &str, key: Option<String>) -> Result<Client, String> {
    let key = key.or_else(|| config::variable(config::KEY));
    let key = key.or_else(|| config::variable(config::ADMIN_KEY)).ok_or_else(|| {
        format!("no API key: give --key, or set {} (the first start of postcall prints one)", config::KEY)
    })?;
    Ok(Client { option, ..Client::new(base, &key)? })
}

/// Why something was not taken.
#[derive(Debug)]
pub struct Refusal {
    /// As a sentence.
    pub said: String,
    /// As the server said it; `Null` when it said nothing.
    pub document: Value,
}

/// Speaks to one server with one key.
#[derive(Clone)]
pub struct Client {
    wire: Wire,
    base: String,
    key: HeaderValue,
    /// What says where the server is, for those who have to look elsewhere.
    option: &'static str,
}

impl Client {
    /// A client of the server at `base` (`http://127.0.0.1:8080`) with an API key.
    ///
    /// # Errors
    /// A sentence when the key can be in no header, or TLS cannot be set up.
    pub fn new(base: &str, key: &str) -> Result<Self, String> {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.trim()))
            .map_err(|_| "the API key has characters that no key has; copy it again".to_owned())?;
        value.set_sensitive(true);
        let base = base.trim().trim_end_matches('/').to_owned();
        Ok(Self { wire: open_wire()?, base, key: value, option: "--url" })
    }

    /// Reads.
    ///
    /// # Errors
    /// A sentence that says what went wrong and what to do.
    pub async fn get(&self, path: &str) -> Result<Value, String> {
        self.ask(Method::GET, path, None).await
    }

    /// Makes something, once: a repeat on the way is told by its `Idempotency-Key`.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.ask(Method::POST, path, Some(body)).await
    }

    /// Deletes.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn delete(&self, path: &str) -> Result<(), String> {
        self.ask(Method::DELETE, path, None).await.map(drop)
    }

    /// Reads something long, line by line: each whole line without its end, and nothing of a last one that was cut.
    ///
    /// # Errors
    /// As for [`Self::get`]; also when the answer breaks off, after the lines that came.
    pub async fn lines(
        &self,
        path: &str,
        mut each: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let url = format!("{}{path}", self.base);
        let headers = vec![(AUTHORIZATION, self.key.clone())];
        let mut answer = self.open(&Method::GET, &url, headers, Bytes::new(), PATIENCE).await?;
        let (is_success, mut buffer) = ((200..300).contains(&answer.status), Vec::new());
        while let Some(part) = answer.next().await.map_err(|trouble| format!("{url} broke off: {trouble}"))? {
            buffer.extend_from_slice(&part);
            if is_success && part.contains(&b'\n') {
                let end = buffer.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
                buffer[..end]
                    .split_inclusive(|&byte| byte == b'\n')
                    .try_for_each(|line| each(line.strip_suffix(b"\n").unwrap_or(line)))?;
                buffer.drain(..end);
            }
        }
        if is_success { Ok(()) } else { Err(format!("GET {url}: {}", problem(answer.status, &buffer))) }
    }

    /// Brings lines of JSON. Not named by a key: to bring them twice is to bring them once.
    ///
    /// # Errors
    /// The problem document when it is one, else as for [`Self::get`].
    pub async fn bring(&self, path: &str, lines: Vec<u8>) -> Result<Value, Refusal> {
        let url = format!("{}{path}", self.base);
        let headers = vec![
            (AUTHORIZATION, self.key.clone()),
            (CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        ];
        let plain = |said| Refusal { said, document: Value::Null };
        let mut opened =
            self.open(&Method::POST, &url, headers, lines.into(), LONG_PATIENCE).await.map_err(plain)?;
        let body = gather(&mut opened).await.map_err(plain)?;
        self.judge(opened.status, &body).map_err(|said| Refusal {
            said: format!("POST {url}: {said}"),
            document: serde_json::from_slice(&body).unwrap_or_default(),
        })
    }

    async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, String> {
        let mut headers = vec![(AUTHORIZATION, self.key.clone())];
        if method == Method::POST
            && let Ok(value) = HeaderValue::from_str(&HEXLOWER.encode(&random_bytes::<16>()))
        {
            headers.push((IDEMPOTENCY_KEY, value));
        }
        let url = format!("{}{path}", self.base);
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let mut opened = self.open(&method, &url, headers, body, PATIENCE).await?;
        let read = tokio::time::timeout(PATIENCE, self.read(&mut opened)).await;
        let read = read.unwrap_or_else(|_| Err("the answer does not end".to_owned()));
        read.map_err(|sentence| format!("{method} {url}: {sentence}"))
    }

    /// Opens an answer without an end, from after the event of an id. Of any other answer than 200, what it says.
    ///
    /// # Errors
    /// As for [`Self::get`].
    pub async fn stream(&self, path: &str, last: Option<&str>) -> Result<Opened, String> {
        let mut headers = vec![(AUTHORIZATION, self.key.clone())];
        if let Some(value) = last.and_then(|last| HeaderValue::from_str(last).ok()) {
            headers.push((LAST_EVENT_ID, value));
        }
        let url = format!("{}{path}", self.base);
        let mut opened = self.open(&Method::GET, &url, headers, Bytes::new(), PATIENCE).await?;
        match opened.status {
            200 => Ok(opened),
            _ => match self.read(&mut opened).await {
                Ok(_) => Err(format!(
                    "GET {url}: the answer is no stream; does {} lead to a postcall?",
                    self.option
                )),
                Err(sentence) => Err(format!("GET {url}: {sentence}")),
            },
        }
    }

    async fn open(
        &self,
        method: &Method,
        url: &str,
        headers: Vec<(HeaderName, HeaderValue)>,
        body: Bytes,
        timeout: Duration,
    ) -> Result<Opened, String> {
        let account = AccountKey::DEFAULT;
        let (target, start) = (Target::of(url), Instant::now());
        let exchange = Exchange { target, headers, body, start, timeout, account };
        self.wire.open(method.clone(), exchange).await.map_err(|trouble| {
            let option = self.option;
            format!("{url} does not answer: {trouble}. Is postcall running there? {option} says where it is")
        })
    }

    /// The JSON of an answer; `Null` for an empty one.
    async fn read(&self, opened: &mut Opened) -> Result<Value, String> {
        let body = gather(opened).await?;
        self.judge(opened.status, &body)
    }

    fn judge(&self, status: u16, body: &[u8]) -> Result<Value, String> {
        if !(200..300).contains(&status) {
            return Err(problem(status, body));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(body)
            .map_err(|_| format!("the answer is not JSON; does {} lead to a postcall?", self.option))
    }
}

/// A path with parameters, those without a value left out.
pub fn with_query(path: &str, parameters: &[(&str, Option<&str>)]) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    for (name, value) in parameters {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// An id as a part of a path.
///
/// # Errors
/// A sentence when it cannot be one.
pub fn in_path(id: &str) -> Result<&str, String> {
    match id.is_empty() || id.contains(['/', '?', '#', '%', ' ']) {
        true => Err(format!("{id:?} is no id; lists show them")),
        false => Ok(id),
    }
}

/// The address of one record in a list, whatever letters its id has.
pub fn path(list: &str, id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    let letter = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    format!("{list}/{}", id.bytes().map(letter).collect::<String>())
}

async fn gather(opened: &mut Opened) -> Result<Vec<u8>, String> {
    let mut body = Vec::new();
    while let Some(part) =
        opened.next().await.map_err(|trouble| format!("the answer broke off: {trouble}"))?
    {
        body.extend_from_slice(&part);
        if body.len() > LARGEST {
            return Err("the answer is larger than this command reads; use the API itself".to_owned());
        }
    }
    Ok(body)
}

/// A problem document (RFC 9457) as a sentence; anything else as its beginning.
fn problem(status: u16, body: &[u8]) -> String {
    const ENOUGH: usize = 200;
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let Some(detail) = document["detail"].as_str() else {
        let text: String = String::from_utf8_lossy(body).chars().take(ENOUGH).collect();
        return format!("answered {status}: {}", text.trim());
    };
    let fields: Vec<String> =
        document["errors"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|error| Some(format!("{}: {}", error["field"].as_str()?, error["detail"].as_str()?)))
            .filter(|field| field != detail)
            .chain(document["candidates"].as_array().into_iter().flatten().filter_map(|call| {
                Some(format!("{} of {}", call["id"].as_str()?, call["source_id"].as_str()?))
            }))
            .collect();
    if fields.is_empty() { detail.to_owned() } else { format!("{detail} {}", fields.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_is_shown_as_its_sentences() {
        let document = br#"{"type":"about:blank","status":422,"detail":"Correct these fields: a, b.",
            "errors":[{"field":"a","code":"x","detail":"Give a text."},{"field":"b","detail":"Leave it out."}]}"#;
        assert_eq!(problem(422, document), "Correct these fields: a, b. a: Give a text. b: Leave it out.");
        let single = br#"{"detail":"a: Give a text.","errors":[{"field":"a","detail":"Give a text."}]}"#;
        assert_eq!(problem(422, single), "a: Give a text.", "said once is enough");
        let ambiguous = br#"{"detail":"Say which.","candidates":[{"id":"call_1","source_id":"src_1"}]}"#;
        assert_eq!(problem(409, ambiguous), "Say which. call_1 of src_1");
        assert_eq!(problem(502, b"<html>Bad Gateway</html>\n"), "answered 502: <html>Bad Gateway</html>");
    }
}
