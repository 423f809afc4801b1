//! Profiles in the OCI format: JSON that says which system calls a container may make.

use std::sync::Arc;

use crate::Capabilities;

/// A profile that was read and understood.
#[derive(Debug)]
pub struct Profile {}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// What it asks for is not done here.
    #[error("seccomp profile: {0}")]
    Unsupported(String),
}

impl Profile {
    /// Understands the text of a profile.
    ///
    /// # Errors
    /// If it is not such a profile, or asks for what is not done here.
    pub fn parse(_json: &[u8]) -> Result<Self, ProfileError> {
        Err(ProfileError::Unsupported("not done yet".to_owned()))
    }

    /// The filter for a process with these capabilities: a BPF program, 16 hexadecimal digits an instruction.
    ///
    /// # Errors
    /// If the program is longer than the kernel takes.
    pub(crate) fn filter(&self, _capabilities: Capabilities) -> Result<Arc<str>, ProfileError> {
        Err(ProfileError::Unsupported("not done yet".to_owned()))
    }
}
