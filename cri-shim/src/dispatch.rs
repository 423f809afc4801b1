//! Hands a request to the service that its path names.

use std::convert::Infallible;
use std::task::{Context, Poll};

use cri_api::v1::image_service_server::ImageServiceServer;
use cri_api::v1::runtime_service_server::RuntimeServiceServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};

use crate::deadline;
use crate::shim::Shim;

/// The largest message that kubelet and crictl send or take, in bytes.
pub(crate) const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// Both services of the interface.
#[derive(Clone)]
pub(crate) struct Services {
    runtime: RuntimeServiceServer<Shim>,
    images: ImageServiceServer<Shim>,
}

impl Services {
    pub(crate) fn new(shim: Shim) -> Self {
        Self {
            runtime: RuntimeServiceServer::new(shim.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES),
            images: ImageServiceServer::new(shim).max_decoding_message_size(MAX_MESSAGE_BYTES),
        }
    }
}

impl Service<Request<Body>> for Services {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let limit = deadline::of(request.headers());
        // "/package.Service/Method"
        let path = request.uri().path();
        let answer = match path.split('/').nth(1).unwrap_or_default() {
            "runtime.v1.RuntimeService" => self.runtime.call(request),
            "runtime.v1.ImageService" => self.images.call(request),
            _ => {
                let status = Status::unimplemented(format!("there is no call {path}: the CRI is v1 here"));
                Box::pin(async move { Ok(status.into_http()) })
            }
        };
        match limit {
            Some(limit) => Box::pin(deadline::within(limit, answer)),
            None => answer,
        }
    }
}
