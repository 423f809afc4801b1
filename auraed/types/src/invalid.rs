//! What a refused message says: every wrong field with its reason.

use std::fmt;

/// One field that does not hold what it must.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The path of the field, as `containers[0].mounts[1].path`.
    pub field: String,
    /// Why it cannot be accepted, as a sentence without a period.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.reason)
    }
}

/// A pod that cannot be accepted as it is. Holds at least one problem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidPod {
    problems: Vec<Problem>,
}

impl InvalidPod {
    /// All that is wrong, in the order of the message's fields.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Gives the problems away.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }
}

impl fmt::Display for InvalidPod {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("; ")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for InvalidPod {}

/// Collects problems while a message is walked; the current path is kept here, so that no caller spells it twice.
#[derive(Debug, Default)]
pub(crate) struct Checker {
    path: Vec<String>,
    problems: Vec<Problem>,
}

impl Checker {
    /// Runs `inner` with `segment` added to the path.
    pub(crate) fn at<T>(&mut self, segment: impl Into<String>, inner: impl FnOnce(&mut Checker) -> T) -> T {
        self.path.push(segment.into());
        let result = inner(self);
        self.path.pop();
        result
    }

    /// Notes a problem with the field below the current path.
    pub(crate) fn refuse(&mut self, field: &str, reason: impl Into<String>) {
        let mut path = self.path.join(".");
        if !field.is_empty() {
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(field);
        }
        self.problems.push(Problem {
            field: path,
            reason: reason.into(),
        });
    }

    /// Takes a parsed value, or notes why there is none.
    pub(crate) fn take<T, E: fmt::Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(reason) => {
                self.refuse(field, reason.to_string());
                None
            }
        }
    }

    /// The value if nothing was wrong.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, InvalidPod> {
        match value {
            Some(value) if self.problems.is_empty() => Ok(value),
            _ => Err(InvalidPod {
                problems: self.problems,
            }),
        }
    }
}
