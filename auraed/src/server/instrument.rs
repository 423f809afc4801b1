//! Every request passes here: it is let in or refused, and if it failed one line tells so, with the whole chain.
//!
//! The answer's end is where a stream's outcome shows, so the answer's body is watched until then. When the daemon
//! stops, the body ends streams that would wait for ever.

use super::authz::{self, Decision};
use super::dispatch::Services;
use super::status::Failure;
use super::{Peer, authn};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, Request, Response};
use tonic::codegen::{Bytes, Service};
use tonic::{Code, Status};

/// The services, with a guard before and a log behind them.
#[derive(Clone)]
pub(crate) struct Instrument {
    services: Services,
    stop: CancellationToken,
}

impl Instrument {
    pub(crate) fn new(services: Services, stop: CancellationToken) -> Self {
        Self { services, stop }
    }

    fn admit(&self, request: &Request<Body>) -> Result<(), Status> {
        let method = request.uri().path();
        let caller = authn::caller(request.extensions())?;
        let failure = match authz::decide(caller, method) {
            Decision::Allowed if self.stop.is_cancelled() => Failure::Stopping,
            Decision::Allowed => return Ok(()),
            Decision::Denied => Failure::Denied {
                caller: caller.to_string(),
                method: method.to_owned(),
            },
            Decision::Unknown => Failure::UnknownMethod {
                method: method.to_owned(),
            },
        };
        Err(failure.into_status())
    }
}

impl Service<Request<Body>> for Instrument {
    type Response = Response<Watched>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Watched>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let record = Record::begin(&request);
        let stop = self.stop.clone();
        let answer = match self.admit(&request) {
            Ok(()) => self.services.call(request),
            Err(status) => Box::pin(async move { Ok(status.into_http()) }),
        };
        Box::pin(async move {
            let response = answer.await?;
            Ok(record.watch(response, stop))
        })
    }
}

/// What is known of a request. Dropped without an outcome, the client went away before the answer's end.
#[derive(Debug)]
struct Record {
    method: String,
    client: String,
    uid: Option<u32>,
    pid: Option<i32>,
    begun: Instant,
    told: bool,
}

impl Record {
    fn begin(request: &Request<Body>) -> Self {
        let peer = request.extensions().get::<Peer>();
        let client = peer.and_then(|peer| peer.client.as_ref().ok());
        Self {
            method: request.uri().path().trim_start_matches('/').to_owned(),
            client: client.map_or_else(|| "unknown".to_owned(), ToString::to_string),
            uid: peer.and_then(|peer| peer.uid),
            pid: peer.and_then(|peer| peer.pid),
            begun: Instant::now(),
            told: false,
        }
    }

    fn watch(mut self, response: Response<Body>, stop: CancellationToken) -> Response<Watched> {
        // An answer that failed before its first message has the status in its headers and no body.
        if let Some(status) = Status::from_header_map(response.headers()) {
            self.tell(&status);
        }
        response.map(|body| Watched {
            body,
            record: self,
            stop: Some(Box::pin(stop.cancelled_owned())),
        })
    }

    fn tell(&mut self, status: &Status) {
        if std::mem::replace(&mut self.told, true) {
            return;
        }
        let Self {
            method,
            client,
            uid,
            pid,
            begun,
            ..
        } = self;
        let milliseconds = begun.elapsed().as_millis();
        macro_rules! line {
            ($level:ident, $text:literal) => {
                tracing::$level!(
                    %method, code = ?status.code(), error = status.message(), %client, uid = *uid, pid = *pid, milliseconds, $text
                )
            };
        }
        match status.code() {
            Code::Ok => tracing::debug!(%method, %client, milliseconds, "request"),
            Code::Cancelled => line!(debug, "request cancelled"),
            Code::Internal | Code::Unknown | Code::DataLoss | Code::ResourceExhausted => {
                line!(error, "request failed");
            }
            Code::Unauthenticated | Code::PermissionDenied => line!(warn, "request refused"),
            _ => line!(info, "request failed"),
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        self.tell(&Status::cancelled("the client went away"));
    }
}

/// An answer's body, watched until its end.
#[derive(Debug)]
pub(crate) struct Watched {
    body: Body,
    record: Record,
    /// Gone once it has ended the body.
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

impl Watched {
    /// Ends a body that has nothing to give now, if the daemon stops.
    fn end_if_stopping(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(stop) = &mut self.stop else {
            return Poll::Ready(None);
        };
        if stop.as_mut().poll(cx).is_pending() {
            return Poll::Pending;
        }
        self.stop = None;
        let status = Failure::Stopping.into_status();
        self.record.tell(&status);
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(
            status
                .add_header(&mut trailers)
                .map(|()| Frame::trailers(trailers)),
        ))
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.stop.is_none() {
            return Poll::Ready(None);
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Pending => self.end_if_stopping(cx),
            Poll::Ready(frame) => {
                match &frame {
                    Some(Ok(frame)) => {
                        if let Some(status) = frame.trailers_ref().and_then(Status::from_header_map) {
                            self.record.tell(&status);
                        }
                    }
                    Some(Err(status)) => self.record.tell(status),
                    None => self.record.tell(&Status::ok("")),
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.stop.is_none() || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
