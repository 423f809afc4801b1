//! Who you are: the daemon's private CA, its certificates, SPIFFE ids.
