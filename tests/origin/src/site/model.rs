//! Anthropic's Messages API, as far as its clients need it to carry on a conversation.
//!
//! What it says comes from the origin's directory, read anew for each request: `reply.json`, a list of turns, each a list of
//! content blocks (so a test can make an agent use a tool); else `reply.txt`; else a greeting. If `expected-token` is there,
//! any other credential gets the vendor's 401.

use std::fs;
use std::path::Path;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::exchange::{Arrival, Body, json, reply};
use crate::origin::World;

/// Said when the test wrote no reply.
const GREETING: &str = "Hello from the test origin.";

/// Offered to clients that list models; any other name is answered too.
const MODELS: [&str; 3] = ["claude-opus-4-8", "claude-sonnet-5", "claude-haiku-4-5"];

pub(crate) fn answer(world: &World, arrival: &Arrival) -> Response<Body> {
    let id = format!("req_{:08}", arrival.record.n);
    let mut response = match refusal(&world.directory, &arrival.parts.headers) {
        Some(message) => error(StatusCode::UNAUTHORIZED, "authentication_error", message, &id),
        None => route(world, arrival, &id),
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("request-id", value);
    }
    response
}

fn route(world: &World, arrival: &Arrival, id: &str) -> Response<Body> {
    let path = arrival.parts.uri.path();
    match (&arrival.parts.method, path) {
        (&Method::POST, "/v1/messages") => messages(world, arrival, id),
        (&Method::POST, "/v1/messages/count_tokens") => json(StatusCode::OK, &json!({"input_tokens": tokens(arrival.body.len())})),
        (&Method::GET, "/v1/models") => json(StatusCode::OK, &models()),
        // Asked before a first conversation at a terminal, to see whether the service is there.
        (&Method::GET, "/api/hello" | "/v1/oauth/hello") => json(StatusCode::OK, &json!({"message": "hello"})),
        // Reports of use and of features: taken and forgotten.
        (&Method::POST, path) if path.starts_with("/api/event_logging/") || path.starts_with("/api/eval/") => {
            json(StatusCode::OK, &json!({}))
        }
        _ => error(StatusCode::NOT_FOUND, "not_found_error", "Not found", id),
    }
}

/// Why the credential is not accepted.
pub(super) fn refusal(directory: &Path, headers: &HeaderMap) -> Option<&'static str> {
    let expected = fs::read_to_string(directory.join("expected-token")).ok()?;
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).map(|value| ("invalid bearer token", value));
    let key = headers.get("x-api-key").and_then(|value| value.to_str().ok()).map(|value| ("invalid x-api-key", value));
    match key.or(bearer) {
        None => Some("x-api-key header is required"),
        Some((complaint, value)) => (value.strip_prefix("Bearer ").unwrap_or(value) != expected.trim()).then_some(complaint),
    }
}

fn messages(world: &World, arrival: &Arrival, id: &str) -> Response<Body> {
    let Ok(request) = serde_json::from_slice::<Value>(&arrival.body) else {
        return error(StatusCode::BAD_REQUEST, "invalid_request_error", "The request body is not valid JSON.", id);
    };
    let (Some(model), Some(said)) = (request["model"].as_str(), request["messages"].as_array()) else {
        return error(StatusCode::BAD_REQUEST, "invalid_request_error", "model: Field required", id);
    };
    let turn = said.iter().filter(|message| message["role"] == "assistant").count();
    let blocks = match blocks(&world.directory, turn) {
        Ok(blocks) => blocks,
        Err(message) => return error(StatusCode::INTERNAL_SERVER_ERROR, "api_error", &message, id),
    };
    let message = message(model, &blocks, arrival.body.len(), arrival.record.n);
    match request["stream"].as_bool() {
        Some(true) => stream(&events(&message)),
        _ => json(StatusCode::OK, &message),
    }
}

/// The content of a turn: the last turn that is written repeats.
pub(super) fn blocks(directory: &Path, turn: usize) -> Result<Vec<Value>, String> {
    if let Ok(text) = fs::read_to_string(directory.join("reply.json")) {
        let turns: Vec<Vec<Value>> = serde_json::from_str(&text).map_err(|error| format!("reply.json: {error}"))?;
        return turns.get(turn).or(turns.last()).cloned().ok_or_else(|| "reply.json has no turn".to_owned());
    }
    Ok(vec![json!({"type": "text", "text": reply_text(directory)})])
}

/// What is said in every turn.
pub(super) fn reply_text(directory: &Path) -> String {
    let text = fs::read_to_string(directory.join("reply.txt")).unwrap_or_else(|_| GREETING.to_owned());
    text.trim_end_matches('\n').to_owned()
}

/// A whole message. Tool calls without an id are given one.
fn message(model: &str, blocks: &[Value], asked: usize, n: u64) -> Value {
    let mut blocks = blocks.to_vec();
    for (i, block) in blocks.iter_mut().enumerate() {
        if block["type"] == "tool_use" && block["id"].is_null() {
            block["id"] = format!("toolu_{n:08}{i:02}").into();
        }
    }
    let calls = blocks.iter().any(|block| block["type"] == "tool_use");
    let answered: usize = blocks.iter().map(|block| block.to_string().len()).sum();
    json!({
        "id": format!("msg_{n:08}"), "type": "message", "role": "assistant", "model": model, "content": blocks,
        "stop_reason": if calls { "tool_use" } else { "end_turn" }, "stop_sequence": null,
        "usage": {"input_tokens": tokens(asked), "output_tokens": tokens(answered)},
    })
}

/// The same message as the events of a stream, each block's content in pieces.
fn events(message: &Value) -> Vec<Value> {
    let mut opening = message.clone();
    opening["content"] = json!([]);
    opening["stop_reason"] = Value::Null;
    opening["usage"]["output_tokens"] = 1.into();
    let mut events = vec![json!({"type": "message_start", "message": opening}), json!({"type": "ping"})];
    for (index, block) in message["content"].as_array().into_iter().flatten().enumerate() {
        let (field, start, delta, content) = match block["type"].as_str() {
            Some("tool_use") => {
                let start = json!({"type": "tool_use", "id": block["id"], "name": block["name"], "input": {}});
                ("partial_json", start, "input_json_delta", block["input"].to_string())
            }
            _ => ("text", json!({"type": "text", "text": ""}), "text_delta", block["text"].as_str().unwrap_or_default().to_owned()),
        };
        events.push(json!({"type": "content_block_start", "index": index, "content_block": start}));
        for piece in pieces(&content) {
            events.push(json!({"type": "content_block_delta", "index": index, "delta": {"type": delta, field: piece}}));
        }
        events.push(json!({"type": "content_block_stop", "index": index}));
    }
    events.push(json!({
        "type": "message_delta",
        "delta": {"stop_reason": message["stop_reason"], "stop_sequence": null},
        "usage": {"output_tokens": message["usage"]["output_tokens"]},
    }));
    events.push(json!({"type": "message_stop"}));
    events
}

/// Events that name their type, as a whole answer (the HTML standard, section 9.2).
pub(super) fn stream(events: &[Value]) -> Response<Body> {
    let text: String =
        events.iter().map(|event| format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap_or_default())).collect();
    reply(StatusCode::OK, "text/event-stream; charset=utf-8", text)
}

/// Sixteen characters each, about what a model sends at once.
pub(super) fn pieces(text: &str) -> Vec<String> {
    let characters: Vec<char> = text.chars().collect();
    characters.chunks(16).map(|piece| piece.iter().collect()).collect()
}

/// A token is about four bytes of English.
pub(super) fn tokens(bytes: usize) -> usize {
    bytes.div_ceil(4)
}

fn models() -> Value {
    let data: Vec<Value> =
        MODELS.iter().map(|id| json!({"type": "model", "id": id, "display_name": id, "created_at": "2026-01-01T00:00:00Z"})).collect();
    json!({"data": data, "has_more": false, "first_id": MODELS[0], "last_id": MODELS[MODELS.len() - 1]})
}

fn error(status: StatusCode, kind: &str, message: &str, id: &str) -> Response<Body> {
    json(status, &json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": id}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_stream_are_the_whole_message() {
        let blocks = [
            json!({"type": "text", "text": "grün und rot, und noch mehr davon"}),
            json!({"type": "tool_use", "name": "Bash", "input": {"command": "true"}}),
        ];
        let whole = message("m", &blocks, 40, 7);
        assert_eq!(whole["stop_reason"], "tool_use");
        let events = events(&whole);
        let joined = |index: u64, field: &str| -> String {
            let deltas = events.iter().filter(|event| event["type"] == "content_block_delta" && event["index"] == index);
            deltas.map(|event| event["delta"][field].as_str().unwrap()).collect()
        };
        assert_eq!(joined(0, "text"), "grün und rot, und noch mehr davon");
        assert_eq!(joined(1, "partial_json"), r#"{"command":"true"}"#);
        assert_eq!(events[2]["content_block"], json!({"type": "text", "text": ""}));
        assert_eq!(events.last().unwrap(), &json!({"type": "message_stop"}));
    }

    #[test]
    fn only_the_expected_token_is_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let headers =
            |name: &'static str, value: &'static str| HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]);
        let refused = |headers: &HeaderMap| refusal(directory.path(), headers);
        assert_eq!(refused(&HeaderMap::new()), None);
        fs::write(directory.path().join("expected-token"), "right\n").unwrap();
        assert_eq!(refused(&HeaderMap::new()), Some("x-api-key header is required"));
        assert_eq!(refused(&headers("authorization", "Bearer right")), None);
        assert_eq!(refused(&headers("x-api-key", "right")), None);
        assert_eq!(refused(&headers("authorization", "Bearer wrong")), Some("invalid bearer token"));
        assert_eq!(refused(&headers("x-api-key", "wrong")), Some("invalid x-api-key"));
    }
}
