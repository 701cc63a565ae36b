//! The gate as a process, between real git clients and real git servers on this machine.

mod clients;
mod faults;
mod hostile;
mod leaks;
mod policy;
mod pushes;
mod raw;
mod rules;
mod sizes;
mod ssh;
mod support;
