//! Every class, through the real client against faults of the in-process server.

use std::time::Duration;

use kube::api::{Patch, PatchParams, PostParams};
use relent::Decision;
use relent_apiserver::{AccessRule, ApiServer, Fault, Verb};
use relent_k8s::{ApiError, ErrorClass, classify};

use super::{NAME, client, map, maps, on_get, server};

/// What the real client makes of this fault.
async fn error_of(fault: Fault) -> kube::Error {
    let server = server().await;
    server.inject(on_get(fault));
    maps(&server).get(NAME).await.unwrap_err()
}

#[tokio::test(start_paused = true)]
async fn every_status_has_its_class() {
    use ErrorClass::{Ambiguous, Conflict, Final, Transient};
    for (code, class) in [
        (400, Final),
        (401, Final),
        (403, Final),
        (404, Final),
        (405, Final),
        (406, Final),
        (410, Final),
        (413, Final),
        (415, Final),
        (418, Final),
        (422, Final),
        (501, Final),
        (409, Conflict),
        (429, Transient),
        (503, Transient),
        (408, Ambiguous),
        (500, Ambiguous),
        (502, Ambiguous),
        (504, Ambiguous),
        (507, Ambiguous),
        (599, Ambiguous),
    ] {
        let error = error_of(Fault::status(code)).await;
        assert_eq!(ErrorClass::of(&error), class, "{code}: {error}");
        let decision = if matches!(class, Final | Conflict) { Decision::Fatal } else { Decision::Retry };
        assert_eq!(classify(&error), decision, "{code}: {error}");
    }
    // The same codes in plain text, as proxies send them.
    for (code, class) in [
        (400, Final),
        (401, Final),
        (403, Final),
        (404, Final),
        (409, Conflict),
        (413, Final),
        (429, Transient),
        (500, Ambiguous),
        (502, Ambiguous),
        (503, Ambiguous),
        (504, Ambiguous),
    ] {
        let error = error_of(Fault::text(code, "<html>no</html>")).await;
        assert_eq!(ErrorClass::of(&error), class, "{code}: {error}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections() {
    assert_eq!(ErrorClass::of(&error_of(Fault::refuse()).await), ErrorClass::Transient);
    assert_eq!(ErrorClass::of(&error_of(Fault::lose_answer()).await), ErrorClass::Ambiguous);
}

#[tokio::test(start_paused = true)]
async fn what_the_rules_refuse() {
    let server = server().await;
    let maps = maps(&server);
    let exists = maps.create(&PostParams::default(), &map(NAME, "other")).await.unwrap_err();
    assert_eq!(ErrorClass::of(&exists), ErrorClass::Conflict);
    let mut stale = maps.get(NAME).await.unwrap();
    maps.patch(NAME, &PatchParams::default(), &Patch::Merge(map(NAME, "newer"))).await.unwrap();
    stale.data = None;
    let conflict = maps.replace(NAME, &PostParams::default(), &stale).await.unwrap_err();
    assert_eq!(ErrorClass::of(&conflict), ErrorClass::Conflict);
    let ahead = kube::api::GetParams { resource_version: Some("1000000".to_owned()) };
    let ahead = maps.get_with(NAME, &ahead).await.unwrap_err();
    assert_eq!(
        (ErrorClass::of(&ahead), classify(&ahead)),
        (ErrorClass::Transient, Decision::RetryAfter(Duration::from_secs(1))),
        "{ahead}"
    );
    server.rule(AccessRule::deny().verb(Verb::Get));
    let forbidden = ApiError::from(maps.get(NAME).await.unwrap_err());
    assert!(forbidden.is_forbidden() && forbidden.class() == ErrorClass::Final, "{forbidden}");
    // A name that cannot be asked for never reaches the server; no more does an answer of another type reach the caller.
    assert_eq!(ErrorClass::of(&maps.get("").await.unwrap_err()), ErrorClass::Final);
    let server = ApiServer::new();
    server.inject(on_get(Fault::text(200, "welcome to this hotel's network")));
    assert_eq!(ErrorClass::of(&super::maps(&server).get(NAME).await.unwrap_err()), ErrorClass::Final);
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_read_wherever_it_is() {
    let after = |seconds| Decision::RetryAfter(Duration::from_secs(seconds));
    assert_eq!(classify(&error_of(Fault::status(429).retry_after(7)).await), after(7));
    assert_eq!(classify(&error_of(Fault::status(503).retry_after(8)).await), after(8));
    assert_eq!(classify(&error_of(Fault::status(500).retry_after(9)).await), after(9));
    assert_eq!(classify(&error_of(Fault::overloaded(11)).await), after(11));
    assert_eq!(classify(&error_of(Fault::text(503, "draining").retry_after(12)).await), after(12));
    // A final answer stays one, whatever it asks for.
    assert_eq!(classify(&error_of(Fault::status(404).retry_after(5)).await), Decision::Fatal);
    assert_eq!(classify(&error_of(Fault::status(429).retry_after(0)).await), Decision::Retry);

    // The body stays what it was, but for the seconds.
    let error = error_of(Fault::overloaded(11)).await;
    let kube::Error::Api(status) = &error else { panic!("{error}") };
    assert_eq!((status.code, &*status.message), (429, "Too many requests, please try again later."));
    let error = error_of(Fault::text(503, "draining").retry_after(12)).await;
    let kube::Error::Api(status) = &error else { panic!("{error}") };
    assert_eq!((status.code, &*status.message), (503, "draining"));
    assert_eq!(ErrorClass::of(&error), ErrorClass::Ambiguous);
    let error = error_of(Fault::status(403).retry_after(3)).await;
    let kube::Error::Api(status) = &error else { panic!("{error}") };
    assert_eq!(
        (status.code, &*status.reason, status.details.as_ref().unwrap().retry_after_seconds),
        (403, "Forbidden", 3)
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_without_the_layer_still_waits_a_second_for_an_overloaded_server() {
    let server = server().await;
    server.inject(on_get(Fault::overloaded(11)));
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(server.client(), super::SPACE);
    assert_eq!(classify(&maps.get(NAME).await.unwrap_err()), Decision::RetryAfter(Duration::from_secs(1)));
}

#[tokio::test(start_paused = true)]
async fn the_layer_leaves_everything_else_alone() {
    let server = server().await;
    let version = client(&server).apiserver_version().await.unwrap();
    assert!(!version.minor.is_empty());
    assert!(maps(&server).get(NAME).await.is_ok());
    assert_eq!(maps(&server).list(&kube::api::ListParams::default()).await.unwrap().items.len(), 1);
}

/// `kube` takes any JSON object for a `Status`, and loses the code; what is no text it does not read at all.
#[tokio::test(start_paused = true)]
async fn the_layer_keeps_the_code_of_what_is_no_status() {
    let json = "{\"error\":\"no route\"}";
    for (code, class) in [(403, ErrorClass::Final), (404, ErrorClass::Final), (503, ErrorClass::Ambiguous)] {
        let kube::Error::Api(status) = error_of(Fault::text(code, json)).await else { panic!() };
        assert_eq!((status.code, status.message.as_str()), (code, json));
        let error = kube::Error::Api(status);
        assert_eq!(ErrorClass::of(&error), class, "{error}");
        let error = ApiError::from(error);
        assert_eq!(error.is_refusal(), code != 503);
        assert!(error.to_string().starts_with(&format!("{json} ({code})")), "{error}");
    }
    // Without the layer it may be anything.
    let server = server().await;
    server.inject(on_get(Fault::text(403, json)));
    let maps: kube::Api<k8s_openapi::api::core::v1::ConfigMap> = kube::Api::namespaced(server.client(), super::SPACE);
    let error = ApiError::from(maps.get(NAME).await.unwrap_err());
    assert_eq!((error.class(), error.is_refusal()), (ErrorClass::Ambiguous, false));
    assert_eq!(error.to_string(), "the server answered with an error that is no Status");
}

/// What is said of a page is one line, and not the whole of it.
#[tokio::test(start_paused = true)]
async fn a_page_is_told_in_a_line() {
    let page = "<html>\r\n<body>\n\t".to_owned() + &"sorry \u{fc} ".repeat(10_000);
    let error = ApiError::from(error_of(Fault::text(502, page)).await).to_string();
    assert!(error.starts_with("<html> <body> sorry \u{fc} sorry") && error.ends_with(" .. (502)"), "{error}");
    assert_eq!(error.chars().count(), 200 + " .. (502)".len());
}
