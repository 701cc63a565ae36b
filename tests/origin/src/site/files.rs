//! Files below a directory.

use std::path::{Component, Path};

use hyper::{Response, StatusCode};

use crate::exchange::{Arrival, Body, failure, reply};

/// Only plain names are followed: the origin is not the one under test, and must not be the way out of a test's directory.
pub(crate) async fn answer(root: &Path, arrival: &Arrival) -> Response<Body> {
    let path = Path::new(arrival.parts.uri.path().trim_start_matches('/'));
    if !path.components().all(|part| matches!(part, Component::Normal(_))) {
        return failure(StatusCode::BAD_REQUEST, "only plain paths");
    }
    match tokio::fs::read(root.join(path)).await {
        Ok(bytes) => reply(StatusCode::OK, "application/octet-stream", bytes),
        Err(error) => failure(StatusCode::NOT_FOUND, &error.to_string()),
    }
}
