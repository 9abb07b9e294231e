//! Names that would make a path of something else: nothing is sent.

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use relent::Policy;
use relent_apiserver::ApiServer;
use relent_k8s::{self as k8s, ConfigMapLedger, Contract, LeaseLock, LongOperation, eviction};

use super::place::{DO, Place};

const WRONG: [&str; 10] = ["", ".", "..", "a/b", "web/status", "..%2fx", "web?watch=true", "web#", "a b", "a\nb"];

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_for_them() {
    let place = Place::ours().await;
    let server = place.server().unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    server.clear_journal();
    let policy: Policy = "finish_within 1h".parse().unwrap();
    for name in WRONG {
        let operation = LongOperation::new(place.api.clone(), name, Contract::new(DO, "it")).unwrap();
        let any = |map: Option<&ConfigMap>| map.is_some();
        for (told, fatal, text) in [
            k8s::get(&maps, name).await.map(drop).map_err(|e| ("get", e.is_fatal(), e.to_string())).unwrap_err(),
            k8s::get_when_created(&maps, name)
                .policy(&policy)
                .await
                .map(drop)
                .map_err(|e| ("when created", e.is_fatal(), e.to_string()))
                .unwrap_err(),
            k8s::wait(maps.clone(), name, any)
                .await
                .map(drop)
                .map_err(|e| ("wait", e.is_fatal(), e.to_string()))
                .unwrap_err(),
            operation.trigger().await.map(drop).map_err(|e| ("trigger", e.is_fatal(), e.to_string())).unwrap_err(),
            operation.settled().await.map(drop).map_err(|e| ("settled", e.is_fatal(), e.to_string())).unwrap_err(),
        ] {
            assert!(fatal, "{told}: {text}");
            let why = format!("{name:?} cannot be the name of an object: check the name that was asked for");
            assert!(text.ends_with(&why), "{told}: {text}");
        }
    }
    assert_eq!(server.journal().len(), 0);
}

#[tokio::test]
async fn what_is_made_for_one_is_refused() {
    let client = ApiServer::new().client();
    for name in WRONG.into_iter().chain(["Web", "a_b", "-a", &"a".repeat(254)]) {
        let lease = LeaseLock::new(client.clone(), "default", name).unwrap_err();
        assert_eq!(lease.setting(), "lease name", "{lease}");
        assert_eq!(LeaseLock::new(client.clone(), name, "demo").unwrap_err().setting(), "lease namespace");
        assert_eq!(ConfigMapLedger::new(client.clone(), "default", name).unwrap_err().setting(), "configmap name");
        assert_eq!(ConfigMapLedger::new(client.clone(), name, "demo").unwrap_err().setting(), "configmap namespace");
        for key in [eviction::PodKey::new("default", name, "uid"), eviction::PodKey::new(name, "web", "uid")] {
            let error = eviction::evict(&client, &key, None).await.unwrap_err();
            assert!(matches!(error, eviction::EvictError::Invalid(_)), "{error}");
        }
    }
}

/// Names that are odd, and names of some kind, are asked for as they are; in a field selector they are escaped.
#[tokio::test(start_paused = true)]
async fn odd_names_are_asked_for() {
    let server = ApiServer::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    for (name, selector) in [("system:it", "system%3Ait"), ("a=b,c", "a%5C%3Db%5C%2Cc")] {
        server.clear_journal();
        let absent = |map: Option<&ConfigMap>| map.is_none();
        assert!(k8s::wait(maps.clone(), name, absent).await.unwrap().is_none());
        let [get, list] = &server.journal()[..] else { panic!("{:?}", server.journal()) };
        assert!(get.path.ends_with(&format!("/configmaps/{name}")), "{get}");
        assert!(list.query.contains(&format!("fieldSelector=metadata.name%3D{selector}")), "{list}");
    }
}
