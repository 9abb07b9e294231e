//! The same on a real API server, where `RELENT_KUBECONFIG` names one.

use std::{io::Write, time::Duration};

use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api,
    api::{DeleteParams, GetParams, Patch, PatchParams, PostParams},
};
use relent::{Decision, Stop};
use relent_k8s::{self as k8s, ApiError, ErrorClass};
use tokio::time::Instant;

use super::{
    map,
    sentences::{
        AUTHORITY, FORBIDDEN, HUGE, IMMUTABLE, NO_NAMESPACE, NOT_FOUND, REFUSED, UNAUTHORIZED, against, closed_port,
        ends, says,
    },
};
use crate::world::{real, unique};

/// Says that something was not asked; never silently.
fn not_asked(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "{what}: NOT ASKED of a real server: {why} is not set");
}

#[tokio::test(flavor = "multi_thread")]
async fn get_real() {
    let Some(config) = real().await else { return not_asked("get", "RELENT_KUBECONFIG") };
    let client = k8s::client(config.clone()).unwrap();
    let space = unique("relent-get");
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(space.clone());
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await.unwrap();
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), &space);

    // A value, an absent map, one that is created meanwhile.
    maps.create(&PostParams::default(), &map("here", "value")).await.unwrap();
    let got = k8s::get(&maps, "here").start_within(Duration::from_secs(30)).await.unwrap();
    assert_eq!(got.data.unwrap()["key"], "value");
    let absent = k8s::get(&maps, "absent").await.unwrap_err();
    ends(&absent, "configmaps \"absent\" not found", NOT_FOUND);
    assert!(absent.is_fatal() && absent.attempts() == 1, "{absent}");
    let absent = k8s::get_when_created(&maps, "absent").await.unwrap_err();
    assert_eq!(absent.stop(), &Stop::StartWindow);
    ends(&absent, "configmaps \"absent\" not found", NOT_FOUND);
    let later = k8s::get_when_created(&maps, "later").start_within(Duration::from_secs(60));
    let create = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        maps.create(&PostParams::default(), &map("later", "value")).await.unwrap();
    };
    let (later, ()) = tokio::join!(later.into_future(), create);
    later.unwrap();

    // Conflicts, and a revision that is still to come.
    let exists = maps.create(&PostParams::default(), &map("here", "other")).await.unwrap_err();
    assert_eq!(ErrorClass::of(&exists), ErrorClass::Conflict, "{exists}");
    let stale = maps.get("here").await.unwrap();
    maps.patch("here", &PatchParams::default(), &Patch::Merge(map("here", "newer"))).await.unwrap();
    let conflict = maps.replace("here", &PostParams::default(), &stale).await.unwrap_err();
    assert_eq!(ErrorClass::of(&conflict), ErrorClass::Conflict, "{conflict}");
    let ahead = GetParams { resource_version: Some("1000000000".to_owned()) };
    let ahead = maps.get_with("here", &ahead).await.unwrap_err();
    assert_eq!(ErrorClass::of(&ahead), ErrorClass::Transient, "{ahead}");
    assert!(matches!(k8s::classify(&ahead), Decision::RetryAfter(_)), "{ahead}");

    // What a map cannot be, and where.
    let mut fixed = map("fixed", "x");
    fixed.immutable = Some(true);
    maps.create(&PostParams::default(), &fixed).await.unwrap();
    let patch = Patch::Merge(map("fixed", "y"));
    let immutable = maps.patch("fixed", &PatchParams::default(), &patch).await.unwrap_err();
    says(&ApiError::from(immutable), "ConfigMap \"fixed\" is invalid", IMMUTABLE);
    for bytes in [(1 << 20) + 1, 4 << 20] {
        let huge = maps
            .create(&PostParams::default(), &map("huge", &"x".repeat(bytes)))
            .await
            .map(drop)
            .expect_err("too large");
        says(&ApiError::from(huge), "oo l", HUGE);
    }
    let nowhere: Api<ConfigMap> = Api::namespaced(client.clone(), "relent-nowhere");
    let missing = nowhere.create(&PostParams::default(), &map("x", "y")).await.unwrap_err();
    says(&ApiError::from(missing), "namespaces \"relent-nowhere\" not found", NO_NAMESPACE);
    ends(&k8s::get(&nowhere, "x").await.unwrap_err(), "in the namespace \"relent-nowhere\"", NOT_FOUND);

    // Which client asks, and how.
    let mut unknown = config.clone();
    unknown.auth_info = kube::config::AuthInfo { token: Some("unknown".to_owned().into()), ..Default::default() };
    ends(&against(unknown).await, "Unauthorized", UNAUTHORIZED);
    let mut distrusting = config.clone();
    distrusting.root_cert = Some(vec![another_authority()]);
    ends(&against(distrusting).await, "invalid peer certificate", AUTHORITY);
    let authority = config.cluster_url.authority().unwrap().to_string();
    let mut plain = config.clone();
    plain.cluster_url = format!("http://{authority}").parse().unwrap();
    ends(
        &against(plain).await,
        "HTTP request to an HTTPS server",
        "write https:// in the server's address in the kubeconfig",
    );
    let mut down = config.clone();
    down.cluster_url = format!("https://127.0.0.1:{}", closed_port().await).parse().unwrap();
    let start = Instant::now();
    ends(&against(down).await, "Connection refused", REFUSED);
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());

    namespaces.delete(&space, &DeleteParams::default()).await.unwrap();
    let _ = writeln!(std::io::stderr(), "get: 17 answers as expected on {}", config.cluster_url);
}

fn another_authority() -> Vec<u8> {
    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
    let pem = include_bytes!("tls/another-authority.pem");
    CertificateDer::from_pem_slice(pem).unwrap().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn get_without_rights_real() {
    let Some(path) = std::env::var_os("RELENT_KUBECONFIG_NOBODY").filter(|path| !path.is_empty()) else {
        return not_asked("get without rights", "RELENT_KUBECONFIG_NOBODY");
    };
    let client = k8s::client_from(&path).await.unwrap();
    let forbidden = k8s::get_config_map(&client, "kube-system", "kube-proxy").await.unwrap_err();
    ends(&forbidden, "configmaps \"kube-proxy\" is forbidden", FORBIDDEN);
    // It may pass, so it is asked again for two seconds; slow calls leave time for fewer than seven.
    assert!(forbidden.last_error().unwrap().is_forbidden() && (2..=7).contains(&forbidden.attempts()), "{forbidden}");
    let _ = writeln!(std::io::stderr(), "get without rights: refused as expected");
}
