//! The daemon's configuration: a TOML file, overridden by flags, every default working.
