//! Every field of a pod: mapped, refused with a reason, or ignored with a reason.
