//! JSON-RPC 2.0, as far as MCP uses it. Pure.

use serde_json::{Map, Value, json};

/// A message, or several at once.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// One.
    One(Message),
    /// A batch, which one revision has (2025-03-26, "Batching").
    Batch(Vec<Result<Message, Fault>>),
}

/// One message.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// It waits for an answer.
    Request {
        /// A string or a whole number.
        id: Value,
        /// The method.
        method: String,
        /// The parameters; an empty object without any.
        params: Map<String, Value>,
    },
    /// It does not.
    Notification,
    /// An answer, though nothing was asked.
    Response,
}

/// An error (JSON-RPC 2.0, section 5.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The code.
    pub code: i64,
    /// One sentence.
    pub message: String,
    /// More.
    pub data: Option<Value>,
}

/// The text is not JSON.
pub const PARSE_ERROR: i64 = -32700;
/// It is not a message.
pub const INVALID_REQUEST: i64 = -32600;
/// The method is not known.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// The parameters do not fit.
pub const INVALID_PARAMS: i64 = -32602;
/// A header says another thing than the message (MCP 2026-07-28).
pub const HEADER_MISMATCH: i64 = -32020;
/// The revision is not known (MCP 2026-07-28).
pub const UNSUPPORTED_VERSION: i64 = -32022;

/// Messages of a batch.
const MAX_BATCH: usize = 16;
/// Characters of an id.
const MAX_ID: usize = 256;

impl Fault {
    /// Without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// As an answer; a message without a readable id is answered with `null`.
    pub fn answer(&self, id: &Value) -> Value {
        let mut error = json!({ "code": self.code, "message": self.message });
        if let Some(data) = &self.data {
            error["data"] = data.clone();
        }
        json!({ "jsonrpc": "2.0", "id": id, "error": error })
    }
}

/// A result, as an answer.
pub fn result(id: &Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// Reads what was posted.
pub fn parse(text: &[u8]) -> Result<Incoming, Fault> {
    let value: Value = serde_json::from_slice(text).map_err(|_| Fault::new(PARSE_ERROR, "the body is not JSON in UTF-8"))?;
    match value {
        Value::Array(messages) if messages.is_empty() => Err(Fault::new(INVALID_REQUEST, "an empty batch")),
        Value::Array(messages) if messages.len() > MAX_BATCH => Err(Fault::new(INVALID_REQUEST, "too many messages at once")),
        Value::Array(messages) => Ok(Incoming::Batch(messages.into_iter().map(message).collect())),
        one => message(one).map(Incoming::One),
    }
}

fn message(value: Value) -> Result<Message, Fault> {
    let invalid = |why: &str| Fault::new(INVALID_REQUEST, why);
    let Value::Object(mut members) = value else { return Err(invalid("a message is an object")) };
    if members.get("jsonrpc") != Some(&Value::from("2.0")) {
        return Err(invalid("`jsonrpc` must be \"2.0\""));
    }
    let method = match members.remove("method") {
        None if members.contains_key("result") != members.contains_key("error") => return Ok(Message::Response),
        Some(Value::String(method)) => method,
        None => return Err(invalid("a message has a `method`, a `result` or an `error`")),
        Some(_) => return Err(invalid("`method` must be a string")),
    };
    let Some(id) = members.remove("id") else { return Ok(Message::Notification) };
    let is_id = match &id {
        Value::String(text) => text.len() <= MAX_ID,
        Value::Number(number) => number.is_i64() || number.is_u64(),
        _ => false,
    };
    if !is_id {
        return Err(invalid("`id` must be a string or a whole number"));
    }
    let params = match members.remove("params") {
        None => Map::new(),
        Some(Value::Object(params)) => params,
        Some(_) => return Err(invalid("`params` must be an object")),
    };
    Ok(Message::Request { id, method, params })
}

#[cfg(test)]
mod tests {
    use super::*;

    // covers: M08
    #[test]
    fn a_message_is_read_in_one_way_or_is_an_error() {
        let request = |id: Value| Ok(Incoming::One(Message::Request { id, method: "ping".into(), params: Map::new() }));
        for (text, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, request(json!(1))),
            (r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#, request(json!("a"))),
            (r#"{"jsonrpc":"2.0","id":18446744073709551615,"method":"ping"}"#, request(json!(u64::MAX))),
            (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Ok(Incoming::One(Message::Notification))),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Ok(Incoming::One(Message::Response))),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, Ok(Incoming::One(Message::Response))),
        ] {
            assert_eq!(parse(text.as_bytes()), expected, "{text}");
        }
        for (text, code) in [
            ("", PARSE_ERROR),
            ("\u{feff}{}", PARSE_ERROR),
            ("{", PARSE_ERROR),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}x"#, PARSE_ERROR),
            ("1", INVALID_REQUEST),
            ("[]", INVALID_REQUEST),
            (r#"{"id":1,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":1}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1}"#, INVALID_REQUEST),
            (r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#, INVALID_REQUEST),
        ] {
            assert_eq!(parse(text.as_bytes()).map_err(|fault| fault.code), Err(code), "{text}");
        }
        assert_eq!(parse(b"\xff").map_err(|fault| fault.code), Err(PARSE_ERROR));
        assert_eq!(parse("[".repeat(100_000).as_bytes()).map_err(|fault| fault.code), Err(PARSE_ERROR));
        let many = format!("[{}]", vec![r#"{"jsonrpc":"2.0","method":"x"}"#; 17].join(","));
        assert_eq!(parse(many.as_bytes()).map_err(|fault| fault.code), Err(INVALID_REQUEST));
    }
}
