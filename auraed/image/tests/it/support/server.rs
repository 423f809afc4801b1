//! A small HTTP server for what no real one would do: break off, send too much, lie.

use std::net::Ipv4Addr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::watch::PATIENCE;

/// A request: its head, and its body if it has a length.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) head: String,
    pub(crate) body: String,
}

/// An answer. The length that is announced may be another than that of the body.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: &'static str,
    pub(crate) headers: String,
    pub(crate) body: Vec<u8>,
    pub(crate) announced: Option<usize>,
}

/// A running server; it ends with the value.
pub(crate) struct Server {
    pub(crate) port: u16,
    requests: watch::Receiver<Vec<Request>>,
    task: tokio::task::JoinHandle<()>,
}

impl Request {
    /// Method and target.
    pub(crate) fn line(&self) -> &str {
        self.head
            .lines()
            .next()
            .unwrap_or_default()
            .trim_end_matches(" HTTP/1.1")
    }

    /// Where the part begins that is asked for.
    pub(crate) fn offset(&self) -> Option<usize> {
        let range = self.header("range")?.strip_prefix("bytes=")?;
        range.strip_suffix('-')?.parse().ok()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

impl Reply {
    pub(crate) fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status: "200 OK",
            headers: String::new(),
            body: body.into(),
            announced: None,
        }
    }

    pub(crate) fn status(status: &'static str) -> Reply {
        Reply {
            status,
            ..Reply::ok("")
        }
    }

    /// What follows an offset of the whole.
    pub(crate) fn part(whole: &[u8], start: usize) -> Reply {
        let range = format!("bytes {start}-{}/{}", whole.len() - 1, whole.len());
        Reply {
            status: "206 Partial Content",
            ..Reply::ok(&whole[start..])
        }
        .header("content-range", &range)
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Reply {
        self.headers += &format!("{name}: {value}\r\n");
        self
    }

    /// Breaks off after some bytes.
    pub(crate) fn cut(mut self, length: usize) -> Reply {
        self.announced = Some(self.body.len());
        self.body.truncate(length);
        self
    }
}

impl Server {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, requests) = watch::channel(Vec::new());
        let (answer, seen) = (Arc::new(answer), Arc::new(seen));
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer.clone(), seen.clone()));
            }
        });
        Server { port, requests, task }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn reference(&self, rest: &str) -> String {
        format!("127.0.0.1:{}/{rest}", self.port)
    }

    /// The offsets that parts were asked from.
    pub(crate) fn offsets(&self) -> Vec<usize> {
        self.requests().iter().filter_map(Request::offset).collect()
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.borrow().clone()
    }

    /// Waits until so many requests came that have this in their first line.
    pub(crate) async fn until_asked(&self, part: &str, times: usize) {
        let mut requests = self.requests.clone();
        let asked = requests.wait_for(|requests| count(requests, part) >= times);
        let asked = tokio::time::timeout(PATIENCE, asked).await;
        assert!(asked.is_ok(), "{part} was not asked for {times} times");
    }

    pub(crate) fn count(&self, part: &str) -> usize {
        count(&self.requests(), part)
    }
}

fn count(requests: &[Request], part: &str) -> usize {
    let asked = requests.iter().filter(|request| request.line().contains(part));
    asked.count()
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request a connection.
async fn serve(
    mut stream: TcpStream,
    answer: Arc<impl Fn(&Request) -> Reply>,
    seen: Arc<watch::Sender<Vec<Request>>>,
) -> Option<()> {
    let mut bytes = Vec::new();
    let end = loop {
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut request = Request {
        head,
        body: String::new(),
    };
    let length: usize = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    while bytes.len() < end + 4 + length {
        stream.read_buf(&mut bytes).await.ok().filter(|read| *read > 0)?;
    }
    request.body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
    let reply = answer(&request);
    seen.send_modify(|seen| seen.push(request));
    let length = reply.announced.unwrap_or(reply.body.len());
    let head = format!(
        "HTTP/1.1 {}\r\n{}content-length: {length}\r\nconnection: close\r\n\r\n",
        reply.status, reply.headers
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    stream.write_all(&reply.body).await.ok()?;
    stream.shutdown().await.ok()
}
