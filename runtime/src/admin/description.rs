//! Describes the admin API (`GET /v1/openapi.json`), as OpenAPI 3.1. Pure.

use serde_json::{Map, Value, json};

/// One operation: a method of a path.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// The method; `*` for any.
    pub method: &'static str,
    /// The path in the router's syntax: `{name}` is one segment, `{*name}` the rest.
    pub path: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// Names and types of its query.
    pub query: &'static [(&'static str, Kind)],
    /// The type of its body.
    pub body: Content,
}

/// The type of a query value.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// A whole number, not below zero.
    Count,
    /// A whole number.
    Whole,
    /// A number, not below zero.
    Number,
    /// `true` or `false`.
    Flag,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// The type of a body.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// There is none.
    None,
    /// Any bytes.
    Bytes,
    /// An object with these members, some of which are required.
    Json(&'static [Member]),
    /// An object of any names, whose values are text or null.
    Texts,
}

/// A member of an object.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    /// Its name.
    pub name: &'static str,
    /// Its type, as JSON schema calls it.
    pub kind: &'static str,
    /// Whether it is required.
    pub is_needed: bool,
}

/// An optional member.
pub const fn member(name: &'static str, kind: &'static str) -> Member {
    Member { name, kind, is_needed: false }
}

/// A required member.
pub const fn needed(name: &'static str, kind: &'static str) -> Member {
    Member { name, kind, is_needed: true }
}

impl Operation {
    /// An operation without query and body.
    pub const fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        Self { method, path, summary, query: &[], body: Content::None }
    }

    /// Sets the query.
    pub const fn query(self, query: &'static [(&'static str, Kind)]) -> Self {
        Self { query, ..self }
    }

    /// Sets the body.
    pub const fn body(self, body: Content) -> Self {
        Self { body, ..self }
    }
}

/// Who may use an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Holders of the token.
    Token,
    /// Holders of the token, and callers on this machine if the host is open to that.
    TokenOrOpen,
    /// Nothing.
    Nothing,
}

/// Returns the document.
pub fn document(operations: &[(Operation, Needs)]) -> Value {
    let mut paths = Map::new();
    for (operation, needs) in operations {
        let path = operation.path.replace("{*", "{");
        let item = paths.entry(path).or_insert_with(|| json!({}));
        let methods = match operation.method {
            "*" => &["get", "head", "put", "post", "patch", "delete"][..],
            method => &[method],
        };
        for method in methods {
            item[method.to_lowercase()] = described(operation, *needs);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "wfn admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The only control path of a host. Every error is JSON with a stable code: docs/errors.md.",
        },
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer" },
                "wfn-token": { "type": "apiKey", "in": "header", "name": "wfn-token" },
            },
            "responses": {
                "error": {
                    "description": "why it was not done",
                    "content": { "application/json": { "schema": error_schema() } },
                },
            },
        },
    })
}

fn described(operation: &Operation, needs: Needs) -> Value {
    let in_path = operation.path.split('/').filter_map(|segment| {
        let name = segment.strip_prefix('{')?.strip_suffix('}')?.trim_start_matches('*');
        Some(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }))
    });
    let in_query = operation
        .query
        .iter()
        .map(|(name, kind)| json!({ "name": name, "in": "query", "schema": kind.schema() }));
    let tokens = [json!({ "token": [] }), json!({ "wfn-token": [] })];
    let security: Vec<Value> = match needs {
        Needs::Token => tokens.into(),
        Needs::TokenOrOpen => tokens.into_iter().chain([json!({})]).collect(),
        Needs::Nothing => vec![json!({})],
    };
    let mut described = json!({
        "summary": operation.summary,
        "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
        "security": security,
        "responses": {
            "2XX": { "description": "done" },
            "default": { "$ref": "#/components/responses/error" },
        },
    });
    if let Some((media_type, schema)) = operation.body.schema() {
        described["requestBody"] = json!({ "content": { media_type: { "schema": schema } } });
    }
    described
}

impl Kind {
    fn schema(self) -> Value {
        match self {
            Self::Text => json!({ "type": "string" }),
            Self::Count => json!({ "type": "integer", "minimum": 0 }),
            Self::Whole => json!({ "type": "integer" }),
            Self::Number => json!({ "type": "number", "minimum": 0 }),
            Self::Flag => json!({ "type": "boolean" }),
            Self::OneOf(words) => json!({ "type": "string", "enum": words }),
        }
    }
}

impl Content {
    /// Returns the media type and schema.
    fn schema(self) -> Option<(&'static str, Value)> {
        match self {
            Self::None => None,
            Self::Bytes => {
                Some(("application/octet-stream", json!({ "type": "string", "format": "binary" })))
            }
            Self::Texts => {
                let texts =
                    json!({ "type": "object", "additionalProperties": { "type": ["string", "null"] } });
                Some(("application/json", texts))
            }
            Self::Json(members) => {
                let named = |member: &Member| (member.name.to_owned(), json!({ "type": member.kind }));
                let members_needed = members.iter().filter(|member| member.is_needed);
                let object = json!({
                    "type": "object",
                    "additionalProperties": false,
                    "properties": members.iter().map(named).collect::<Map<_, _>>(),
                    "required": members_needed.map(|member| member.name).collect::<Vec<_>>(),
                });
                Some(("application/json", object))
            }
        }
    }
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": { "code": { "type": "string" }, "message": { "type": "string" } },
            },
        },
    })
}
