//! Hands a request to the service that its path names.

use super::status::Failure;
use super::{MAX_MESSAGE_BYTES, mount, schedule};
use crate::observe::Observe;
use crate::runtime::sandboxes::{Containers, SandboxCalls, Sandboxes};
use crate::runtime::{About, Images, Runtime};
use crate::schedule::Engine;
use auraed_api::mount::v0::mount_service_server::MountServiceServer;
use auraed_api::observe::v0::observe_service_server::ObserveServiceServer;
use auraed_api::runtime::v0::container_service_server::ContainerServiceServer;
use auraed_api::runtime::v0::image_service_server::ImageServiceServer;
use auraed_api::runtime::v0::runtime_service_server::RuntimeServiceServer;
use auraed_api::runtime::v0::sandbox_service_server::SandboxServiceServer;
use auraed_api::schedule::v0::schedule_service_server::ScheduleServiceServer;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::{Request, Response};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;
use tower::util::BoxCloneSyncService;

/// What a service answers.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// Every service of the daemon.
#[derive(Clone)]
pub struct Services {
    schedule: ScheduleServiceServer<schedule::Schedule>,
    mount: MountServiceServer<mount::Mount>,
    runtime: RuntimeServiceServer<Runtime>,
    images: ImageServiceServer<Images>,
    sandboxes: SandboxServiceServer<SandboxCalls>,
    containers: ContainerServiceServer<Containers>,
    observe: ObserveServiceServer<Observe>,
    health: HealthServer<HealthService>,
    reflection: Arc<LazyLock<Reflection>>,
}

type Reflection = BoxCloneSyncService<Request<Body>, Response<Body>, Infallible>;

impl Services {
    /// Puts the services over their subsystems.
    #[must_use]
    pub fn new(
        engine: &Engine,
        sandboxes: &Sandboxes,
        images: Images,
        observe: Observe,
        about: About,
        health: HealthServer<HealthService>,
    ) -> Self {
        let schedule = schedule::Schedule::new(engine.clone(), sandboxes.clone());
        let mount = mount::Mount::new(engine.clone());
        let runtime = Runtime::new(engine.clone(), sandboxes.clone(), about);
        let containers = Containers::new(sandboxes.clone(), images.writable().clone());
        let sandboxes = SandboxCalls::new(sandboxes.clone(), engine.clone(), images.writable().clone());
        Self {
            schedule: ScheduleServiceServer::new(schedule).max_decoding_message_size(MAX_MESSAGE_BYTES),
            mount: MountServiceServer::new(mount).max_decoding_message_size(MAX_MESSAGE_BYTES),
            runtime: RuntimeServiceServer::new(runtime).max_decoding_message_size(MAX_MESSAGE_BYTES),
            images: ImageServiceServer::new(images).max_decoding_message_size(MAX_MESSAGE_BYTES),
            sandboxes: SandboxServiceServer::new(sandboxes).max_decoding_message_size(MAX_MESSAGE_BYTES),
            containers: ContainerServiceServer::new(containers).max_decoding_message_size(MAX_MESSAGE_BYTES),
            observe: ObserveServiceServer::new(observe).max_decoding_message_size(MAX_MESSAGE_BYTES),
            health,
            reflection: Arc::new(LazyLock::new(reflection)),
        }
    }

    /// Calls the service of the request's path.
    pub(crate) fn call(&mut self, request: Request<Body>) -> Answer {
        // "/package.Service/Method"
        let path = request.uri().path();
        let service = path.split('/').nth(1).unwrap_or_default();
        match service {
            "aurae.schedule.v0.ScheduleService" => self.schedule.call(request),
            "aurae.mount.v0.MountService" => self.mount.call(request),
            "aurae.runtime.v0.RuntimeService" => self.runtime.call(request),
            "aurae.runtime.v0.ImageService" => self.images.call(request),
            "aurae.runtime.v0.SandboxService" => self.sandboxes.call(request),
            "aurae.runtime.v0.ContainerService" => self.containers.call(request),
            "aurae.observe.v0.ObserveService" => self.observe.call(request),
            "grpc.health.v1.Health" => self.health.call(request),
            "grpc.reflection.v1.ServerReflection" => {
                let mut reflection = Reflection::clone(&self.reflection);
                reflection.call(request)
            }
            _ => answer(
                Failure::UnknownMethod {
                    method: path.to_owned(),
                }
                .into_status(),
            ),
        }
    }
}

/// Made by the first who asks: the parsed descriptors take more memory than all other services.
fn reflection() -> Reflection {
    let built = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(auraed_api::DESCRIPTORS)
        .build_v1();
    match built {
        Ok(service) => BoxCloneSyncService::new(service),
        Err(error) => {
            let text = format!("the descriptors of the API cannot be read: {error}");
            BoxCloneSyncService::new(tower::service_fn(move |_| answer(Status::internal(text.clone()))))
        }
    }
}

fn answer(status: Status) -> Answer {
    Box::pin(async move { Ok(status.into_http()) })
}
