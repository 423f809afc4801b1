//! What a client may ask the streaming server for: a token a request, good once and for a minute.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};
use tokio::time::Instant;

/// How long a token is good.
const GOOD_FOR: Duration = Duration::from_secs(60);
/// Requests that wait for their client; more push the oldest out.
const MAX_WAITING: usize = 1000;
/// Of the operating system's randomness in a token.
const TOKEN_BYTES: usize = 24;

/// Requests that wait for their client.
#[derive(Debug)]
pub(super) struct Tokens<T> {
    waiting: Mutex<VecDeque<Waiting<T>>>,
}

#[derive(Debug)]
struct Waiting<T> {
    token: String,
    until: Instant,
    request: T,
}

impl<T> Tokens<T> {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(VecDeque::new()),
        }
    }

    /// Keeps a request, and tells the token that it is had for.
    ///
    /// # Errors
    /// Where the operating system has no randomness.
    pub(super) fn put(&self, request: T) -> io::Result<String> {
        let token = draw()?;
        let now = Instant::now();
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting
            .front()
            .is_some_and(|oldest| oldest.until <= now || waiting.len() >= MAX_WAITING)
        {
            waiting.pop_front();
        }
        waiting.push_back(Waiting {
            token: token.clone(),
            until: now + GOOD_FOR,
            request,
        });
        Ok(token)
    }

    /// Gives a request up for its token, if that is good. It is not from then on.
    pub(super) fn take(&self, token: &str) -> Option<T> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let index = waiting.iter().position(|one| one.token == token)?;
        let found = waiting.remove(index)?;
        (found.until > Instant::now()).then_some(found.request)
    }
}

fn draw() -> io::Result<String> {
    let mut bytes = [0; TOKEN_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    let mut token = String::with_capacity(2 * TOKEN_BYTES);
    for byte in bytes {
        // Writing to a string does not fail.
        let _ = write!(token, "{byte:02x}");
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_token_is_good_once_and_for_a_minute() {
        let tokens = Tokens::new();
        let token = tokens.put(1).unwrap();
        assert_eq!(token.len(), 48);
        assert_eq!(tokens.take("nonsense"), None);
        assert_eq!(tokens.take(&token), Some(1));
        assert_eq!(tokens.take(&token), None);
        let token = tokens.put(2).unwrap();
        tokio::time::advance(GOOD_FOR).await;
        assert_eq!(tokens.take(&token), None);
    }

    #[tokio::test]
    async fn the_oldest_make_way() {
        let tokens = Tokens::new();
        let first = tokens.put(0).unwrap();
        let second = tokens.put(1).unwrap();
        for number in 2..=MAX_WAITING {
            tokens.put(number).unwrap();
        }
        assert_eq!(tokens.take(&first), None);
        assert_eq!(tokens.take(&second), Some(1));
    }
}
