//! Connects to auraed: Unix socket, mTLS, retry.
