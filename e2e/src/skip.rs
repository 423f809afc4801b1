//! Saying that a test did not run, and why: to the terminal, past the capture of the test harness.

use std::io::Write as _;

/// Prints `skipped: TEST: REASON` so that it shows in a run whose tests all pass.
pub fn skipped(test: &str, reason: &str) {
    // A closed terminal is no reason to fail a test.
    let _ = writeln!(std::io::stderr(), "skipped: {test}: {reason}");
}

/// Whether a missing part of the environment fails the suite: set by `cargo xtask test`, which has installed them all.
pub fn everything_required() -> bool {
    std::env::var_os("AURAE_E2E_REQUIRED").is_some()
}
