//! Data loss prevention: nothing leaves before it was scanned, and nothing that was found leaves whole.

pub mod decode;
pub mod frames;
pub mod inspect;
pub mod response;
pub mod trail;
pub mod upload;
pub mod websocket;
