//! `aurae completion`: scripts for shells.

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::printer;
use clap::CommandFactory as _;
use clap_complete::Shell;

/// Prints the script.
pub(crate) fn completion(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "aurae", &mut script);
    Ok(printer::bytes(&script)?)
}
