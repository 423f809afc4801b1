//! Calls on one container: made, started, stopped, removed.

mod create;
mod keep;
mod remove;
mod root;
mod start;
mod stop;
