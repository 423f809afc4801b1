//! The API's door: who is let in, who is not, and what each is told.

use crate::machine::{Machine, PATIENCE, text};
use auraed_api::schedule::v0::{GetRequest, ListRequest, NowRequest, Pod, WatchRequest};
use auraed_client::{Client, ClientConfig, ConnectError, connect_error};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tonic::Code;
use tonic_types::StatusExt;

fn issue(machine: &Machine, out: &str, tenant: &str) -> ClientConfig {
    let path = machine.path(out);
    let output = machine.run(&[
        "identity",
        "issue",
        "tester",
        "--out",
        path.to_str().unwrap(),
        "--tenant",
        tenant,
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    ClientConfig {
        identity: path,
        ..machine.client_config()
    }
}

#[tokio::test]
async fn another_tenant_may_ask_for_health_and_nothing_else() {
    let Some(mut machine) = Machine::new("another_tenant_may_ask_for_health_and_nothing_else") else {
        return;
    };
    machine.start().await;
    // Connecting asks for the health.
    let client = Client::connect(issue(&machine, "other", "team-a")).await.unwrap();
    let status = client.schedule().list(ListRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(
        status.message(),
        "team-a/tester may not call /aurae.schedule.v0.ScheduleService/List"
    );
    assert_eq!(status.get_details_error_info().unwrap().reason, "DENIED");
    assert!(machine.log().contains("request refused"), "{}", machine.log());
    machine.finish().await;
}

#[tokio::test]
async fn a_certificate_of_another_node_is_not_accepted() {
    let Some(mut machine) = Machine::new("a_certificate_of_another_node_is_not_accepted") else {
        return;
    };
    let Some(other) = Machine::new("a_certificate_of_another_node_is_not_accepted") else {
        return;
    };
    machine.start().await;
    let foreign = issue(&other, "foreign", "system");

    // Its client does not trust this daemon either.
    let config = ClientConfig {
        identity: foreign.identity.clone(),
        ..machine.client_config()
    };
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(error, ConnectError::Stranger { .. }), "{error:?}");
    assert!(!error.is_retryable());

    // One that does is turned away.
    fs_err::copy(
        machine.path("state/identity/ca.crt"),
        foreign.identity.join("ca.crt"),
    )
    .unwrap();
    let config = ClientConfig {
        identity: foreign.identity.clone(),
        ..machine.client_config()
    };
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(error, ConnectError::Rejected { .. }), "{error:?}");
    assert!(error.to_string().contains("auraed identity issue"), "{error}");
    assert!(
        machine.log().contains("a client's handshake failed"),
        "{}",
        machine.log()
    );
    other.finish().await;
    machine.finish().await;
}

#[tokio::test]
async fn a_client_that_says_nothing_delays_nobody() {
    let Some(mut machine) = Machine::new("a_client_that_says_nothing_delays_nobody") else {
        return;
    };
    machine.start().await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(UnixStream::connect(machine.path("run/aurae.sock")).await.unwrap());
    }
    let mut garbage = UnixStream::connect(machine.path("run/aurae.sock")).await.unwrap();
    garbage.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    machine.client().await;
    // With as many under way as one user may have, a further connection is closed, and the next one after their end is
    // taken. On a busy machine the first of them may have been given up before the last came.
    let filling = async {
        loop {
            for _ in 0..100 {
                silent.push(UnixStream::connect(machine.path("run/aurae.sock")).await.unwrap());
            }
            if let Err(error) = Client::connect(machine.client_config()).await {
                break error;
            }
        }
    };
    let error = tokio::time::timeout(PATIENCE, filling).await.unwrap();
    assert!(error.is_retryable(), "{error:?}");
    let mut answer = Vec::new();
    let gone = tokio::time::timeout(PATIENCE, silent[0].read_to_end(&mut answer)).await;
    assert!(gone.is_ok());
    drop(silent);
    let connecting = async {
        while Client::connect(machine.client_config()).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, connecting).await.unwrap();
    machine.finish().await;
}

#[tokio::test]
async fn connecting_says_what_is_in_the_way() {
    let Some(mut machine) = Machine::new("connecting_says_what_is_in_the_way") else {
        return;
    };
    let issued = issue(&machine, "issued", "system");
    let error = Client::connect(issued.clone()).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Missing { .. }) && error.is_retryable(),
        "{error:?}"
    );
    assert!(error.to_string().contains("is auraed running"), "{error}");

    // A call of a client that dials later carries the same reason.
    let lazy = Client::connect_lazy(issued.clone());
    let status = lazy.schedule().list(ListRequest {}).await.unwrap_err();
    assert!(
        matches!(connect_error(&status), Some(ConnectError::Missing { .. })),
        "{status:?}"
    );

    machine.start().await;
    lazy.schedule().list(ListRequest {}).await.unwrap();
    machine.kill().await;
    let error = Client::connect(issued.clone()).await.unwrap_err();
    assert!(
        matches!(error, ConnectError::Refused { .. }) && error.is_retryable(),
        "{error:?}"
    );

    fs_err::write(issued.identity.join("tls.key"), "nonsense").unwrap();
    let error = Client::connect(issued.clone()).await.unwrap_err();
    assert!(matches!(error, ConnectError::Malformed { .. }), "{error:?}");
    fs_err::remove_file(issued.identity.join("tls.key")).unwrap();
    let error = Client::connect(issued).await.unwrap_err();
    assert!(
        error.to_string().contains("tls.key: an identity is made by"),
        "{error}"
    );
    machine.finish().await;
}

#[tokio::test]
async fn errors_have_codes_words_and_fields() {
    let Some(mut machine) = Machine::new("errors_have_codes_words_and_fields") else {
        return;
    };
    machine.start().await;
    let client = machine.client().await;
    let status = client
        .schedule()
        .get(GetRequest { pod: "nope".into() })
        .await
        .unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "pod \"nope\" not found")
    );
    assert_eq!(status.get_details_error_info().unwrap().reason, "POD_NOT_FOUND");

    let status = client.schedule().now(NowRequest { pod: None }).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "pod: must be given")
    );

    let pod = Pod {
        id: "a/b".into(),
        name: "Upper".into(),
        ..Pod::default()
    };
    let status = client
        .schedule()
        .now(NowRequest { pod: Some(pod) })
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    let violations = status.get_details_bad_request().unwrap().field_violations;
    let fields: Vec<_> = violations
        .iter()
        .map(|violation| violation.field.as_str())
        .collect();
    assert!(
        fields.contains(&"id") && fields.contains(&"name") && fields.contains(&"containers"),
        "{fields:?}"
    );
    machine.finish().await;
}

#[tokio::test]
async fn streams_end_when_the_daemon_stops() {
    let Some(mut machine) = Machine::new("streams_end_when_the_daemon_stops") else {
        return;
    };
    machine.start().await;
    let client = machine.client().await;
    let mut watch = client
        .schedule()
        .watch(WatchRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(watch.message().await.unwrap().unwrap().event.is_some());
    machine.stop().await;
    let status = watch.message().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    // Else the daemon would have waited for it as long as it waits for calls.
    let log = machine.log();
    assert!(!log.contains("calls were still under way"), "{log}");
    machine.finish().await;
}

#[tokio::test]
async fn the_api_describes_itself() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let Some(mut machine) = Machine::new("the_api_describes_itself") else {
        return;
    };
    machine.start().await;
    let client = machine.client().await;
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut reflection = ServerReflectionClient::new(client.channel());
    let answer = reflection
        .server_reflection_info(tokio_stream::iter([request]))
        .await
        .unwrap();
    let answer = answer
        .into_inner()
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response;
    let Some(MessageResponse::ListServicesResponse(services)) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = services
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert!(names.contains(&"aurae.schedule.v0.ScheduleService"), "{names:?}");
    machine.finish().await;
}
