//! What arrives is said, then echoed: a client that has its answer finds its request among what was said.

use std::convert::Infallible;

use bottle_contract::demo::Request;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode, http};
use serde_json::{json, to_string};

use crate::say;

/// Answers a request.
pub(crate) async fn answer(request: hyper::Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, mut body) = request.into_parts();
    if to_string(&noted(&head)).is_ok_and(|line| say(&line).is_err()) {
        // Nobody listens any more.
        std::process::exit(1);
    }
    while let Some(Ok(_)) = body.frame().await {}
    let (status, text) = echo(&head);
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

fn noted(head: &http::request::Parts) -> Request {
    Request {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        authorization: head.headers.get_all(AUTHORIZATION).iter().map(text).collect(),
    }
}

fn echo(head: &http::request::Parts) -> (StatusCode, String) {
    if head.uri.path() != "/echo" {
        return (StatusCode::NOT_FOUND, json!({ "error": "there is nothing but /echo" }).to_string());
    }
    let headers: Vec<_> = head.headers.iter().map(|(name, value)| (name.as_str(), text(value))).collect();
    (StatusCode::OK, json!({ "method": head.method.as_str(), "path": head.uri.path(), "headers": headers }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(method: &str, target: &str) -> http::request::Parts {
        let request = hyper::Request::builder().method(method).uri(target).header("Authorization", "Bearer x").body(());
        request.unwrap().into_parts().0
    }

    #[test]
    fn an_echo_has_every_header_and_another_path_has_none() {
        let echoed = (StatusCode::OK, r#"{"headers":[["authorization","Bearer x"]],"method":"POST","path":"/echo"}"#.to_owned());
        assert_eq!(echo(&head("POST", "/echo?q")), echoed);
        assert_eq!(echo(&head("GET", "/admin")), (StatusCode::NOT_FOUND, r#"{"error":"there is nothing but /echo"}"#.to_owned()));
    }

    #[test]
    fn what_is_said_names_the_credential_that_arrived() {
        let line = r#"{"method":"GET","target":"/admin?q","authorization":["Bearer x"]}"#;
        assert_eq!(to_string(&noted(&head("GET", "/admin?q"))).unwrap(), line);
    }
}
