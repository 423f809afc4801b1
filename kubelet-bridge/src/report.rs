//! What the node tells the cluster beside statuses: events. Statuses are written by each pod's own worker
//! ([`crate::pods`]).

pub mod aurae_events;
pub mod recorder;

pub use recorder::Recorder;
