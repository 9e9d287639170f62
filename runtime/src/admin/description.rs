//! What the admin API says of itself (`GET /v1/openapi.json`), in the words of OpenAPI 3.1. Pure.

use serde_json::{Map, Value, json};

/// One operation: a method of a path.
#[derive(Debug, Clone, Copy)]
pub struct Operation {
    /// The method; `*` where it takes any.
    pub method: &'static str,
    /// The path as the router knows it: `{name}` is one segment, `{*name}` the rest.
    pub path: &'static str,
    /// What it does.
    pub summary: &'static str,
    /// What may be in its query.
    pub query: &'static [(&'static str, Kind)],
    /// What its body is.
    pub body: Content,
}

/// What a value of a query may be.
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

/// What a body may be.
#[derive(Debug, Clone, Copy)]
pub enum Content {
    /// There is none.
    None,
    /// Any bytes.
    Bytes,
    /// An object with these members, of which those marked are needed.
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
    /// Whether it has to be there.
    pub is_needed: bool,
}

/// A member that may be left out.
pub const fn member(name: &'static str, kind: &'static str) -> Member {
    Member { name, kind, is_needed: false }
}

/// A member that has to be there.
pub const fn needed(name: &'static str, kind: &'static str) -> Member {
    Member { name, kind, is_needed: true }
}

impl Operation {
    /// An operation without query and body.
    pub const fn new(method: &'static str, path: &'static str, summary: &'static str) -> Self {
        Self { method, path, summary, query: &[], body: Content::None }
    }

    /// With this query.
    pub const fn query(self, query: &'static [(&'static str, Kind)]) -> Self {
        Self { query, ..self }
    }

    /// With this body.
    pub const fn body(self, body: Content) -> Self {
        Self { body, ..self }
    }
}

/// Who may ask for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Holders of the token.
    Token,
    /// They, and whoever asks from this machine, where the host is open to that.
    TokenOrOpen,
    /// Nothing.
    Nothing,
}

/// The document.
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
    /// Media type and schema.
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
