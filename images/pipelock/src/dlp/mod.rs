//! Data loss prevention: nothing leaves before it was scanned, and nothing that was found leaves whole.

pub mod answer;
pub mod body;
pub mod decode;
pub mod frames;
pub mod inspect;
pub mod trail;
pub mod websocket;
