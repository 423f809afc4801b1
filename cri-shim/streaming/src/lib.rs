//! Remote-command streams as kubectl speaks them.
