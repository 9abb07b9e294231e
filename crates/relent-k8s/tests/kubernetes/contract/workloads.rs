//! Kinds that controllers make: what they are given, what of them is fixed, when their generation grows.

use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};

use super::{Ran, facts};
use crate::world::{Answer, World};

facts![
    a_deployment_is_completed,
    generation_follows_the_spec,
    a_selector_is_fixed_and_selects_its_pods,
    containers_are_shared_by_name,
    ports_are_told_apart_by_number_and_protocol,
    containers_are_merged_by_name,
    a_job_selects_its_own_pods,
    a_cron_job_is_completed,
    a_role_binding_keeps_its_role,
    claims_wait,
    kinds_of_the_whole_cluster,
];

fn apps(world: &World, rest: &str) -> String {
    format!("/apis/apps/v1/namespaces/{}/{rest}", world.namespace)
}

fn deployment(containers: &Value) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "d" },
        "spec": {
            "selector": { "matchLabels": { "app": "d" } },
            "template": { "metadata": { "labels": { "app": "d" } }, "spec": { "containers": containers } },
        },
    })
}

fn one() -> Value {
    json!([{ "name": "c", "image": "example.com/c:1" }])
}

async fn apply(world: &World, path: &str, manager: &str, body: &Value) -> Answer {
    let path = format!("{path}?fieldManager={manager}");
    world.raw(&world.client, Method::PATCH, &path, "application/apply-patch+yaml", body.to_string().into_bytes()).await
}

async fn a_deployment_is_completed(world: Arc<World>) -> Ran {
    let made = world.post(&apps(&world, "deployments"), deployment(&one())).await;
    let spec = &made.is(201).body["spec"];
    assert_eq!((&spec["replicas"], &spec["revisionHistoryLimit"]), (&json!(1), &json!(10)));
    assert_eq!(spec["progressDeadlineSeconds"], 600);
    let strategy = json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": "25%", "maxUnavailable": "25%" } });
    assert_eq!(spec["strategy"], strategy);
    let pod = &spec["template"]["spec"];
    assert_eq!((&pod["restartPolicy"], &pod["dnsPolicy"]), (&json!("Always"), &json!("ClusterFirst")));
    assert_eq!(
        (&pod["schedulerName"], &pod["terminationGracePeriodSeconds"]),
        (&json!("default-scheduler"), &json!(30))
    );
    assert_eq!(pod["securityContext"], json!({}));
    let container = json!({
        "name": "c", "image": "example.com/c:1", "imagePullPolicy": "IfNotPresent", "resources": {},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
    });
    assert_eq!(pod["containers"], json!([container]));
    Ran::Yes
}

async fn generation_follows_the_spec(world: Arc<World>) -> Ran {
    world.post(&apps(&world, "deployments"), deployment(&one())).await.is(201);
    let path = apps(&world, "deployments/d");
    let labelled = world.patch("merge", &path, json!({ "metadata": { "labels": { "a": "b" } } })).await;
    assert_eq!(labelled.is(200).body["metadata"]["generation"], 1);
    let scaled = world.patch("merge", &path, json!({ "spec": { "replicas": 2 } })).await;
    assert_eq!(scaled.is(200).body["metadata"]["generation"], 2);
    let status = json!({ "status": { "replicas": 2, "observedGeneration": 2 }, "spec": { "replicas": 9 } });
    let told = world.patch("merge", &format!("{path}/status"), status).await;
    assert_eq!((&told.is(200).body["status"]["replicas"], &told.body["spec"]["replicas"]), (&json!(2), &json!(2)));
    assert_eq!(told.body["metadata"]["generation"], 2);
    Ran::Yes
}

async fn a_selector_is_fixed_and_selects_its_pods(world: Arc<World>) -> Ran {
    let mut stranger = deployment(&one());
    stranger["spec"]["template"]["metadata"]["labels"] = json!({ "app": "other" });
    let refused = world.post(&apps(&world, "deployments"), stranger).await;
    refused.fails(422, "Invalid", "`selector` does not match template `labels`");
    world.post(&apps(&world, "deployments"), deployment(&one())).await.is(201);
    let other = json!({ "spec": { "selector": { "matchLabels": { "b": "c" } }, "template": { "metadata": { "labels": { "b": "c" } } } } });
    let refused = world.patch("merge", &apps(&world, "deployments/d"), other).await;
    refused.fails(422, "Invalid", "field is immutable");
    Ran::Yes
}

async fn containers_are_shared_by_name(world: Arc<World>) -> Ran {
    let path = apps(&world, "deployments/d");
    apply(&world, &path, "m", &deployment(&one())).await.is(201);
    let mut sidecar = deployment(&json!([{ "name": "s", "image": "example.com/s" }]));
    sidecar["spec"] = json!({ "template": { "spec": { "containers": [{ "name": "s", "image": "example.com/s" }] } } });
    let both = apply(&world, &path, "n", &sidecar).await;
    let containers = both.is(200).body["spec"]["template"]["spec"]["containers"].as_array().unwrap();
    let images: Vec<_> = containers.iter().map(|container| container["image"].as_str().unwrap()).collect();
    assert_eq!(images, ["example.com/c:1", "example.com/s"]);
    assert_eq!(both.body["metadata"]["generation"], 2);
    let mut other = deployment(&one());
    other["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/c:2".into();
    let refused = apply(&world, &path, "n", &other).await;
    refused.fails(409, "Conflict", ".spec.template.spec.containers[name=\"c\"].image");
    Ran::Yes
}

async fn ports_are_told_apart_by_number_and_protocol(world: Arc<World>) -> Ran {
    let path = world.core("services/s");
    let service = |ports: Value| json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "s" }, "spec": { "selector": { "a": "b" }, "ports": ports } });
    apply(&world, &path, "m", &service(json!([{ "name": "a", "port": 53, "protocol": "TCP" }]))).await.is(201);
    let both = apply(&world, &path, "n", &service(json!([{ "name": "b", "port": 53, "protocol": "UDP" }]))).await;
    let ports = both.is(200).body["spec"]["ports"].as_array().unwrap();
    assert_eq!(ports.len(), 2, "{ports:?}");
    assert_eq!((&ports[0]["targetPort"], &ports[1]["protocol"]), (&json!(53), &json!("UDP")));
    Ran::Yes
}

async fn containers_are_merged_by_name(world: Arc<World>) -> Ran {
    world.post(&apps(&world, "deployments"), deployment(&one())).await.is(201);
    let patch = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "c", "env": [{ "name": "A", "value": "1" }] }] } } } });
    let merged = world.patch("strategic-merge", &apps(&world, "deployments/d"), patch).await;
    let container = &merged.is(200).body["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["image"], "example.com/c:1");
    assert_eq!(container["env"], json!([{ "name": "A", "value": "1" }]));
    Ran::Yes
}

async fn a_job_selects_its_own_pods(world: Arc<World>) -> Ran {
    let path = format!("/apis/batch/v1/namespaces/{}/jobs", world.namespace);
    let template = json!({ "spec": { "restartPolicy": "Never", "containers": one() } });
    let made = world.post(&path, json!({ "metadata": { "name": "j" }, "spec": { "template": template } })).await;
    let spec = &made.is(201).body["spec"];
    assert_eq!((&spec["parallelism"], &spec["completions"], &spec["backoffLimit"]), (&json!(1), &json!(1), &json!(6)));
    let uid = made.uid();
    let selected = spec["selector"]["matchLabels"].as_object().unwrap();
    assert!(selected.values().any(|value| value == uid.as_str()), "{selected:?}");
    let labels = spec["template"]["metadata"]["labels"].as_object().unwrap();
    assert!(selected.iter().all(|(label, value)| labels.get(label) == Some(value)), "{labels:?}");
    assert_eq!(labels["job-name"], "j");
    let other = json!({ "spec": { "template": { "spec": { "restartPolicy": "OnFailure" } } } });
    world.patch("merge", &format!("{path}/j"), other).await.fails(422, "Invalid", "field is immutable");
    Ran::Yes
}

async fn a_cron_job_is_completed(world: Arc<World>) -> Ran {
    if world.minor <= 20 {
        return Ran::No("1.20 has CronJobs as batch/v1beta1");
    }
    let path = format!("/apis/batch/v1/namespaces/{}/cronjobs", world.namespace);
    let template = json!({ "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": one() } } } });
    let cron = json!({ "metadata": { "name": "c" }, "spec": { "schedule": "* * * * *", "jobTemplate": template } });
    let spec = world.post(&path, cron).await.is(201).body["spec"].clone();
    assert_eq!((&spec["concurrencyPolicy"], &spec["suspend"]), (&json!("Allow"), &json!(false)));
    assert_eq!((&spec["successfulJobsHistoryLimit"], &spec["failedJobsHistoryLimit"]), (&json!(3), &json!(1)));
    Ran::Yes
}

async fn a_role_binding_keeps_its_role(world: Arc<World>) -> Ran {
    let path = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings", world.namespace);
    let subjects = json!([{ "kind": "User", "name": "u" }]);
    let binding =
        json!({ "metadata": { "name": "b" }, "roleRef": { "kind": "Role", "name": "r" }, "subjects": subjects });
    let made = world.post(&path, binding).await;
    assert_eq!(made.is(201).body["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(made.body["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    let other = world.patch("merge", &format!("{path}/b"), json!({ "roleRef": { "name": "other" } })).await;
    other.fails(422, "Invalid", "cannot change roleRef");
    Ran::Yes
}

async fn claims_wait(world: Arc<World>) -> Ran {
    let spec = json!({ "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } });
    let made =
        world.post(&world.core("persistentvolumeclaims"), json!({ "metadata": { "name": "c" }, "spec": spec })).await;
    assert_eq!(made.is(201).body["status"], json!({ "phase": "Pending" }));
    assert_eq!(made.body["spec"]["volumeMode"], "Filesystem");
    Ran::Yes
}

async fn kinds_of_the_whole_cluster(world: Arc<World>) -> Ran {
    let name = crate::world::unique("relent");
    for (path, body) in [
        ("/apis/storage.k8s.io/v1/storageclasses", json!({ "provisioner": "example.com/none" })),
        ("/apis/rbac.authorization.k8s.io/v1/clusterroles", json!({ "rules": [] })),
        ("/apis/scheduling.k8s.io/v1/priorityclasses", json!({ "value": 1 })),
    ] {
        let mut body = body;
        body["metadata"] = json!({ "name": name });
        world.post(path, body).await.is(201);
        world.delete(&format!("{path}/{name}")).await.is(200);
    }
    Ran::Yes
}
