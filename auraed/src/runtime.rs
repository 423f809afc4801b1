//! The stateless executive: exec, signal and image calls; acts on what runs, remembers nothing.
