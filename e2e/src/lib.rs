//! The real thing: control plane, registry, images, crash runs, figures.
