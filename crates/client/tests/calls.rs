//! The client against a server that fails as it is told.

mod server;

use std::time::Duration;

use server::{Script, Step, client, refusal};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::{Code, Status};
use twinlock_client::proto::{DescribeUserRequest, DropElevationRequest, VerifyRequest};
use twinlock_client::{Client, Options, Reason};

const TIMEOUT: Duration = Duration::from_secs(10);

fn unavailable() -> Step {
    refusal(Code::Unavailable, "STORE_UNAVAILABLE", None)
}

#[tokio::test]
async fn a_call_that_carries_an_id_is_repeated_with_the_same_one() {
    let script = Script::of([unavailable(), unavailable()]);
    let client = client(script.serve().await, TIMEOUT);
    client.verify(VerifyRequest::default()).await.unwrap();

    let calls = script.calls();
    assert_eq!(calls.len(), 3);
    assert_eq!(calls[0].request_id.len(), 32);
    assert!(calls.iter().all(|call| call.request_id == calls[0].request_id));
}

#[tokio::test]
async fn the_callers_own_id_is_kept() {
    let script = Script::default();
    let client = client(script.serve().await, TIMEOUT);
    let request_id = "an-id-of-the-caller";
    client
        .verify(VerifyRequest { request_id: request_id.into(), ..Default::default() })
        .await
        .unwrap();
    assert_eq!(script.calls()[0].request_id, request_id);
}

#[tokio::test]
async fn each_call_gets_an_id_of_its_own() {
    let script = Script::default();
    let client = client(script.serve().await, TIMEOUT);
    client.verify(VerifyRequest::default()).await.unwrap();
    client.verify(VerifyRequest::default()).await.unwrap();
    let calls = script.calls();
    assert_ne!(calls[0].request_id, calls[1].request_id);
}

#[tokio::test]
async fn a_read_is_repeated_and_gives_up_after_three_tries() {
    let script = Script::of([unavailable(), unavailable(), unavailable()]);
    let client = client(script.serve().await, TIMEOUT);
    let error = client.describe_user(DescribeUserRequest::default()).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreUnavailable);
    assert_eq!(script.calls().len(), 3);
}

#[tokio::test]
async fn a_call_without_an_id_is_never_repeated() {
    let script = Script::of([unavailable()]);
    let client = client(script.serve().await, TIMEOUT);
    let error = client.drop_elevation(DropElevationRequest::default()).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreUnavailable);
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test]
async fn a_verdict_is_never_asked_for_twice() {
    for (code, reason) in [
        (Code::Unauthenticated, "INVALID_CODE"),
        (Code::ResourceExhausted, "BACKOFF"),
        (Code::DataLoss, "SECRET_UNREADABLE"),
    ] {
        let script = Script::of([refusal(code, reason, Some(Duration::from_millis(1)))]);
        let client = client(script.serve().await, TIMEOUT);
        let error = client.verify(VerifyRequest::default()).await.unwrap_err();
        assert_eq!(error.reason.as_str(), reason);
        assert_eq!(error.retry_after, Some(Duration::from_millis(1)));
        assert_eq!(script.calls().len(), 1, "{reason}");
    }
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_after_the_time_that_it_names() {
    let wait = Duration::from_millis(300);
    let script = Script::of([refusal(Code::Unavailable, "OVERLOADED", Some(wait))]);
    let client = client(script.serve().await, TIMEOUT);
    let start = Instant::now();
    client.verify(VerifyRequest::default()).await.unwrap();
    assert!(start.elapsed() >= wait);
    assert_eq!(script.calls().len(), 2);
}

#[tokio::test]
async fn a_wait_beyond_the_deadline_is_not_begun() {
    let hour = Duration::from_secs(3600);
    let script = Script::of([refusal(Code::Unavailable, "OVERLOADED", Some(hour))]);
    let client = client(script.serve().await, TIMEOUT);
    let error = client.verify(VerifyRequest::default()).await.unwrap_err();
    assert_eq!(error.reason, Reason::Overloaded);
    assert_eq!(error.retry_after, Some(hour));
}

#[tokio::test]
async fn each_try_carries_the_token_and_what_is_left_of_the_deadline() {
    let script = Script::of([unavailable(), unavailable()]);
    let client = client(script.serve().await, TIMEOUT);
    client.verify(VerifyRequest::default()).await.unwrap();

    let mut last = TIMEOUT + Duration::from_millis(1);
    for call in script.calls() {
        assert_eq!(call.metadata.get("authorization").unwrap(), "Bearer s3cret");
        let timeout = call.metadata.get("grpc-timeout").unwrap().to_str().unwrap();
        let microseconds = timeout.strip_suffix('u').expect("microseconds").parse().unwrap();
        let timeout = Duration::from_micros(microseconds);
        assert!(timeout < last, "{timeout:?} < {last:?}");
        last = timeout;
    }
}

#[tokio::test]
async fn a_server_that_hangs_ends_at_the_deadline() {
    let script = Script::of([Step::Hang]);
    let client = client(script.serve().await, TIMEOUT).with_timeout(Duration::from_millis(200));
    let start = Instant::now();
    let error = client.verify(VerifyRequest::default()).await.unwrap_err();
    assert_eq!(error.reason, Reason::DeadlineExceeded);
    assert_eq!(error.code, Code::DeadlineExceeded);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(script.calls().len(), 1);
}

#[tokio::test]
async fn nobody_listening_says_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error =
        client(address, TIMEOUT).describe_user(DescribeUserRequest::default()).await.unwrap_err();
    assert_eq!(error.reason, Reason::Unavailable);
    assert!(error.message.contains(&address.to_string()), "{error}");
    assert!(error.message.contains("twinlock serve"), "{error}");
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_made_again_for_a_repeat() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = tokio::spawn(async move {
        for _ in 0..3 {
            let (mut connection, _) = listener.accept().await.unwrap();
            let _ = connection.read(&mut [0; 1024]).await;
        }
    });
    let error = client(address, TIMEOUT).verify(VerifyRequest::default()).await.unwrap_err();
    assert_eq!(error.reason, Reason::Unavailable, "{error:?}");
    connections.await.unwrap();
}

#[tokio::test]
async fn a_status_of_something_in_between_is_no_verdict() {
    let script = Script::of([Step::Refuse(Status::unavailable("no healthy upstream"))]);
    let client = client(script.serve().await, TIMEOUT);
    client.verify(VerifyRequest::default()).await.unwrap();
    assert_eq!(script.calls().len(), 2);
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets_are_reached() {
    use tonic::transport::Server;
    use twinlock_client::proto::two_step_service_server::TwoStepServiceServer;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("twinlock.sock");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let incoming = tokio_stream::wrappers::UnixListenerStream::new(listener);
    let service = TwoStepServiceServer::new(Script::default());
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(incoming));

    let address = format!("unix:{}", path.display());
    let client = Client::connect_lazy(&Options { address, ..Options::default() }).unwrap();
    client.verify(VerifyRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_request_that_cannot_be_decoded_is_the_callers_fault() {
    use tonic::client::Grpc;
    use tonic::codegen::http::uri::PathAndQuery;
    use tonic_prost::ProstCodec;

    /// Reads as a `DescribeUserRequest` whose user id is not UTF-8.
    #[derive(Clone, PartialEq, prost::Message)]
    struct Bytes {
        #[prost(bytes = "vec", tag = "1")]
        user_id: Vec<u8>,
    }

    let address = Script::default().serve().await;
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut grpc = Grpc::new(endpoint.connect().await.unwrap());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/twinlock.v1.TwoStepService/DescribeUser");
    let request = tonic::Request::new(Bytes { user_id: vec![0xff] });
    let status =
        grpc.unary(request, path, ProstCodec::<Bytes, Bytes>::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.metadata().get("twinlock-reason").unwrap(), "INVALID_REQUEST");
}
