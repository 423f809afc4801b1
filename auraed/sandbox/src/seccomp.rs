//! The default filter of system calls.
