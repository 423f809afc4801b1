//! The API: listener, identity of the caller, method table, one error map, one log line a failed request.
