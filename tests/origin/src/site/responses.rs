//! OpenAI's Responses API, as far as Codex needs it to be answered: over HTTP, and over a WebSocket, whose messages are the requests
//! and the events of the other.
//!
//! What it says is in the origin's directory, as for [`super::model`]: `reply.txt`, and `expected-token`.

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{model, websocket};
use crate::exchange::{Arrival, Body, json};
use crate::origin::World;

pub(crate) fn answer(world: &Arc<World>, arrival: Arrival, upgrade: Option<OnUpgrade>) -> Response<Body> {
    if let Some(message) = model::refusal(&world.directory, &arrival.parts.headers) {
        return json(StatusCode::UNAUTHORIZED, &error(message));
    }
    match (&arrival.parts.method, arrival.parts.uri.path()) {
        (&Method::POST, "/v1/responses") => match events(world, arrival.record.n, &arrival.body) {
            Ok(events) => model::stream(&events),
            Err(message) => json(StatusCode::BAD_REQUEST, &error(message)),
        },
        (&Method::GET, "/v1/responses") => websocket::open(world, arrival, upgrade, |world, n, message| {
            let events = events(world, n, &message.into_data()).unwrap_or_else(|message| vec![error(message)]);
            events.iter().map(|event| Message::text(event.to_string())).collect()
        }),
        (&Method::GET, "/v1/models") => json(StatusCode::OK, &json!({"object": "list", "data": []})),
        _ => json(StatusCode::NOT_FOUND, &error("Not found")),
    }
}

/// What a request is answered with.
fn events(world: &World, n: u64, request: &[u8]) -> Result<Vec<Value>, &'static str> {
    let request: Value = serde_json::from_slice(request).map_err(|_| "the request is not valid JSON")?;
    let (Some(model), Some(_)) = (request["model"].as_str(), request["input"].as_array()) else {
        return Err("model and input are needed");
    };
    // Sent ahead of a conversation, to have all that is before its first question read already.
    let text = (request["generate"] != false).then(|| model::reply_text(&world.directory));
    Ok(response(model, text.as_deref(), request.to_string().len(), n))
}

/// The events of a whole response, its text in pieces.
fn response(model: &str, text: Option<&str>, asked: usize, n: u64) -> Vec<Value> {
    let (id, said) = (format!("resp_{n:08}"), format!("msg_{n:08}"));
    let item =
        |status: &str, content: Value| json!({"type": "message", "id": said, "role": "assistant", "status": status, "content": content});
    let opening = json!({"id": id, "object": "response", "status": "in_progress", "model": model, "output": []});
    let mut events = vec![json!({"type": "response.created", "response": opening})];
    let mut output = Vec::new();
    if let Some(text) = text {
        events.push(json!({"type": "response.output_item.added", "output_index": 0, "item": item("in_progress", json!([]))}));
        let place = json!({"type": "response.output_text.delta", "item_id": said, "output_index": 0, "content_index": 0});
        for piece in model::pieces(text) {
            let mut delta = place.clone();
            delta["delta"] = piece.into();
            events.push(delta);
        }
        output.push(item("completed", json!([{"type": "output_text", "text": text, "annotations": []}])));
        events.push(json!({"type": "response.output_item.done", "output_index": 0, "item": output[0]}));
    }
    let (asked, answered) = (model::tokens(asked), model::tokens(text.map_or(0, str::len)));
    let usage = json!({
        "input_tokens": asked, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": answered, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": asked + answered,
    });
    let whole = json!({"id": id, "object": "response", "status": "completed", "model": model, "output": output, "usage": usage});
    events.push(json!({"type": "response.completed", "response": whole}));
    events
}

fn error(message: &str) -> Value {
    json!({"type": "error", "error": {"message": message, "type": "invalid_request_error", "param": null, "code": null}})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pieces_of_a_response_are_the_whole_of_it() {
        let text = "grün und rot, und noch mehr davon";
        let events = response("m", Some(text), 40, 7);
        let pieces: String = events.iter().filter_map(|event| event["delta"].as_str()).collect();
        assert_eq!(pieces, text);
        let whole = &events.last().unwrap()["response"];
        assert_eq!((&whole["status"], &whole["output"][0]["content"][0]["text"]), (&json!("completed"), &json!(text)));
    }
}
