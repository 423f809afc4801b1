//! Calls on one container: made, started, stopped, removed.

mod create;
mod remove;
mod start;
mod stop;
