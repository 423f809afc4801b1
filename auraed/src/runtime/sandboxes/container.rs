//! Calls on one container: made, started, stopped, removed.

mod create;
mod keep;
mod remove;
mod start;
mod stop;
