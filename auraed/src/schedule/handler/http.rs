//! GET a page: HTTP/1.1, over TLS without a check where that is asked for, redirects followed on the same host.

use std::sync::Arc;
use std::time::Duration;

use auraed_types::pod::HttpGet;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use url::Url;

use super::{authority, connect_error};
use crate::schedule::machine::Probed;

mod unverified;

/// More of a page than this tells nobody more.
const MAX_BODY_BYTES: usize = 10 * 1024;
/// After so many, something goes round in circles.
const MAX_REDIRECTS: usize = 10;
const AGENT: HeaderValue = HeaderValue::from_static(concat!("aurae-probe/", env!("CARGO_PKG_VERSION")));

/// What a server said.
struct Answer {
    status: StatusCode,
    location: Option<String>,
    body: Bytes,
}

pub(super) async fn probe(host: &str, get: &HttpGet, timeout: Duration) -> Probed {
    let url = match url(host, get) {
        Ok(url) => url,
        Err(message) => return Probed::Unknown(message),
    };
    match tokio::time::timeout(timeout, follow(url.clone(), get)).await {
        Ok(Ok(probed)) => probed,
        Ok(Err(message)) => Probed::Failure(format!("Get \"{url}\": {message}")),
        Err(_) => Probed::Failure(format!(
            "Get \"{url}\": context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
        )),
    }
}

pub(super) async fn hook(host: &str, get: &HttpGet) -> Result<(), String> {
    let url = url(host, get)?;
    fetch(&url, get)
        .await
        .map(drop)
        .map_err(|message| format!("Get \"{url}\": {message}"))
}

fn url(host: &str, get: &HttpGet) -> Result<Url, String> {
    let scheme = if get.https { "https" } else { "http" };
    let text = format!("{scheme}://{}{}", authority(host, get.port), get.path);
    text.parse().map_err(|error| format!("{text}: {error}"))
}

async fn follow(first: Url, get: &HttpGet) -> Result<Probed, String> {
    let mut url = first.clone();
    for _ in 0..=MAX_REDIRECTS {
        let answer = fetch(&url, get).await?;
        if !answer.status.is_redirection() {
            return Ok(judge(&answer));
        }
        let Some(next) = answer
            .location
            .as_deref()
            .and_then(|location| url.join(location).ok())
        else {
            return Ok(judge(&answer));
        };
        if next.host_str() != first.host_str() {
            let body = String::from_utf8_lossy(&answer.body);
            return Ok(Probed::Warning(format!(
                "Probe terminated redirects, Response body: {body}"
            )));
        }
        url = next;
    }
    Err(format!("stopped after {MAX_REDIRECTS} redirects"))
}

fn judge(answer: &Answer) -> Probed {
    if answer.status.is_success() || answer.status.is_redirection() {
        Probed::Success
    } else {
        Probed::Failure(format!(
            "HTTP probe failed with statuscode: {}",
            answer.status.as_u16()
        ))
    }
}

async fn fetch(url: &Url, get: &HttpGet) -> Result<Answer, String> {
    let host = url.host_str().ok_or("no host")?.trim_matches(['[', ']']);
    let port = url.port_or_known_default().ok_or("no port")?;
    let authority = authority(host, port);
    let stream = TcpStream::connect(&authority)
        .await
        .map_err(|error| format!("dial tcp {authority}: {}", connect_error(&error)))?;
    let request = request(url, &authority, get)?;
    if url.scheme() != "https" {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::new(unverified::client_config()));
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| error.to_string())?;
    exchange(stream, request).await
}

fn request(url: &Url, authority: &str, get: &HttpGet) -> Result<Request<Empty<Bytes>>, String> {
    let mut headers = HeaderMap::new();
    headers.insert(HOST, authority.parse().map_err(|_| "the host cannot be sent")?);
    headers.insert(USER_AGENT, AGENT);
    headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
    let mut given: Vec<HeaderName> = Vec::new();
    for (name, value) in &get.headers {
        let name: HeaderName = name
            .parse()
            .map_err(|_| format!("header {name} cannot be sent"))?;
        let value: HeaderValue = value
            .parse()
            .map_err(|_| format!("the value of header {name} cannot be sent"))?;
        // The first of a name takes the default's place, an empty one leaves it out.
        if given.contains(&name) {
            headers.append(&name, value);
        } else if value.is_empty() {
            headers.remove(&name);
        } else {
            headers.insert(&name, value);
        }
        given.push(name);
    }
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let mut request = Request::get(path)
        .body(Empty::new())
        .map_err(|error| error.to_string())?;
    *request.headers_mut() = headers;
    Ok(request)
}

async fn exchange<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Answer, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let talk = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| error.to_string())?;
        Ok(read(response).await)
    };
    tokio::pin!(talk, connection);
    // The connection moves what the exchange waits for, and ends with it.
    tokio::select! {
        answer = &mut talk => answer,
        ended = &mut connection => match ended {
            Ok(()) => talk.await,
            Err(error) => Err(error.to_string()),
        },
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Answer {
    let status = response.status();
    let location = response
        .headers()
        .get(LOCATION)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned);
    // A page that is too long or breaks off was answered all the same.
    let body = match Limited::new(response.into_body(), MAX_BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(_) => Bytes::new(),
    };
    Answer {
        status,
        location,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// A server that answers each connection with the next answer, and gives back what it was asked.
    async fn serve(answers: Vec<String>) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(async move {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(stream.read_u8().await.unwrap());
                }
                asked.push(String::from_utf8(head).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            asked
        });
        (port, serving)
    }

    fn answer(status: &str, headers: &str) -> String {
        format!("HTTP/1.1 {status}\r\n{headers}content-length: 2\r\nconnection: close\r\n\r\nhi")
    }

    fn get(port: u16, headers: &[(&str, &str)]) -> HttpGet {
        let headers = headers
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        HttpGet {
            host: None,
            port,
            path: "/healthz?full=1".into(),
            https: false,
            headers: headers.collect(),
        }
    }

    #[tokio::test]
    async fn the_request_is_as_it_was_asked_for() {
        let (port, serving) = serve(vec![answer("200 OK", "")]).await;
        let get = get(
            port,
            &[
                ("Host", "web.example"),
                ("X-Two", "1"),
                ("X-Two", "2"),
                ("Accept", ""),
            ],
        );
        assert_eq!(probe("127.0.0.1", &get, PATIENCE).await, Probed::Success);
        let asked = serving.await.unwrap().remove(0).to_lowercase();
        assert!(asked.starts_with("get /healthz?full=1 http/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("host: web.example\r\n") && asked.contains("x-two: 1\r\nx-two: 2\r\n"),
            "{asked}"
        );
        assert!(
            !asked.contains("accept:") && asked.contains("user-agent: aurae-probe/"),
            "{asked}"
        );
    }

    #[tokio::test]
    async fn a_failing_page_is_named_by_its_status() {
        let (port, _serving) = serve(vec![answer("500 Oh", "")]).await;
        let failure = Probed::Failure("HTTP probe failed with statuscode: 500".into());
        assert_eq!(probe("127.0.0.1", &get(port, &[]), PATIENCE).await, failure);
    }

    #[tokio::test]
    async fn redirects_stay_on_the_host() {
        let (port, serving) = serve(vec![
            answer("302 Go", "location: /there\r\n"),
            answer("204 Fine", ""),
        ])
        .await;
        assert_eq!(
            probe("127.0.0.1", &get(port, &[]), PATIENCE).await,
            Probed::Success
        );
        assert!(serving.await.unwrap()[1].starts_with("GET /there "));
        let (port, _serving) = serve(vec![answer("302 Go", "location: http://elsewhere.example/\r\n")]).await;
        let warning = Probed::Warning("Probe terminated redirects, Response body: hi".into());
        assert_eq!(probe("127.0.0.1", &get(port, &[]), PATIENCE).await, warning);
    }

    #[tokio::test]
    async fn nobody_there_is_a_failure_that_says_where() {
        let port = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let Probed::Failure(message) = probe("127.0.0.1", &get(port, &[]), PATIENCE).await else {
            panic!("no failure")
        };
        assert!(
            message.contains(&format!("dial tcp 127.0.0.1:{port}: connect: connection refused")),
            "{message}"
        );
    }

    #[tokio::test]
    async fn silence_is_a_failure() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let probed = probe("127.0.0.1", &get(port, &[]), Duration::from_millis(20)).await;
        assert!(matches!(probed, Probed::Failure(message) if message.contains("deadline exceeded")));
    }
}
