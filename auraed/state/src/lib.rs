//! The daemon's SQLite file: the only SQL.
