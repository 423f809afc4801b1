//! How far a pull is, told to all who wait for it.

use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::{Digest, Layer};

/// One step of one layer of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// The blob's digest.
    pub digest: Digest,
    /// Bytes fetched, compressed.
    pub done_bytes: u64,
    /// Bytes of the whole blob, compressed.
    pub total_bytes: u64,
    /// What is being done.
    pub state: LayerState,
}

/// Where a layer is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerState {
    /// Its turn has not come.
    Waiting,
    /// Being fetched and unpacked.
    Fetching,
    /// On this node, unpacked.
    Done,
    /// Was here before.
    Present,
}

/// Tells progress to everybody who listens, and to who comes late what was said before.
#[derive(Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    listeners: Vec<mpsc::UnboundedSender<Progress>>,
    /// The last step of each layer, in the order of the image.
    last: Vec<Progress>,
}

/// Bytes between two steps of one layer that is fetched: a listener that does not keep up is to have a short queue.
const STEP: u64 = 512 * 1024;

impl Hub {
    pub(crate) fn listen(&self, listener: mpsc::UnboundedSender<Progress>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // A listener that is gone is taken off the list with the next step.
        let _ = state
            .last
            .iter()
            .try_for_each(|progress| listener.send(progress.clone()));
        state.listeners.push(listener);
    }

    pub(crate) fn report(&self, layer: &Layer, done: u64, now: LayerState) {
        let (digest, total) = (layer.digest.clone(), layer.size_bytes);
        let progress = Progress {
            digest,
            done_bytes: done,
            total_bytes: total,
            state: now,
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let index = state.last.iter().position(|last| last.digest == progress.digest);
        match index.map(|index| &mut state.last[index]) {
            Some(last)
                if last.state == now && done < total && done < last.done_bytes.saturating_add(STEP) =>
            {
                return;
            }
            Some(last) => *last = progress.clone(),
            None => state.last.push(progress.clone()),
        }
        state
            .listeners
            .retain(|listener| listener.send(progress.clone()).is_ok());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_late_hears_the_last_steps_and_small_steps_are_left_out() {
        let digest = Digest::sha256(b"x");
        let layer = Layer {
            diff_id: digest.clone(),
            digest,
            size_bytes: 10 * STEP,
        };
        let hub = Hub::default();
        let (sender, mut first) = mpsc::unbounded_channel();
        hub.listen(sender);
        hub.report(&layer, 0, LayerState::Waiting);
        hub.report(&layer, 1, LayerState::Fetching);
        hub.report(&layer, 2, LayerState::Fetching);
        hub.report(&layer, 2 * STEP, LayerState::Fetching);
        let (sender, mut late) = mpsc::unbounded_channel();
        hub.listen(sender);
        hub.report(&layer, 10 * STEP, LayerState::Done);
        drop(hub);
        let done = |receiver: &mut mpsc::UnboundedReceiver<Progress>| {
            std::iter::from_fn(|| receiver.try_recv().ok())
                .map(|progress| progress.done_bytes)
                .collect::<Vec<_>>()
        };
        assert_eq!(done(&mut first), [0, 1, 2 * STEP, 10 * STEP]);
        assert_eq!(done(&mut late), [2 * STEP, 10 * STEP]);
    }
}
