//! What objects have unless they say otherwise, as far as controllers read it.

use serde_json::{Value, json};

use super::object;

/// Writes at a path where nothing is.
pub(super) fn at(object: &mut Value, path: &[&str], value: Value) {
    let mut place = Some(&*object);
    for field in path {
        place = place.and_then(|place| place.get(*field));
    }
    if place.is_none_or(Value::is_null) {
        object::set(object, path, value);
    }
}

/// The part of the object at a path, if it is there.
fn part<'v>(object: &'v mut Value, path: &[&str]) -> Option<&'v mut Value> {
    path.iter().try_fold(object, |place, field| place.get_mut(*field))
}

/// Of a pod, or of the template of one.
pub(super) fn pod_spec(object: &mut Value, path: &[&str], restart: &str) {
    let Some(spec) = part(object, path) else { return };
    for (field, value) in [
        ("restartPolicy", json!(restart)),
        ("terminationGracePeriodSeconds", json!(30)),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("securityContext", json!({})),
    ] {
        at(spec, &[field], value);
    }
    for list in ["containers", "initContainers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            of_container(container);
        }
    }
}

fn of_container(container: &mut Value) {
    if !container.is_object() {
        return;
    }
    let image = container.get("image").and_then(Value::as_str).unwrap_or("");
    let (_, last) = image.rsplit_once('/').unwrap_or(("", image));
    let latest = !last.contains('@') && last.rsplit_once(':').is_none_or(|(_, tag)| tag == "latest");
    at(container, &["imagePullPolicy"], json!(if latest { "Always" } else { "IfNotPresent" }));
    at(container, &["terminationMessagePath"], json!("/dev/termination-log"));
    at(container, &["terminationMessagePolicy"], json!("File"));
    at(container, &["resources"], json!({}));
    for port in container.get_mut("ports").and_then(Value::as_array_mut).into_iter().flatten() {
        at(port, &["protocol"], json!("TCP"));
    }
}

pub(super) fn service(service: &mut Value) {
    at(service, &["spec", "type"], json!("ClusterIP"));
    at(service, &["spec", "sessionAffinity"], json!("None"));
    for port in part(service, &["spec", "ports"]).and_then(Value::as_array_mut).into_iter().flatten() {
        at(port, &["protocol"], json!("TCP"));
        let number = port.get("port").cloned().unwrap_or(Value::Null);
        at(port, &["targetPort"], number);
    }
}

pub(super) fn deployment(deployment: &mut Value) {
    at(deployment, &["spec", "replicas"], json!(1));
    at(deployment, &["spec", "revisionHistoryLimit"], json!(10));
    at(deployment, &["spec", "progressDeadlineSeconds"], json!(600));
    at(deployment, &["spec", "strategy", "type"], json!("RollingUpdate"));
    if object::text(deployment, "/spec/strategy/type") == Some("RollingUpdate") {
        for bound in ["maxSurge", "maxUnavailable"] {
            at(deployment, &["spec", "strategy", "rollingUpdate", bound], json!("25%"));
        }
    }
    pod_spec(deployment, &["spec", "template", "spec"], "Always");
}

pub(super) fn stateful_set(set: &mut Value) {
    at(set, &["spec", "replicas"], json!(1));
    at(set, &["spec", "revisionHistoryLimit"], json!(10));
    at(set, &["spec", "podManagementPolicy"], json!("OrderedReady"));
    at(set, &["spec", "updateStrategy", "type"], json!("RollingUpdate"));
    if object::text(set, "/spec/updateStrategy/type") == Some("RollingUpdate") {
        at(set, &["spec", "updateStrategy", "rollingUpdate", "partition"], json!(0));
    }
    for when in ["whenDeleted", "whenScaled"] {
        at(set, &["spec", "persistentVolumeClaimRetentionPolicy", when], json!("Retain"));
    }
    pod_spec(set, &["spec", "template", "spec"], "Always");
}

pub(super) fn daemon_set(set: &mut Value) {
    at(set, &["spec", "revisionHistoryLimit"], json!(10));
    at(set, &["spec", "updateStrategy", "type"], json!("RollingUpdate"));
    if object::text(set, "/spec/updateStrategy/type") == Some("RollingUpdate") {
        at(set, &["spec", "updateStrategy", "rollingUpdate", "maxSurge"], json!(0));
        at(set, &["spec", "updateStrategy", "rollingUpdate", "maxUnavailable"], json!(1));
    }
    pod_spec(set, &["spec", "template", "spec"], "Always");
}

pub(super) fn job(job: &mut Value) {
    of_job(job, &["spec"]);
}

fn of_job(object: &mut Value, path: &[&str]) {
    let Some(spec) = part(object, path) else { return };
    let parallel = spec.get("parallelism").is_some();
    at(spec, &["parallelism"], json!(1));
    if !parallel {
        at(spec, &["completions"], json!(1));
    }
    at(spec, &["backoffLimit"], json!(6));
    at(spec, &["completionMode"], json!("NonIndexed"));
    at(spec, &["suspend"], json!(false));
    at(spec, &["podReplacementPolicy"], json!("TerminatingOrFailed"));
    pod_spec(spec, &["template", "spec"], "Never");
}

pub(super) fn cron_job(job: &mut Value) {
    at(job, &["spec", "concurrencyPolicy"], json!("Allow"));
    at(job, &["spec", "suspend"], json!(false));
    at(job, &["spec", "successfulJobsHistoryLimit"], json!(3));
    at(job, &["spec", "failedJobsHistoryLimit"], json!(1));
    pod_spec(job, &["spec", "jobTemplate", "spec", "template", "spec"], "Never");
}

pub(super) fn binding(binding: &mut Value) {
    at(binding, &["roleRef", "apiGroup"], json!("rbac.authorization.k8s.io"));
    for subject in binding.get_mut("subjects").and_then(Value::as_array_mut).into_iter().flatten() {
        if subject.get("kind").and_then(Value::as_str) != Some("ServiceAccount") {
            at(subject, &["apiGroup"], json!("rbac.authorization.k8s.io"));
        }
    }
}

pub(super) fn network_policy(policy: &mut Value) {
    let egress = policy.pointer("/spec/egress").is_some_and(|egress| !egress.is_null());
    let types = if egress { json!(["Ingress", "Egress"]) } else { json!(["Ingress"]) };
    at(policy, &["spec", "policyTypes"], types);
}

/// What the server fills in in a definition of a custom kind.
pub(super) fn definition(definition: &mut Value) {
    let (kind, list) = (
        object::text(definition, "/spec/names/kind").unwrap_or("").to_owned(),
        object::text(definition, "/spec/names/listKind").unwrap_or("").is_empty(),
    );
    if object::text(definition, "/spec/names/singular").unwrap_or("").is_empty() {
        object::set(definition, &["spec", "names", "singular"], kind.to_lowercase().into());
    }
    if list {
        object::set(definition, &["spec", "names", "listKind"], format!("{kind}List").into());
    }
    if definition.pointer("/spec/conversion").is_none() {
        object::set(definition, &["spec", "conversion"], json!({ "strategy": "None" }));
    }
}
