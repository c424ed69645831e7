//! The OpenAPI document: what the routes say of themselves, and what is the same for all of them.
//! Refuses to describe a route by hand.

use utoipa::openapi::extensions::Extensions;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::ArrayItems;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Info, OpenApi, Ref, ResponseBuilder};
use utoipa::openapi::{HttpMethod, ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::problem::{Candidate, Document, FieldError};
use crate::model::Right;

/// The extension of an operation that says which right its API key needs.
pub const REQUIRED_RIGHT: &str = "x-required-right";
/// The one door that takes an API key.
const CALLBACK: &str = "/aiDialerCallbackWithData";

const ABOUT: &str = "One door in for the events of AI dialers, one door out for everybody who must learn of them. \
    Errors are problem documents (RFC 9457) with a stable `code` and a `detail` that says what to do. Lists have a \
    cursor. A POST with an `Idempotency-Key` happens once, however often it is sent; a secret that its answer shows once is not \
    in the answers to repeats. `Retry-After` says when to send a refused request again.\n\nAn API key has rights: `read` sees \
    everything but credentials, `ingest` brings events by the key alone, `write` changes, sends and makes, `erase` destroys \
    what is recorded, `admin` makes accounts and acts on any of them. Each operation says which one it needs \
    (`x-required-right`); a key without it gets 403 with the code `forbidden`.";

/// The document as JSON, from what the routes say: those that need no key, the doors, and those that a key opens, by the right
/// that it has to have.
pub fn json(open: OpenApi, doors: OpenApi, keyed: impl Iterator<Item = (Right, OpenApi)>) -> String {
    let document = document(open, doors, keyed);
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

fn document(
    mut api: OpenApi,
    mut callback: OpenApi,
    keyed: impl Iterator<Item = (Right, OpenApi)>,
) -> OpenApi {
    for (_, operation) in operations(&mut callback).filter(|(place, _)| place.1 == CALLBACK) {
        need(operation, Right::Ingest);
    }
    api.merge(callback);
    for (right, mut opened) in keyed {
        for ((method, _), operation) in operations(&mut opened) {
            need(operation, right);
            complete_keyed(operation, &method);
        }
        api.merge(opened);
    }
    let mut info = Info::new("postcall", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    api.info = info;
    let components = api.components.get_or_insert_default();
    components.schemas.insert("Problem".to_owned(), Document::schema());
    for (form, change) in [("SourceForm", "SourceChange"), ("EndpointForm", "EndpointChange")] {
        if let Some(schema) = components.schemas.get(form).cloned() {
            components.schemas.insert(change.to_owned(), with_all_optional(schema));
        }
    }
    for (name, schema) in &mut components.schemas {
        refer(name, schema);
    }
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    components.schemas.insert(Candidate::name().into_owned(), Candidate::schema());
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme("api_key", bearer);
    for ((method, path), operation) in operations(&mut api) {
        operation.operation_id = Some(operation_id(&method, path));
        complete(operation);
    }
    api
}

/// Every operation, with its method and path.
fn operations(api: &mut OpenApi) -> impl Iterator<Item = ((HttpMethod, &str), &mut Operation)> {
    api.paths.paths.iter_mut().flat_map(|(path, item)| {
        let all = [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Put, &mut item.put),
            (HttpMethod::Patch, &mut item.patch),
            (HttpMethod::Delete, &mut item.delete),
        ];
        all.into_iter().filter_map(|(method, operation)| Some(((method, path.as_str()), operation.as_mut()?)))
    })
}

/// Says which right an operation needs.
fn need(operation: &mut Operation, right: Right) {
    let extensions = Extensions::builder().add(REQUIRED_RIGHT, right.as_str()).build();
    operation.extensions.get_or_insert_default().merge(extensions);
}

/// A list, and what is shown after a rotation, refer to their shape in place of repeating it.
fn refer(name: &str, schema: &mut RefOr<Schema>) {
    match (name.split_once('_'), schema) {
        (Some(("Listed", of)), RefOr::T(Schema::Object(list))) => {
            if let Some(RefOr::T(Schema::Array(data))) = list.properties.get_mut("data") {
                data.items = ArrayItems::RefOrSchema(Box::new(Ref::from_schema_name(of).into()));
            }
        }
        (Some(("Rotated", of)), RefOr::T(Schema::AllOf(parts))) => {
            if let Some(first) = parts.items.first_mut() {
                *first = Ref::from_schema_name(of).into();
            }
        }
        _ => {}
    }
}

/// The form of a change: the same fields, none of them required.
fn with_all_optional(mut form: RefOr<Schema>) -> RefOr<Schema> {
    if let RefOr::T(Schema::Object(object)) = &mut form {
        object.required.clear();
    }
    form
}

/// Unique, as clients that are generated from the document need it: `post_endpoints_id_test`.
fn operation_id(method: &HttpMethod, path: &str) -> String {
    let method = match method {
        HttpMethod::Post => "post",
        HttpMethod::Put => "put",
        HttpMethod::Patch => "patch",
        HttpMethod::Delete => "delete",
        _ => "get",
    };
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method).chain(words).collect::<Vec<_>>().join("_")
}

/// Adds to an operation what holds for all.
fn complete(operation: &mut Operation) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let problem = ResponseBuilder::new()
        .description("A problem: `code` says which, `detail` what to do")
        .content("application/problem+json", content)
        .build();
    operation.responses.responses.insert("default".to_owned(), problem.into());
    operation.security.get_or_insert_default();
}

/// Adds to an operation what holds for all that an API key opens.
fn complete_keyed(operation: &mut Operation, method: &HttpMethod) {
    operation.security = Some(vec![SecurityRequirement::new("api_key", Vec::<String>::new())]);
    if *method == HttpMethod::Post {
        let text = ObjectBuilder::new().schema_type(Type::String).build();
        let key = ParameterBuilder::new()
            .name("Idempotency-Key")
            .parameter_in(ParameterIn::Header)
            .description(Some("Names this request: sent again under the same key, it happens once"))
            .schema(Some(text))
            .build();
        operation.parameters.get_or_insert_default().push(key.into());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use crate::api::OPENAPI;

    #[test]
    fn every_reference_leads_somewhere_and_every_operation_has_a_name_of_its_own() {
        let document: Value = serde_json::from_str(&OPENAPI).unwrap();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for reference in OPENAPI.split("\"$ref\": \"").skip(1) {
            let name = reference.split('"').next().unwrap().strip_prefix("#/components/schemas/").unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        let mut names = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()));
                assert!(names.insert(operation["operationId"].as_str().unwrap()), "{operation}");
            }
        }
    }
}
