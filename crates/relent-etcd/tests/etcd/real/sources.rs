//! What tonic makes of an error.

use relent::retry;

/// tonic answers for an error with the status that it finds among the sources.
#[tokio::test]
async fn tonic_finds_its_status() {
    let gave_up = retry(|_| async { Err::<(), _>(tonic::Status::not_found("no such lease")) }).when(|_| false);
    let status = tonic::Status::from_error(gave_up.await.unwrap_err().chained().into());
    assert_eq!((status.code(), status.message()), (tonic::Code::NotFound, "no such lease"));
}
