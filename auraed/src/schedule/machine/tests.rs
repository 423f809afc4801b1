//! The machine against a simulated node, and against any order of inputs.

mod any_order;
mod life;
mod restored;
mod stops;
mod world;
