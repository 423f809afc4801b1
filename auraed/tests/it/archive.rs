//! An image to run: the distribution's static busybox as an OCI layout in a tar stream.
