//! Plugins as they are run: the reference ones in network namespaces of the tests' own, and small ones that misbehave.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod calls;
mod collect;
mod misbehaviour;
mod place;
mod reference;
