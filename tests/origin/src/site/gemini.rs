//! Google's Gemini API, as far as its command line needs it to carry on a conversation: whole answers and streams.
//!
//! What it says is in the origin's directory, as for [`super::model`]: `reply.json` with `text` and `tool_use` blocks, `reply.txt`, and
//! `expected-token`.

use std::fs;

use hyper::{Response, StatusCode};
use serde_json::{Value, json};

use super::model;
use crate::exchange::{Arrival, Body, json, reply};
use crate::origin::World;

pub(crate) fn answer(world: &World, arrival: &Arrival) -> Response<Body> {
    let given = arrival.parts.headers.get("x-goog-api-key").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let expected = fs::read_to_string(world.directory.join("expected-token")).ok();
    if expected.is_some_and(|expected| expected.trim() != given) {
        return error(StatusCode::BAD_REQUEST, "API key not valid. Please pass a valid API key.");
    }
    let path = arrival.parts.uri.path();
    let Some((model_name, method)) = path.rsplit('/').next().and_then(|last| last.split_once(':')) else {
        return error(StatusCode::NOT_FOUND, "Not found");
    };
    let Ok(request) = serde_json::from_slice::<Value>(&arrival.body) else {
        return error(StatusCode::BAD_REQUEST, "Invalid JSON payload received.");
    };
    match method {
        "countTokens" => json(StatusCode::OK, &json!({"totalTokens": model::tokens(arrival.body.len())})),
        "generateContent" | "streamGenerateContent" => match parts(world, &request) {
            Err(message) => error(StatusCode::INTERNAL_SERVER_ERROR, &message),
            Ok(parts) if method == "generateContent" => json(StatusCode::OK, &response(model_name, &parts, true)),
            Ok(parts) => {
                let last = parts.len().saturating_sub(1);
                let event =
                    |(n, part): (usize, &Value)| format!("data: {}\r\n\r\n", response(model_name, std::slice::from_ref(part), n == last));
                reply(StatusCode::OK, "text/event-stream", parts.iter().enumerate().map(event).collect::<String>())
            }
        },
        _ => error(StatusCode::NOT_FOUND, "Not found"),
    }
}

/// The parts of a turn. Where JSON is asked for, as by the question which model is to answer, there is JSON.
fn parts(world: &World, request: &Value) -> Result<Vec<Value>, String> {
    if request["generationConfig"]["responseMimeType"] == "application/json" {
        let text = json!({"reasoning": "simple", "model_choice": "flash", "complexity_reasoning": "simple", "complexity_score": 10});
        return Ok(vec![json!({"text": text.to_string()})]);
    }
    let turn = request["contents"].as_array().into_iter().flatten().filter(|content| content["role"] == "model").count();
    let mut parts = Vec::new();
    for block in model::blocks(&world.directory, turn)? {
        match block["type"].as_str() {
            Some("tool_use") => parts.push(json!({"functionCall": {"name": block["name"], "args": block["input"]}})),
            _ => parts.extend(model::pieces(block["text"].as_str().unwrap_or_default()).into_iter().map(|text| json!({"text": text}))),
        }
    }
    Ok(parts)
}

fn response(model: &str, parts: &[Value], is_last: bool) -> Value {
    let mut candidate = json!({"index": 0, "content": {"role": "model", "parts": parts}});
    if is_last {
        candidate["finishReason"] = "STOP".into();
    }
    json!({
        "candidates": [candidate], "modelVersion": model, "responseId": "r",
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 8, "totalTokenCount": 16},
    })
}

fn error(status: StatusCode, message: &str) -> Response<Body> {
    json(status, &json!({"error": {"code": status.as_u16(), "message": message, "status": "INVALID_ARGUMENT"}}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_event_of_a_stream_says_that_it_is_over() {
        let whole = response("m", &[json!({"text": "a"})], true);
        assert_eq!(whole["candidates"][0]["finishReason"], json!("STOP"));
        assert_eq!(response("m", &[], false)["candidates"][0].get("finishReason"), None);
    }
}
