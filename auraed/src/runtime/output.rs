//! A program's output on its way to a client.

use crate::descriptor::Descriptor;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tonic::Status;

/// Bytes of one message.
pub(super) const CHUNK: usize = 32 * 1024;

/// Messages that wait for a slow client.
pub(super) const WAITING: usize = 8;

/// How long output may lag behind the program's end. What it wrote is in the pipe already; only a terminal's driver
/// takes a moment. A process that it left in the background keeps the pipe open, and must not keep the client; nor must
/// one that goes on writing: no more is taken than the pipe could hold at the program's end.
pub(super) const LINGER: Duration = Duration::from_millis(50);

/// A client's end of a call.
pub(super) type Answers<M> = mpsc::Sender<Result<M, Status>>;

/// Copies one stream of a program to the client, until it ends or nothing more comes after the program's end. Tells
/// whether so much had waited in it that whoever fills it may have given it up.
pub(super) async fn copy<M>(
    stream: Descriptor,
    message: impl Fn(Vec<u8>) -> M,
    answers: Answers<M>,
    has_ended: watch::Receiver<bool>,
) -> bool {
    // Once for all: one that says a little again and again is not waited for each time.
    let mut lingered = std::pin::pin!(linger(has_ended.clone()));
    let mut buffer = vec![0; CHUNK];
    let (mut was_full, mut was_emptied) = (false, false);
    let mut rest = stream.capacity();
    while rest > 0 {
        let ended = *has_ended.borrow();
        let read = tokio::select! {
            biased;
            read = stream.read(&mut buffer) => read,
            () = &mut lingered => return was_full,
        };
        let bytes = match read {
            Ok(0) | Err(_) => return was_full,
            Ok(count) => buffer.get(..count).unwrap_or_default().to_vec(),
        };
        if ended {
            rest = rest.saturating_sub(bytes.len());
        }
        // Whoever gives a stream up fills it no more: what comes after it was empty is of one that was not given up.
        was_full = (was_full && !was_emptied) || stream.is_half_full();
        was_emptied = stream.is_empty();
        if answers.send(Ok(message(bytes))).await.is_err() {
            return was_full;
        }
    }
    was_full
}

/// Waits for the program's end, and then a little.
async fn linger(mut has_ended: watch::Receiver<bool>) {
    // A closed channel means that it ended, too.
    let _ = has_ended.wait_for(|ended| *ended).await;
    tokio::time::sleep(LINGER).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[tokio::test]
    async fn one_that_writes_a_little_again_and_again_does_not_either() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let background = std::thread::spawn(move || {
            while writer.write_all(b".").is_ok() {
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        let stream = Descriptor::new(reader.into()).unwrap();
        let (answers, mut received) = mpsc::channel(WAITING);
        let (_ended, has_ended) = watch::channel(true);
        let copying = tokio::spawn(copy(stream, |bytes| bytes, answers, has_ended));
        let receiving = async { while received.recv().await.is_some() {} };
        // A pipe's whole capacity would take a minute.
        let done = tokio::time::timeout(Duration::from_secs(20), receiving).await;
        assert!(done.is_ok());
        copying.await.unwrap();
        background.join().unwrap();
    }

    #[tokio::test]
    async fn one_that_goes_on_writing_does_not_keep_the_client() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"the program's own").unwrap();
        // Ends once nobody reads.
        let background = std::thread::spawn(move || while writer.write_all(&[b'.'; 1000]).is_ok() {});
        let stream = Descriptor::new(reader.into()).unwrap();
        let (answers, mut received) = mpsc::channel(WAITING);
        let (_ended, has_ended) = watch::channel(true);
        let copying = tokio::spawn(copy(stream, |bytes| bytes, answers, has_ended));
        let mut all = Vec::new();
        let receiving = async {
            while let Some(Ok(bytes)) = received.recv().await {
                all.extend(bytes);
            }
        };
        tokio::time::timeout(Duration::from_secs(60), receiving)
            .await
            .unwrap();
        copying.await.unwrap();
        background.join().unwrap();
        assert!(all.starts_with(b"the program's own"));
    }
}
