//! What an attacker knows of the server: its address, the ingest URLs of others, which are no secret, and what it has as a
//! tenant. Does not depend on what it does with them.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::bodies::SECRET;
use crate::postcall::Postcall;
use crate::wire;

/// What is attacked, and with what.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Target {
    /// Host and port of the server.
    pub host: String,
    /// The path of an ingest URL of somebody else, of a signed source of the standard dialect.
    pub foreign: String,
    /// A request that somebody else's source accepted, as it went over the wire.
    pub captured: String,
    /// An API key of an account of the attacker's own, a plain one.
    pub key: String,
    /// The path of the ingest URL of a source of this account, voicegenie, signed with the secret of [`crate::bodies`].
    pub own: String,
    /// The same of a source of the cllr dialect, which needs no signature.
    pub unsigned: String,
}

impl Target {
    /// Makes an attacker an account with a key that is no admin's, and two sources.
    pub async fn of(postcall: &Postcall, foreign: String, captured: String) -> Result<Self, String> {
        let account = postcall.api("POST", "/v1/accounts", Some(json!({"name": "attacker"}))).await?;
        let (host, _) = wire::split(&postcall.door("/"))?;
        let key = account["key"].as_str().ok_or("the account has no key")?.to_owned();
        let mut target = Self { host, foreign, captured, key, own: String::new(), unsigned: String::new() };
        let signed = json!({"name": "own", "dialect": "voicegenie", "secret": SECRET});
        target.own = target.source(signed).await?;
        target.unsigned = target.source(json!({"name": "unsigned", "dialect": "cllr"})).await?;
        Ok(target)
    }

    /// Asks the API with the attacker's own key; gives status and answer.
    pub async fn ask(&self, method: &str, path: &str, body: Value) -> Result<(u16, Value), String> {
        let bearer = format!("Bearer {}", self.key);
        let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
        let url = format!("http://{}{path}", self.host);
        let (status, answer) = wire::once(method, &url, &headers, body.to_string()).await?;
        Ok((status, serde_json::from_slice(&answer).unwrap_or_default()))
    }

    /// Makes an endpoint of the attacker's account; says whether the server let it.
    pub async fn endpoint(&self, url: &str, more: Value) -> Result<bool, String> {
        let mut form = json!({"url": url, "dialect": "standard"});
        for (name, value) in more.as_object().into_iter().flatten() {
            form[name] = value.clone();
        }
        self.ask("POST", "/v1/endpoints", form).await.map(|(status, _)| status == 201)
    }

    /// Makes a source of the attacker's account; gives the path of its ingest URL.
    pub async fn source(&self, form: Value) -> Result<String, String> {
        let (status, made) = self.ask("POST", "/v1/sources", form).await?;
        let url = made["url"].as_str().ok_or_else(|| format!("a source was answered {status}: {made}"))?;
        wire::split(url).map(|(_, path)| path)
    }

    /// A request as it goes over the wire, with the attacker's own key.
    pub fn keyed(&self, method: &str, path: &str, body: &str) -> Vec<u8> {
        let more = format!("authorization: Bearer {}\r\ncontent-type: application/json\r\n", self.key);
        [self.head(method, path, &more, body.len()), body.into()].concat()
    }

    /// The head of a request that declares a length; `more` are lines of headers, each with its end.
    pub fn head(&self, method: &str, path: &str, more: &str, length: usize) -> Vec<u8> {
        let host = &self.host;
        format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n{more}content-length: {length}\r\n\r\n").into()
    }

    /// An event at the attacker's own source without a signature, of a call of this number.
    pub fn event(&self, number: u64) -> Vec<u8> {
        let body = format!(r#"{{"callId":"attack-{number}","callAnalysis":{{"summary":"None."}}}}"#);
        let head = self.head("POST", &self.unsigned, "content-type: application/json\r\n", body.len());
        [head, body.into()].concat()
    }
}
