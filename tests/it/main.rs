//! Tests as an ordinary user.
