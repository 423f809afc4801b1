//! A CRI v1 server over auraed.

pub mod streams;
