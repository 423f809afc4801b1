//! Fuzzing with the stable compiler: builds the targets of e2e/fuzz with coverage, and runs each for a while.
//!
//! What was found stays in the cache: a corpus that the next run goes on from, and inputs that crash, each named in the
//! end. A first run begins with e2e/fuzz/seeds. `cargo fuzz` works in that directory as well, where it is installed.
//!
//! With `--sanitizer address` the Rust code is checked for accesses outside of what is allocated; of the libraries in C
//! only their allocations are. Its runtime comes with the compiler. Such a run is two to four times slower.

use std::path::Path;
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};

use crate::shell::{cache, cargo, root, run, say, status};

/// What the compiler needs for libFuzzer; the last also turns on what crates keep for fuzzing alone.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
const TARGETS: [&str; 6] = ["config", "layer", "manifest", "reference", "spdy", "websocket"];

/// What `fuzz` takes.
#[derive(Args)]
pub(crate) struct Options {
    /// Seconds for each target.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What to check for beside panics and what the targets themselves look for.
    #[arg(long)]
    sanitizer: Option<Sanitizer>,
    /// One target; all without it.
    #[arg(value_parser = TARGETS)]
    target: Option<String>,
}

/// What the compiler can check for at run time.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Sanitizer {
    /// Accesses outside of what is allocated, or was.
    Address,
}

impl Sanitizer {
    fn flags(self) -> &'static str {
        match self {
            Sanitizer::Address => " -Zsanitizer=address",
        }
    }

    /// Where its programs are built: with other flags all is built anew.
    fn place(self) -> &'static str {
        match self {
            Sanitizer::Address => "target-address",
        }
    }
}

/// Runs targets one after the other, and fails if one has found something.
pub(crate) fn fuzz(options: &Options) -> anyhow::Result<ExitCode> {
    let place = cache().join("fuzz");
    let build = place.join(options.sanitizer.map_or("target", Sanitizer::place));
    let flags = FLAGS.to_owned() + options.sanitizer.map_or("", Sanitizer::flags);
    let mut command = cargo();
    command
        .args(["build", "--locked", "--bins", "--target", TRIPLE])
        .arg("--manifest-path")
        .arg(root().join("e2e/fuzz/Cargo.toml"))
        .env("CARGO_TARGET_DIR", &build)
        // Coverage and the sanitizers are not stable yet.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", flags);
    run(&mut command)?;
    // The layers' files are made in memory, three times as fast.
    let scratch = Path::new("/dev/shm").join(format!("aurae-fuzz-{}", std::process::id()));
    fs_err::create_dir_all(&scratch)?;
    let mut found = Vec::new();
    for target in TARGETS {
        if options.target.as_deref().is_some_and(|one| one != target) {
            continue;
        }
        let (corpus, crashes) = (
            place.join("corpus").join(target),
            place.join("crashes").join(target),
        );
        for directory in [&corpus, &crashes] {
            fs_err::create_dir_all(directory)?;
        }
        let mut command = Command::new(build.join(TRIPLE).join("debug").join(target));
        command
            .env("TMPDIR", &scratch)
            // What a thread holds that is just ending would be told as a leak.
            .env("ASAN_OPTIONS", "detect_leaks=0")
            .arg(format!("-max_total_time={}", options.seconds))
            .args([
                "-max_len=65536",
                "-timeout=20",
                "-rss_limit_mb=2048",
                "-print_final_stats=1",
            ])
            .arg(format!("-artifact_prefix={}/", crashes.display()))
            .arg(&corpus);
        let seeds = root().join("e2e/fuzz/seeds").join(target);
        if seeds.exists() {
            command.arg(seeds);
        }
        if !status(&mut command)?.success() {
            found.push(format!("{target}: see {}", crashes.display()));
        }
    }
    fs_err::remove_dir_all(&scratch)?;
    if found.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for line in found {
        say(format_args!("fuzz: {line}"));
    }
    Ok(ExitCode::FAILURE)
}
