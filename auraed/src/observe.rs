//! What the node and its pods say and do: facts, logs, events, timelines.
