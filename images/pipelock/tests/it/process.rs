//! The binary itself, as the supervisor starts it.
