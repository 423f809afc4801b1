//! Steps of a pod.
