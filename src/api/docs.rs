//! `/openapi.json`, and the same as a page that people can read without the network: one file, no script.
//! Refuses to say anything that the document does not, and is given that: it is made of the routes, of which these are two.

use std::fmt::Write;
use std::sync::{LazyLock, OnceLock};

use axum::Extension;
use axum::response::{Html, IntoResponse, Response};
use data_encoding::BASE64;
use http::{HeaderValue, header};
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::openapi::REQUIRED_RIGHT;
use super::security_headers::SHARED;

/// The document as JSON.
#[derive(Clone, Copy, Debug)]
pub struct ApiDocument(pub &'static LazyLock<String>);

impl ApiDocument {
    /// The page. An unreadable document cannot be: it was written by us.
    fn page(self) -> &'static str {
        static PAGE: OnceLock<String> = OnceLock::new();
        PAGE.get_or_init(|| render(&serde_json::from_str(self.0).unwrap_or_default()))
    }
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}\
    h2{margin-top:3rem;border-bottom:1px solid #ccc}h3{margin-bottom:.2rem}\
    code{background:#f2f2f2;padding:.1em .3em;border-radius:3px}\
    table{border-collapse:collapse;margin:.5rem 0 1rem;width:100%}\
    td,th{border:1px solid #ddd;padding:.3rem .6rem;text-align:left;vertical-align:top}\
    .method{display:inline-block;min-width:4.5rem;font-weight:700}section{margin-bottom:2rem}nav a{margin-right:1rem}";

/// What a browser may do for the page: take the one style that is in it, and an empty picture as its icon.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let style = BASE64.encode(digest(&SHA256, STYLE.as_bytes()).as_ref());
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{style}'; img-src data:; base-uri 'none'; form-action 'none'; \
         frame-ancestors 'none'"
    );
    HeaderValue::try_from(policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
});

/// The OpenAPI document
#[utoipa::path(
    get, path = "/openapi.json", tag = "Operations",
    responses((status = 200, description = "OpenAPI 3.1", body = Object)),
)]
pub async fn document(Extension(document): Extension<ApiDocument>) -> Response {
    let kind = HeaderValue::from_static("application/json");
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, SHARED)];
    (headers, document.0.as_str()).into_response()
}

/// This page
#[utoipa::path(
    get, path = "/docs", tag = "Operations",
    responses((status = 200, description = "The documentation as a page", body = String, content_type = "text/html")),
)]
pub async fn page(Extension(document): Extension<ApiDocument>) -> Response {
    let headers = [(header::CONTENT_SECURITY_POLICY, POLICY.clone()), (header::CACHE_CONTROL, SHARED)];
    (headers, Html(document.page())).into_response()
}

/// In the order in which somebody new needs them.
const TAGS: [&str; 13] = [
    "Doors",
    "Sources",
    "Endpoints",
    "Deliveries",
    "Replays",
    "Events",
    "Calls",
    "Batches",
    "Analytics",
    "Quarantine",
    "Accounts and keys",
    "Lifetime of data",
    "Operations",
];

fn render(document: &Value) -> String {
    let mut page = String::new();
    let title = escape(text(&document["info"]["title"]));
    let about = paragraphs(text(&document["info"]["description"]));
    put(
        &mut page,
        format_args!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title} API</title><link rel=\"icon\" href=\"data:,\"><style>{STYLE}</style>\
         <h1>{title} API {}</h1>{about}<nav>",
            escape(text(&document["info"]["version"])),
        ),
    );
    for tag in TAGS {
        put(&mut page, format_args!("<a href=\"#{0}\">{tag}</a> ", anchor(tag)));
    }
    page.push_str("<a href=\"#shapes\">Shapes</a> <a href=\"/openapi.json\">openapi.json</a></nav>");
    for tag in TAGS {
        put(&mut page, format_args!("<h2 id=\"{}\">{tag}</h2>", anchor(tag)));
        for (path, method, operation) in operations(document) {
            if operation["tags"].as_array().is_some_and(|tags| tags.iter().any(|known| known == tag)) {
                put_operation(&mut page, path, method, operation);
            }
        }
    }
    page.push_str("<h2 id=\"shapes\">Shapes</h2>");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        put_schema(&mut page, name, schema);
    }
    page.push_str("</html>\n");
    page
}

fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().into_iter().flatten();
        methods.map(move |(method, operation)| (path.as_str(), method.as_str(), operation))
    })
}

fn put_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    put(
        page,
        format_args!(
            "<section><h3>{}</h3><p><span class=\"method\">{}</span><code>{}</code></p>{}",
            escape(text(&operation["summary"])),
            method.to_ascii_uppercase(),
            escape(path),
            paragraphs(text(&operation["description"])),
        ),
    );
    if let Some(right) = operation[REQUIRED_RIGHT].as_str() {
        put(page, format_args!("<p>Needs a key with the right <code>{}</code>.</p>", escape(right)));
    }
    let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
    if !parameters.is_empty() {
        page.push_str("<table><tr><th>Parameter</th><th>In</th><th></th></tr>");
        for parameter in parameters {
            put(
                page,
                format_args!(
                    "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                    escape(text(&parameter["name"])),
                    escape(text(&parameter["in"])),
                    marked(text(&parameter["description"])),
                ),
            );
        }
        page.push_str("</table>");
    }
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        put(page, format_args!("<p>Body: {}</p>", kind(body)));
    }
    page.push_str("<table><tr><th>Answer</th><th>Body</th><th></th></tr>");
    for (status, response) in operation["responses"].as_object().into_iter().flatten() {
        let content = response["content"].as_object().into_iter().flatten().next();
        put(
            page,
            format_args!(
                "<tr><td>{}</td><td>{}</td><td>{}</td></tr>",
                escape(status),
                content.map(|(_, content)| kind(&content["schema"])).unwrap_or_default(),
                marked(text(&response["description"])),
            ),
        );
    }
    page.push_str("</table></section>");
}

fn put_schema(page: &mut String, name: &str, schema: &Value) {
    let name = escape(name);
    put(
        page,
        format_args!(
            "<section id=\"shape-{name}\"><h3>{name}</h3>{}",
            paragraphs(text(&schema["description"]))
        ),
    );
    page.push_str("<table><tr><th>Field</th><th>Kind</th><th></th></tr>");
    let parts = schema["allOf"].as_array().map_or(std::slice::from_ref(schema), Vec::as_slice);
    for part in parts {
        if part["$ref"].is_string() {
            put(page, format_args!("<tr><td colspan=\"3\">and the fields of {}</td></tr>", kind(part)));
        }
        for (field, schema) in part["properties"].as_object().into_iter().flatten() {
            put(
                page,
                format_args!(
                    "<tr><td><code>{}</code></td><td>{}</td><td>{}</td></tr>",
                    escape(field),
                    kind(schema),
                    marked(text(&schema["description"])),
                ),
            );
        }
    }
    page.push_str("</table></section>");
}

/// What a schema is, in a word or as a link to its shape.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()) {
        let name = escape(name);
        return format!("<a href=\"#shape-{name}\">{name}</a>");
    }
    for (choice, word) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " and ")] {
        if let Some(parts) = schema[choice].as_array() {
            return parts.iter().map(kind).collect::<Vec<_>>().join(word);
        }
    }
    let name = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().map(text).collect::<Vec<_>>().join(" or "),
        kind => text(kind).to_owned(),
    };
    if schema["items"].is_object() {
        return format!("{} of {}", escape(&name), kind(&schema["items"]));
    }
    escape(&name)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn anchor(tag: &str) -> String {
    tag.to_ascii_lowercase().replace(' ', "-")
}

/// Paragraphs with `code` in them.
fn paragraphs(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        put(&mut out, format_args!("<p>{}</p>", marked(paragraph)));
    }
    out
}

/// A line with `code` in it.
fn marked(line: &str) -> String {
    let escaped = escape(line);
    let parts = escaped.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { format!("<code>{part}</code>") } else { part.to_owned() })
        .collect()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put(page: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = page.write_fmt(part);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::OPENAPI;

    #[test]
    fn the_page_shows_every_route_and_needs_no_network() {
        let document: Value = serde_json::from_str(&OPENAPI).unwrap();
        let page = ApiDocument(&OPENAPI).page();
        for (path, method, operation) in operations(&document) {
            let shown = format!(
                "<span class=\"method\">{}</span><code>{}</code>",
                method.to_ascii_uppercase(),
                escape(path)
            );
            assert_eq!(page.matches(&shown).count(), 1, "{method} {path}: {}", operation["tags"]);
        }
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"));
    }
}
