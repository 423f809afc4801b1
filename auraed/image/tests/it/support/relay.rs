//! A wire between a node and a registry that counts what it carries, and breaks or stops where a test wants it to.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A running relay; it ends with the value, with all that goes over it.
pub(crate) struct Relay {
    port: u16,
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct State {
    /// Bytes from the registry to the node so far.
    carried: u64,
    /// At these counts the connection breaks.
    breaks: Vec<u64>,
    /// At this count nothing more is carried, and connections stay open.
    stop: Option<u64>,
}

enum Next {
    Carry(usize),
    Break,
    Stop,
}

impl State {
    /// What to do with so many bytes.
    fn next(&mut self, bytes: usize) -> Next {
        let to = |at: u64| usize::try_from(at.saturating_sub(self.carried)).unwrap();
        if let Some(at) = self.breaks.first().copied().filter(|at| to(*at) < bytes) {
            if to(at) == 0 {
                self.breaks.remove(0);
                return Next::Break;
            }
            let part = to(at);
            self.carried = at;
            return Next::Carry(part);
        }
        match self.stop.map(to) {
            Some(0) => return Next::Stop,
            Some(left) if left < bytes => {
                self.carried += left as u64;
                return Next::Carry(left);
            }
            _ => {}
        }
        self.carried += bytes as u64;
        Next::Carry(bytes)
    }
}

impl Relay {
    /// Carries everything to a port on loopback.
    pub(crate) async fn start(target: u16) -> Relay {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((node, _)) = listener.accept().await {
                let registry = TcpStream::connect((Ipv4Addr::LOCALHOST, target)).await.unwrap();
                connections.spawn(carry(node, registry, shared.clone()));
            }
        });
        Relay { port, state, task }
    }

    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    /// Bytes from the registry to the node so far.
    pub(crate) fn carried(&self) -> u64 {
        self.state.lock().unwrap().carried
    }

    /// Breaks a connection when so many more bytes were carried, and again at each count after it.
    pub(crate) fn break_after(&self, counts: &[u64]) {
        let mut state = self.state.lock().unwrap();
        state.breaks = counts.iter().map(|count| state.carried + count).collect();
    }

    /// Carries so many bytes more, and then nothing.
    pub(crate) fn stop_after(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap();
        state.stop = Some(state.carried + bytes);
    }

    /// Carries everything again on new connections.
    pub(crate) fn go_on(&self) {
        self.state.lock().unwrap().stop = None;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(mut node: TcpStream, mut registry: TcpStream, state: Arc<Mutex<State>>) -> Option<()> {
    let (mut from_node, mut to_node) = node.split();
    let (mut from_registry, mut to_registry) = registry.split();
    let requests = tokio::io::copy(&mut from_node, &mut to_registry);
    let answers = async {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_registry
                .read(&mut buffer)
                .await
                .ok()
                .filter(|read| *read > 0)?;
            let mut sent = 0;
            while sent < read {
                let next = state.lock().unwrap().next(read - sent);
                match next {
                    Next::Carry(bytes) => {
                        to_node.write_all(&buffer[sent..sent + bytes]).await.ok()?;
                        sent += bytes;
                    }
                    Next::Break => return None,
                    Next::Stop => return std::future::pending().await,
                }
            }
        }
    };
    tokio::select! {
        _ = requests => None,
        ended = answers => ended,
    }
}
