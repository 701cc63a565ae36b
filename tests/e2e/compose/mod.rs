//! The containers of the compose backend.

mod images;
mod life;
mod network;
