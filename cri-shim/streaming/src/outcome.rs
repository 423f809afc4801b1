//! How a program ended, in the words of the protocol's version (`metav1.Status` from v4 on).

use crate::protocol::Protocol;
use bytes::Bytes;
use serde_json::json;

/// How a remote command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It ran to its end: the exit code, or 128 + the signal's number.
    Exited(i32),
    /// It did not run, or nobody knows how it ended.
    Failed(String),
}

impl Outcome {
    /// What goes over the error channel; older protocols than v4 say nothing where all went well.
    pub(crate) fn encode(&self, protocol: Protocol) -> Option<Bytes> {
        if protocol.has_status() {
            return Some(self.status().to_string().into());
        }
        match self {
            Self::Exited(0) => None,
            Self::Exited(code) => Some(exit_text(*code).into()),
            Self::Failed(message) => Some(message.clone().into()),
        }
    }

    fn status(&self) -> serde_json::Value {
        match self {
            Self::Exited(0) => json!({ "metadata": {}, "status": "Success" }),
            Self::Exited(code) => json!({
                "metadata": {},
                "status": "Failure",
                "message": exit_text(*code),
                "reason": "NonZeroExitCode",
                "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
            }),
            Self::Failed(message) => json!({
                "metadata": {},
                "status": "Failure",
                "message": format!("Internal error occurred: {message}"),
                "reason": "InternalError",
                "details": { "causes": [{ "message": message }] },
                "code": 500,
            }),
        }
    }
}

fn exit_text(code: i32) -> String {
    format!("command terminated with non-zero exit code: exit code {code}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_code_is_a_cause() {
        let text = Outcome::Exited(3).encode(Protocol::V5).unwrap();
        let status: serde_json::Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(
            status["details"]["causes"][0],
            json!({ "reason": "ExitCode", "message": "3" })
        );
        assert_eq!(status["reason"], "NonZeroExitCode");
    }

    #[test]
    fn older_protocols_speak_of_failures_alone() {
        assert_eq!(Outcome::Exited(0).encode(Protocol::Unversioned), None);
        assert_eq!(
            Outcome::Failed("no such program".into())
                .encode(Protocol::Unversioned)
                .unwrap(),
            "no such program"
        );
    }
}
