//! What a request asks for: the program and its streams, from the query (kubelet's names and the API server's).

/// A program and the streams that are connected to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The program and its arguments; empty for attach.
    pub command: Vec<String>,
    /// Standard input is sent.
    pub stdin: bool,
    /// Standard output is wanted.
    pub stdout: bool,
    /// Standard error is wanted; never with a terminal, where it is part of standard output.
    pub stderr: bool,
    /// The program gets a terminal.
    pub tty: bool,
}

/// The query asks for nothing that could be done. Answer 400 with the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("you must specify at least 1 of stdin, stdout, stderr")]
pub struct InvalidOptions;

impl Options {
    /// Reads a query string (without the question mark): `command` repeated, `input`, `output`, `error`, `tty` as `1` or
    /// `true`, also under the API server's names `stdin`, `stdout`, `stderr`. Other names are passed over.
    ///
    /// # Errors
    /// [`InvalidOptions`] where no stream is asked for.
    pub fn from_query(query: &str) -> Result<Self, InvalidOptions> {
        let mut options = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let on = matches!(value.as_ref(), "1" | "true");
            match name.as_ref() {
                "command" => options.command.push(value.into_owned()),
                "input" | "stdin" => options.stdin |= on,
                "output" | "stdout" => options.stdout |= on,
                "error" | "stderr" => options.stderr |= on,
                "tty" => options.tty |= on,
                _ => {}
            }
        }
        options.stderr &= !options.tty;
        if options.stdin || options.stdout || options.stderr {
            Ok(options)
        } else {
            Err(InvalidOptions)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_of_names_are_read() {
        let kubelet = Options::from_query(
            "command=sh&command=-c&command=echo+%22a%26b%22&input=1&output=1&error=1&tty=1",
        );
        let api = Options::from_query(
            "command=sh&command=-c&command=echo%20%22a%26b%22&stdin=true&stdout=true&stderr=true&tty=true",
        );
        assert_eq!(kubelet, api);
        let options = kubelet.unwrap();
        assert_eq!(options.command, ["sh", "-c", "echo \"a&b\""]);
        assert!(options.stdin && options.stdout && options.tty && !options.stderr);
    }

    #[test]
    fn no_stream_is_no_request() {
        assert_eq!(
            Options::from_query("command=true&stdin=false"),
            Err(InvalidOptions)
        );
        assert_eq!(Options::from_query("tty=1&error=1"), Err(InvalidOptions));
    }
}
