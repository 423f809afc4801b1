//! The program from outside: its command line, its words when something is wrong, its end.

mod bridge;
mod command_line;
mod objects;
mod reload;
mod waiting;
