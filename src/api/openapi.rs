//! The OpenAPI document: what the routes say of themselves, and what is the same for all of them.
//! Refuses to describe a route by hand.

use std::sync::LazyLock;

use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Info, OpenApi, Ref, ResponseBuilder};
use utoipa::openapi::{HttpMethod, ObjectBuilder, Type};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use super::ApiState;
use super::problem::{Document, FieldError};

/// The document as JSON.
pub static JSON: LazyLock<String> = LazyLock::new(|| {
    let mut text = serde_json::to_string_pretty(&document()).unwrap_or_default();
    text.push('\n');
    text
});

const ABOUT: &str = "One door in for the events of AI dialers, one door out for everybody who must learn of them. \
    Errors are problem documents (RFC 9457) with a stable `code` and a `detail` that says what to do. Lists have a \
    cursor. A POST with an `Idempotency-Key` happens once, however often it is sent.";

/// Builds the document from the routes.
fn document() -> OpenApi {
    let routes: OpenApiRouter<ApiState> = super::keyed().merge(super::doors()).merge(super::open());
    let mut api = routes.into_openapi();
    let mut info = Info::new("postcall", env!("CARGO_PKG_VERSION"));
    info.description = Some(ABOUT.to_owned());
    api.info = info;
    let components = api.components.get_or_insert_default();
    components.schemas.insert("Problem".to_owned(), Document::schema());
    components.schemas.insert(FieldError::name().into_owned(), FieldError::schema());
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    components.add_security_scheme("api_key", bearer);
    for (path, item) in &mut api.paths.paths {
        let is_keyed = path.starts_with("/v1/");
        for (method, operation) in [
            (HttpMethod::Get, &mut item.get),
            (HttpMethod::Post, &mut item.post),
            (HttpMethod::Patch, &mut item.patch),
            (HttpMethod::Delete, &mut item.delete),
        ] {
            if let Some(operation) = operation {
                complete(operation, is_keyed, &method);
            }
        }
    }
    api
}

/// Adds to an operation what holds for all of its kind.
fn complete(operation: &mut Operation, is_keyed: bool, method: &HttpMethod) {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let problem = ResponseBuilder::new()
        .description("A problem: `code` says which, `detail` what to do")
        .content("application/problem+json", content)
        .build();
    operation.responses.responses.insert("default".to_owned(), problem.into());
    if !is_keyed {
        operation.security = Some(Vec::new());
        return;
    }
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
