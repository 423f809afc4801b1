//! The pod engine: takes pods, keeps them as their owner wants them, says what became of them.
//!
//! ```text
//!  server ── Engine (cheap clone) ──commands──► driver task of one pod ──actions──► executor (sandbox, image, mount)
//!              │                                   │      ▲                            │
//!              │ Statuses, EventHub, Timeline ◄────┘      └──────────inputs────────────┘
//!              └── SQLite: what should run
//! ```
//!
//! Every decision about a pod is made by its [`machine`], a plain value that takes inputs with a time and gives
//! actions; the driver owns it, arms its one timer and hands the actions to the executor, which tells what came of them
//! by inputs. So nothing about a pod is locked, and every rule is tested without I/O.
//!
//! On failure: an action that fails is an input like any other, and the machine decides when it is tried again. A dead
//! daemon leaves pods running; [`Engine::start`] adopts them from SQLite, the pod inits and the exit records.

mod backoff;
mod driver;
mod engine;
mod error;
mod etc;
mod events;
mod executor;
mod handler;
mod lookup;
mod machine;
mod moment;
mod places;
mod plan;
mod record;
mod recover;
mod registry;
mod shares;
mod spec;
mod termination;
mod timeline;
mod watch;

pub use engine::{Dependencies, Directories, Engine, ExecTarget, LogTarget, Timeline};
pub use error::{EngineError, StartError};
pub use events::{EventHub, EventReader};
pub use plan::{Plan, PlanStep};
pub use watch::{Change, Watch};
