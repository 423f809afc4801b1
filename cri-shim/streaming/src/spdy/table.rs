//! What the tasks and streams of a connection share: which streams there are, their windows, what is to be answered.
//!
//! SPDY/3.1 lets either side say how many bytes of a stream, and of all together, it takes (section 2.6.8). Our side says
//! so as data is used up. Kubernetes' clients neither look at that nor say anything themselves: for them bounded queues and
//! TCP do the work, and windows hold back only those who keep account of them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, mpsc};

use super::Received;
use super::frame::{Reason, Violation};

/// Streams at once; each port that is forwarded has two.
const MAX_STREAMS: usize = 1024;
/// Answers that a client may leave unread.
const MAX_ANSWERS: usize = 2 * MAX_STREAMS;
/// The windows that both sides begin with, in bytes (section 2.6.8).
const INITIAL_WINDOW: u32 = 64 * 1024;
/// So much is used up before the client is told, in bytes.
const UPDATE: u32 = INITIAL_WINDOW / 2;
/// No window may grow larger.
const MAX_WINDOW: i64 = 0x7fff_ffff;

/// What the writer has to say as soon as it can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Accept(u32),
    Reset(u32, Reason),
    Ping(u32),
    /// So many more bytes of a stream, or with 0 of all, are welcome.
    Welcome(u32, u32),
}

/// The stream is over, or the whole connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

#[derive(Debug)]
pub(super) struct Table {
    state: Mutex<State>,
    /// There is an answer to write.
    pub(super) news: Notify,
    /// A window grew, or a stream is over.
    windows: Notify,
}

#[derive(Debug, Default)]
struct State {
    streams: HashMap<u32, Entry>,
    /// The highest number that the client has used.
    last: u32,
    answers: Vec<Answer>,
    updates: BTreeMap<u32, u32>,
    /// Of all streams together, used up and not told yet.
    used: u32,
    /// What the client takes of all streams together, and what of a new one; may be below zero.
    window: i64,
    initial: i64,
    /// The client has spoken of windows.
    keeps_account: bool,
    /// The client opens no more, or the connection is over.
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    /// None: the client has sent everything.
    queue: Option<mpsc::Sender<Received>>,
    /// We have.
    ended: bool,
    window: i64,
    used: u32,
}

impl Table {
    pub(super) fn new() -> Self {
        let state = State {
            window: INITIAL_WINDOW.into(),
            initial: INITIAL_WINDOW.into(),
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            news: Notify::new(),
            windows: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a number for a new stream. `false`: there are too many of them, or there shall be no more.
    pub(super) fn open(&self, stream: u32, queue: Option<mpsc::Sender<Received>>) -> Result<bool, Violation> {
        let mut state = self.state();
        if stream.is_multiple_of(2) || stream <= state.last {
            return Err(Violation("stream number"));
        }
        state.last = stream;
        let Some(queue) = queue else { return Ok(false) };
        if state.closed || state.streams.len() >= MAX_STREAMS {
            return Ok(false);
        }
        let entry = Entry {
            queue: Some(queue),
            ended: false,
            window: state.initial,
            used: 0,
        };
        state.streams.insert(stream, entry);
        Ok(true)
    }

    /// Has the writer say something.
    pub(super) fn answer(&self, answer: Answer) {
        self.state().answers.push(answer);
        self.news.notify_one();
    }

    /// Everything that is to be said now, in order.
    pub(super) fn take_answers(&self) -> Vec<Answer> {
        let mut state = self.state();
        let updates = std::mem::take(&mut state.updates);
        let welcome = updates
            .into_iter()
            .map(|(stream, more)| Answer::Welcome(stream, more));
        let mut answers = std::mem::take(&mut state.answers);
        answers.extend(welcome);
        answers
    }

    /// A client that asks much and reads no answers would fill our memory.
    pub(super) fn check(&self) -> Result<(), Violation> {
        match self.state().answers.len() {
            0..MAX_ANSWERS => Ok(()),
            _ => Err(Violation("number of unread answers")),
        }
    }

    /// Where a stream's data goes, if anywhere.
    pub(super) fn queue(&self, stream: u32) -> Option<mpsc::Sender<Received>> {
        self.state().streams.get(&stream)?.queue.clone()
    }

    /// Whether a stream is not over.
    pub(super) fn is_open(&self, stream: u32) -> bool {
        self.state().streams.contains_key(&stream)
    }

    /// Resolves when a stream is over, both ways.
    pub(super) async fn over(&self, stream: u32) {
        loop {
            let changed = self.windows.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if !self.is_open(stream) {
                return;
            }
            changed.await;
        }
    }

    /// The highest number that the client has used.
    pub(super) fn last(&self) -> u32 {
        self.state().last
    }

    /// The client sends no more on a stream.
    pub(super) fn client_ended(&self, stream: u32) {
        self.end(stream, |entry| entry.queue = None);
    }

    /// We send no more on a stream.
    pub(super) fn server_ended(&self, stream: u32) {
        self.end(stream, |entry| entry.ended = true);
    }

    fn end(&self, stream: u32, side: impl FnOnce(&mut Entry)) {
        let mut state = self.state();
        if let Some(entry) = state.streams.get_mut(&stream) {
            side(entry);
            if entry.ended && entry.queue.is_none() {
                state.streams.remove(&stream);
                drop(state);
                self.windows.notify_waiters();
            }
        }
    }

    /// A stream is over, both ways. `false`: it was.
    pub(super) fn remove(&self, stream: u32) -> bool {
        let removed = self.state().streams.remove(&stream).is_some();
        self.windows.notify_waiters();
        removed
    }

    /// There are no new streams any more.
    pub(super) fn close_to_new(&self) {
        self.state().closed = true;
    }

    /// The connection is over.
    pub(super) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.streams.clear();
        drop(state);
        self.windows.notify_waiters();
    }

    /// So much of a stream's data was used up or thrown away.
    pub(super) fn used(&self, stream: u32, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let mut state = self.state();
        let state = &mut *state;
        let mut count = |used: &mut u32, stream: u32| {
            *used = used.saturating_add(bytes);
            if *used >= UPDATE {
                let update = state.updates.entry(stream).or_default();
                *update = update.saturating_add(std::mem::take(used)).min(0x7fff_ffff);
                self.news.notify_one();
            }
        };
        count(&mut state.used, 0);
        if let Some(entry) = state.streams.get_mut(&stream)
            && entry.queue.is_some()
        {
            count(&mut entry.used, stream);
        }
    }

    /// The client keeps account of windows, and those of its streams begin with so much.
    pub(super) fn set_window(&self, window: u32) {
        let mut state = self.state();
        let change = i64::from(window) - state.initial;
        state.initial = window.into();
        state.keeps_account = true;
        for entry in state.streams.values_mut() {
            entry.window = (entry.window + change).min(MAX_WINDOW);
        }
        drop(state);
        self.windows.notify_waiters();
    }

    /// The client takes so much more of a stream, or with 0 of all.
    pub(super) fn widen(&self, stream: u32, more: u32) {
        let mut state = self.state();
        state.keeps_account = true;
        let state = &mut *state;
        let window = match stream {
            0 => Some(&mut state.window),
            stream => state.streams.get_mut(&stream).map(|entry| &mut entry.window),
        };
        if let Some(window) = window {
            *window = (*window + i64::from(more)).min(MAX_WINDOW);
        }
        self.windows.notify_waiters();
    }

    /// Waits until something of a stream may be sent, and takes up to `wanted` bytes of its window: at least one.
    pub(super) async fn room(&self, stream: u32, wanted: usize) -> Result<usize, Gone> {
        loop {
            let changed = self.windows.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(room) = self.try_room(stream, wanted)? {
                return Ok(room);
            }
            changed.await;
        }
    }

    fn try_room(&self, stream: u32, wanted: usize) -> Result<Option<usize>, Gone> {
        let mut state = self.state();
        let state = &mut *state;
        let entry = state.streams.get_mut(&stream).ok_or(Gone)?;
        let mut room = wanted;
        if state.keeps_account {
            let window = entry.window.min(state.window).max(0);
            room = room.min(usize::try_from(window).unwrap_or(usize::MAX));
        }
        let spent = i64::try_from(room).unwrap_or(i64::MAX);
        entry.window = entry.window.saturating_sub(spent);
        state.window = state.window.saturating_sub(spent);
        Ok((room > 0).then_some(room))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table_with(stream: u32) -> (Table, mpsc::Receiver<Received>) {
        let table = Table::new();
        let (queue, receiver) = mpsc::channel(1);
        assert_eq!(table.open(stream, Some(queue)), Ok(true));
        (table, receiver)
    }

    #[test]
    fn numbers_are_odd_and_rise() {
        let (table, _queue) = table_with(3);
        for number in [4, 3, 1] {
            assert_eq!(table.open(number, None), Err(Violation("stream number")));
        }
    }

    #[test]
    fn there_are_only_so_many_streams() {
        let table = Table::new();
        let (queue, _receiver) = mpsc::channel(1);
        let opened =
            (0..2000_u32).filter(|number| table.open(2 * number + 1, Some(queue.clone())) == Ok(true));
        assert_eq!(opened.count(), MAX_STREAMS);
        table.server_ended(1);
        table.client_ended(1);
        assert_eq!(table.open(9001, Some(queue)), Ok(true));
    }

    #[test]
    fn a_client_that_does_not_speak_of_windows_is_not_held_back() {
        let (table, _queue) = table_with(1);
        for _ in 0..100 {
            assert_eq!(table.try_room(1, 32 * 1024), Ok(Some(32 * 1024)));
        }
    }

    #[test]
    fn windows_hold_back_those_who_speak_of_them() {
        let (table, _queue) = table_with(1);
        table.set_window(1000);
        assert_eq!(table.try_room(1, 800), Ok(Some(800)));
        assert_eq!(table.try_room(1, 800), Ok(Some(200)));
        assert_eq!(table.try_room(1, 1), Ok(None));
        table.widen(1, 5);
        assert_eq!(table.try_room(1, 800), Ok(Some(5)));
        // A smaller one than was given already is a debt.
        table.set_window(500);
        table.widen(1, 500);
        assert_eq!(table.try_room(1, 1), Ok(None));
        table.widen(1, 1);
        assert_eq!(table.try_room(1, 9), Ok(Some(1)));
    }

    #[test]
    fn all_streams_share_one_window() {
        let (table, _queue) = table_with(1);
        table.set_window(1_000_000);
        assert_eq!(table.try_room(1, 1_000_000), Ok(Some(64 * 1024)));
        assert_eq!(table.try_room(1, 1), Ok(None));
        table.widen(0, 7);
        assert_eq!(table.try_room(1, 100), Ok(Some(7)));
    }

    #[test]
    fn what_is_used_up_is_told_in_large_steps() {
        let (table, _queue) = table_with(1);
        table.used(1, 1000);
        assert_eq!(table.take_answers(), []);
        table.used(1, 40_000);
        assert_eq!(
            table.take_answers(),
            [Answer::Welcome(0, 41_000), Answer::Welcome(1, 41_000)]
        );
        table.client_ended(1);
        table.used(1, 40_000);
        assert_eq!(table.take_answers(), [Answer::Welcome(0, 40_000)]);
    }

    #[tokio::test]
    async fn who_waits_for_a_window_hears_of_the_end() {
        let (table, _queue) = table_with(1);
        table.set_window(0);
        let (room, ()) = tokio::join!(table.room(1, 1), async { assert!(table.remove(1)) });
        assert_eq!(room, Err(Gone));
    }
}
