//! Settings and requests that cannot be: a clear error at once, and nothing changed.

use std::{path::PathBuf, process::Command, time::Instant};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};
use relent_etcd::{CallError, EtcdCluster, MemberError, Members};

use super::{
    around::{Around, Judge},
    server::{Server, Settings, Version, eventually, ms},
};

fn members(url: String, options: ConnectOptions) -> Members<Around> {
    Members::new(Around::new(EtcdCluster::new([url], options).unwrap(), (), Judge::default())).unwrap()
}

#[tokio::test]
async fn settings_and_ids() {
    assert_eq!(
        EtcdCluster::new(Vec::<String>::new(), ConnectOptions::new()).unwrap_err().to_string(),
        "endpoints []: there must be at least one"
    );
    for endpoint in ["", "127.0.0.1:2379", "ftp://127.0.0.1:2379", "http://"] {
        assert_eq!(
            EtcdCluster::new([endpoint], ConnectOptions::new()).unwrap_err().setting(),
            "endpoint",
            "{endpoint}"
        );
    }
    let server = Server::start(Version::V35, 1).await;
    let members = server.members();
    let never = members.ensure_promoted(77).unwrap().await.unwrap_err();
    assert!(never.is_fatal() && never.attempts() == 1, "{never}");
    assert!(matches!(never.last_error(), Some(MemberError::NotFound(id)) if id == "4d"));
    assert!(members.ensure_learner(["nonsense"]).is_err());
    assert_eq!(members.list().await.unwrap().len(), 1);
}

#[tokio::test]
async fn users_and_rights() {
    for version in Version::BOTH {
        let server = Server::start(version, 1).await;
        let url = server.nodes[0].client_url();
        let mut client = etcd_client::Client::connect([&url], None).await.unwrap();
        client.user_add("root", "secret", None).await.unwrap();
        // 3.4 has no such role until it is made.
        let _ = client.role_add("root").await;
        client.user_grant_role("root", "root").await.unwrap();
        client.user_add("guest", "guest", None).await.unwrap();
        client.auth_enable().await.unwrap();

        let user = |name: &str, password: &str| members(url.clone(), ConnectOptions::new().with_user(name, password));
        let nobody = members(url.clone(), ConnectOptions::new());
        for (members, why) in [
            (user("root", "wrong"), "authentication failed, invalid user ID or password"),
            (user("guest", "guest"), "permission denied"),
            (members(url.clone(), ConnectOptions::new()), "user name is empty"),
        ] {
            let start = Instant::now();
            let gave_up = members.ensure_learner(["http://127.0.0.1:1"]).unwrap().await.unwrap_err();
            assert!(gave_up.is_fatal() && gave_up.attempts() == 1, "{gave_up}");
            assert!(gave_up.to_string().contains(why), "{gave_up}");
            println!("{version:?}: {gave_up}");
            assert!(start.elapsed() < ms(5000));
        }
        // To see the members takes no right, as for etcdctl. Before 3.5 it does, and is said which.
        for (members, why) in [(user("guest", "guest"), "relent/barrier"), (nobody, "give a user's name and password")]
        {
            let (listed, healthy) = (members.list().await, members.wait_healthy().await);
            if version == Version::V35 {
                assert_eq!((listed.unwrap().len(), healthy.unwrap().members.len()), (1, 1));
            } else {
                let (listed, healthy) = (listed.unwrap_err(), healthy.unwrap_err());
                println!("{version:?}: {listed}");
                assert_eq!(listed.decision(), relent::Decision::Fatal);
                assert!(listed.to_string().contains(why), "{listed}");
                assert!(healthy.to_string().contains(why), "{healthy}");
            }
        }
        let root = user("root", "secret");
        let added = root.ensure_learner(["http://127.0.0.1:1"]).unwrap().every(ms(100)).await.unwrap();
        assert_eq!(root.list().await.unwrap().len(), 2);
        root.ensure_removed(&added.value).unwrap().every(ms(100)).await.unwrap();
    }
}

/// An authority, and a key pair signed by it.
pub(super) fn certificates(folder: &PathBuf, authority: &str, name: &str) -> [PathBuf; 3] {
    let path = |what: &str| folder.join(what);
    let openssl = |arguments: String| {
        let done = Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder).output();
        let done = done.expect("this test needs openssl: install it");
        assert!(done.status.success(), "{arguments}: {}", String::from_utf8_lossy(&done.stderr));
    };
    if !path(&format!("{authority}.crt")).exists() {
        openssl(format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={authority} -keyout {authority}.key -out {authority}.crt"
        ));
    }
    std::fs::write(path("ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n").unwrap();
    openssl(format!(
        "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
    ));
    openssl(format!(
        "x509 -req -in {name}.csr -CA {authority}.crt -CAkey {authority}.key -CAcreateserial -days 2 -extfile ext -out {name}.crt"
    ));
    [path(&format!("{name}.crt")), path(&format!("{name}.key")), path(&format!("{authority}.crt"))]
}

#[tokio::test]
async fn certificates_of_the_right_authority_only() {
    let folder = std::env::temp_dir().join(format!("relent-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let ours = certificates(&folder, "ours", "server");
    let [client, client_key, authority] = certificates(&folder, "ours", "client");
    let [stranger, stranger_key, strange_authority] = certificates(&folder, "theirs", "stranger");
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    let tls = |authority: &PathBuf, identity: Option<(&PathBuf, &PathBuf)>| {
        let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(authority)));
        if let Some((certificate, key)) = identity {
            tls = tls.identity(Identity::from_pem(read(certificate), read(key)));
        }
        ConnectOptions::new().with_tls(tls)
    };
    for version in Version::BOTH {
        let settings = Settings { tls: Some(ours.clone()), ..Settings::default() };
        let server = Server::start_with(version, 1, settings).await;
        let url = format!("https://{}", server.nodes[0].client);
        let good = members(url.clone(), tls(&authority, Some((&client, &client_key))));
        eventually("it answers over TLS", async || good.list().await.ok()).await;
        good.ensure_learner(["http://127.0.0.1:1"]).unwrap().every(ms(100)).await.unwrap();

        for (what, options) in [
            ("an authority that did not sign the server's", tls(&strange_authority, Some((&client, &client_key)))),
            ("a certificate of another authority", tls(&authority, Some((&stranger, &stranger_key)))),
            ("no certificate", tls(&authority, None)),
        ] {
            // The server closes the connection while the client sends: which of them is faster differs each time.
            for time in 0..20 {
                let start = Instant::now();
                let refused = members(url.clone(), options.clone()).ensure_learner(["http://127.0.0.1:2"]).unwrap();
                let gave_up = refused.finish_within(ms(10_000)).await.unwrap_err();
                let error = gave_up.last_error().unwrap_or_else(|| panic!("{what}: {gave_up}"));
                assert!(gave_up.is_fatal() && gave_up.attempts() == 1, "{version:?}, {what}, {time}: {gave_up}");
                assert!(matches!(error, MemberError::Call { error: CallError::Untrusted(_), .. }), "{what}: {error}");
                assert!(start.elapsed() < ms(5000), "{what}");
                let wants = "give the client a certificate that this etcd accepts";
                assert_eq!(error.to_string().contains(wants), what.ends_with("certificate") || what.starts_with("a "));
                if time == 0 {
                    println!("{version:?}, {what}: {gave_up}");
                }
            }
        }
        assert_eq!(good.list().await.unwrap().len(), 2);
    }
    let _ = std::fs::remove_dir_all(folder);
}
