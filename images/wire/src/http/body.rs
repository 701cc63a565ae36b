//! Bodies of either direction, and how they fail.

use std::error::Error;
use std::fmt;

use bottle_policy::Refused;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::BoxBody;
use hyper::body::Incoming;

/// Any body, in either direction.
pub type Body = BoxBody<Bytes, BodyError>;

/// Why a body ended before its end.
#[derive(Debug)]
pub enum BodyError {
    /// A verdict, reached while the body was under way.
    Refused(Refused),
    /// The connection or the framing broke.
    Broken(Box<dyn Error + Send + Sync>),
}

impl fmt::Display for BodyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refused) => refused.fmt(f),
            Self::Broken(cause) => write!(f, "the body broke off: {cause}"),
        }
    }
}

impl Error for BodyError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(refused) => Some(refused),
            Self::Broken(cause) => Some(cause.as_ref()),
        }
    }
}

impl From<Refused> for BodyError {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl From<hyper::Error> for BodyError {
    fn from(error: hyper::Error) -> Self {
        Self::Broken(Box::new(error))
    }
}

/// The refusal inside an error, however deep: a client whose request body was refused fails with it as a source.
pub fn refusal_in<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Refused> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(refused) = error.downcast_ref::<Refused>() {
            return Some(refused);
        }
        next = error.source();
    }
    None
}

/// No bytes.
pub fn empty() -> Body {
    http_body_util::Empty::new().map_err(|never| match never {}).boxed()
}

/// These bytes.
pub fn full(bytes: impl Into<Bytes>) -> Body {
    http_body_util::Full::new(bytes.into()).map_err(|never| match never {}).boxed()
}

/// What an origin or a next hop sends.
pub fn incoming(body: Incoming) -> Body {
    body.map_err(BodyError::from).boxed()
}
