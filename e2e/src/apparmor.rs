//! AppArmor for a run: Debian's parser from the cache, under the names that it is called by. Nothing of it is installed.

use std::path::Path;

use anyhow::ensure;

use crate::home;
use crate::process::write_script;

/// Whether this kernel confines programs by profiles.
pub fn is_enabled() -> bool {
    fs_err::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|text| text.first() == Some(&b'Y'))
}

/// Puts `apparmor_parser` into a directory of programs, and `sudo`, which critest calls it by.
///
/// # Errors
/// It is not in the cache.
pub fn write_tools(directory: &Path) -> anyhow::Result<()> {
    let tree = home::cache().join("debian/apparmor");
    let parser = tree.join("sbin/apparmor_parser");
    ensure!(
        parser.is_file(),
        "{} is missing: run `cargo xtask setup`",
        parser.display()
    );
    fs_err::create_dir_all(directory)?;
    let cache = directory.join("cache");
    fs_err::create_dir_all(&cache)?;
    // Debian's own names a file where it would be if it were installed.
    let configuration = directory.join("parser.conf");
    let features = tree.join("usr/share/apparmor-features/features");
    fs_err::write(
        &configuration,
        format!("policy-features={}\n", features.display()),
    )?;
    let script = format!(
        "#!/bin/sh\nexec {} --config-file {} --base {}/etc/apparmor.d --cache-loc {} \"$@\"\n",
        parser.display(),
        configuration.display(),
        tree.display(),
        cache.display(),
    );
    write_script(&directory.join("apparmor_parser"), &script)?;
    write_script(&directory.join("sudo"), "#!/bin/sh\nexec \"$@\"\n")
}
