//! Whole bottles on the embedded backend, as an operator sees them: the kernel and the far end are asked, not the program.

mod life_abrupt;
mod life_exit;
mod life_launch;
mod life_output;
mod life_secrets;
mod life_sidecars;
mod life_support;
mod life_terminal;
