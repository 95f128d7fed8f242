//! The description of the streams, AsyncAPI 3: made from the shapes of the records, so
//! that it can't say anything else than what is sent.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::CloudEvent;
use super::types::{TYPES, Type};

/// What the shapes are called in the table of [`TYPES`] begins here in the description.
const SCHEMAS: &str = "#/components/schemas/";

/// The description, as it is served and committed.
///
/// # Panics
/// Never: the document is made of texts and numbers.
#[must_use]
pub fn description() -> String {
    serde_json::to_string_pretty(&document()).expect("the document is made of texts and numbers")
}

/// The description as a value.
#[must_use]
pub fn document() -> Value {
    let messages: Map<String, Value> = TYPES.iter().map(message).collect();
    let references: Map<String, Value> = messages
        .keys()
        .map(|name| (name.clone(), json!({"$ref": format!("#/components/messages/{name}")})))
        .collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Onsale: streams",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Everything that happened, as CloudEvents 1.0 in JSON. How to read it right: docs/events.md. \
                The requests themselves are described in OpenAPI, at /openapi.json.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "onsale": {
                "host": "127.0.0.1:7070",
                "protocol": "http",
                "security": [{"$ref": "#/components/securitySchemes/key"}],
            },
        },
        "channels": {
            "sales": {
                "address": "/v1/streams/sales/records",
                "title": "What happened",
                "description": "By cursor, with long-poll; live as server-sent events below /live. Records are in \
                    order within a shard, at least once, and only those of the key's organizer.",
                "messages": references,
            },
            "webhooks": {
                "address": null,
                "title": "What happened, sent",
                "description": "POST to the address of a webhook, one record each (structured mode, \
                    application/cloudevents+json), signed in the header Onsale-Signature.",
                "messages": references,
            },
        },
        "operations": {
            "readSales": operation("sales", "A program reads records by a cursor of its own."),
            "receiveWebhook": operation("webhooks", "A program is sent the records that it asked for."),
        },
        "components": {
            "messages": messages,
            "schemas": schemas(),
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    })
}

fn operation(channel: &str, summary: &str) -> Value {
    json!({
        "action": "send",
        "channel": {"$ref": format!("#/channels/{channel}")},
        "summary": summary,
    })
}

fn message(of: &Type) -> (String, Value) {
    let example = serde_json::to_value(of.example()).expect("a record can be written");
    let message = json!({
        "name": of.name,
        "title": of.message(),
        "summary": of.about,
        "contentType": "application/json",
        "payload": {
            "allOf": [
                {"$ref": format!("{SCHEMAS}CloudEvent")},
                {
                    "type": "object",
                    "required": ["type", "data"],
                    "properties": {
                        "type": {"const": of.name},
                        "data": {"$ref": format!("{SCHEMAS}{}", of.data)},
                    },
                },
            ],
        },
        "examples": [{"payload": example}],
    });
    (of.message(), message)
}

/// The shapes that records are made of. What `data` is goes by the message, so the envelope
/// does not say.
fn schemas() -> Map<String, Value> {
    let mut found: Vec<(String, RefOr<Schema>)> = Vec::new();
    CloudEvent::schemas(&mut found);
    found.push((CloudEvent::name().into_owned(), <CloudEvent as utoipa::PartialSchema>::schema()));
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let mut schemas: Map<String, Value> = found
        .into_iter()
        .filter(|(name, _)| name != "Data")
        .map(|(name, schema)| {
            (name, serde_json::to_value(schema).expect("a schema can be written"))
        })
        .collect();
    let envelope = &mut schemas["CloudEvent"];
    envelope["properties"]["data"] =
        json!({"description": "What happened in detail; its form goes by the type."});
    schemas
}

/// The manual's part about the types: for each what it means, its fields, and an example.
#[must_use]
pub fn manual() -> String {
    let schemas = schemas();
    let mut text = String::new();
    for of in TYPES {
        text += &format!("### `{}`\n\n{}\n\n", of.name, of.about);
        text += "| field of `data` | form | what it is |\n|---|---|---|\n";
        rows("", &schemas[of.data], &schemas, &mut text);
        let example = serde_json::to_string_pretty(&of.example());
        let example = example.expect("a record can be written");
        text += &format!("\n```json\n{example}\n```\n\n");
    }
    text
}

/// A row for each field of a shape, and for those below it.
fn rows(prefix: &str, schema: &Value, schemas: &Map<String, Value>, text: &mut String) {
    let Some(fields) = schema["properties"].as_object() else { return };
    let required =
        |name: &str| schema["required"].as_array().is_some_and(|all| all.iter().any(|n| n == name));
    for (name, field) in fields {
        let (form, below) = form(field, schemas);
        let about = field["description"].as_str().or(below.and_then(|b| b["description"].as_str()));
        let about = about.unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        let optional = if required(name) { "" } else { ", may be left out" };
        *text += &format!("| `{prefix}{name}` | {form}{optional} | {about} |\n");
        if let Some(below) = below {
            let list = if form.starts_with("list") { "[]" } else { "" };
            rows(&format!("{prefix}{name}{list}."), below, schemas, text);
        }
    }
}

/// What a field is in words, and the shape that it has.
fn form<'a>(field: &'a Value, schemas: &'a Map<String, Value>) -> (String, Option<&'a Value>) {
    if let Some(name) = field["$ref"].as_str().and_then(|at| at.strip_prefix(SCHEMAS)) {
        let shape = &schemas[name];
        let (form, _) = form(shape, schemas);
        return (form, Some(shape));
    }
    for any in ["oneOf", "allOf", "anyOf"] {
        let parts = field[any].as_array().map_or(&[][..], Vec::as_slice);
        if let Some(part) = parts.iter().find(|part| part["type"] != "null") {
            let (form, below) = form(part, schemas);
            let null = if parts.len() > 1 { " or null" } else { "" };
            return (form + null, below);
        }
    }
    if field["enum"].is_array() {
        let values = field["enum"].as_array().into_iter().flatten();
        let values: Vec<String> =
            values.map(|value| format!("`{}`", value.as_str().unwrap_or("null"))).collect();
        return (values.join(", "), None);
    }
    let kinds: Vec<&str> = match &field["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => kind.as_str().into_iter().collect(),
    };
    if kinds.contains(&"array") {
        let (form, below) = form(&field["items"], schemas);
        return (format!("list of {form}"), below);
    }
    let words = kinds.iter().map(|kind| match (*kind, field["format"].as_str()) {
        ("string", Some("date-time")) => "time, RFC 3339",
        ("string", Some("uuid")) => "UUID",
        ("string", _) => "text",
        ("integer", _) => "whole number",
        ("boolean", _) => "true or false",
        (other, _) => other,
    });
    (
        words.collect::<Vec<_>>().join(" or "),
        Some(field).filter(|field| field["properties"].is_object()),
    )
}
