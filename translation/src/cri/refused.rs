//! Why a request of the CRI is not served: each field with its path.

use std::fmt;

/// One field that stands against a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its path, as `config.linux.resources.cpu_shares`.
    pub field: String,
    /// What is wrong with it, for people.
    pub message: String,
}

/// All fields that stand against a request; at least one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// In the order in which they were found.
    pub fields: Vec<Refusal>,
}

impl Refused {
    /// Adds a field.
    pub(super) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.fields.push(Refusal {
            field: field.into(),
            message: message.into(),
        });
    }

    /// The value, unless a field stands against it.
    pub(super) fn unless<T>(self, value: T) -> Result<T, Refused> {
        if self.fields.is_empty() {
            Ok(value)
        } else {
            Err(self)
        }
    }

    /// A number that fits, or zero and a refusal.
    pub(super) fn number<T: Default + TryFrom<i64>>(&mut self, field: impl Into<String>, value: i64) -> T {
        T::try_from(value).unwrap_or_else(|_| {
            self.add(field, format!("{value} is out of range"));
            T::default()
        })
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Refusal { field, message }) in self.fields.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}{field}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Refused {}
