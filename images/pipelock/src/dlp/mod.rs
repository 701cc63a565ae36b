//! Data loss prevention: nothing leaves before it was scanned, and nothing that was found leaves whole.

pub mod body_scan;
pub mod fragments;
pub mod redaction;
pub mod response;
pub mod upload;
pub mod websocket;
pub mod websocket_frames;
