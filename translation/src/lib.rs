//! Kubernetes and Aurae, translated: plain functions from value to value.
