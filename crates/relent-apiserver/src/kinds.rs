//! The kinds that every server has: how they are read, what they are given, how their lists are merged.

use k8s_openapi::{
    ClusterResourceScope, NamespaceResourceScope,
    api::{
        apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::{CronJob, Job},
        coordination::v1::Lease,
        core::v1::{
            ConfigMap, Event, LimitRange, Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ResourceQuota,
            Secret, Service, ServiceAccount,
        },
        discovery::v1::EndpointSlice,
        networking::v1::{Ingress, IngressClass, NetworkPolicy},
        node::v1::RuntimeClass,
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
        scheduling::v1::PriorityClass,
        storage::v1::{CSIDriver, StorageClass, VolumeAttachment},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{
    apply::Schema,
    defaults::{self, pod_spec},
    object,
    resource::{Builtin, ResourceKind, Scale},
};

fn through<K: DeserializeOwned + Serialize>(value: Value) -> Result<Value, String> {
    let typed: K = serde_json::from_value(value).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

fn in_namespaces<K>(short: &'static [&'static str]) -> ResourceKind
where
    K: k8s_openapi::Resource<Scope = NamespaceResourceScope> + DeserializeOwned + Serialize,
{
    ResourceKind::of::<K>().builtin(Builtin::Plain).reads(through::<K>).schema(Schema::object).short(short)
}

fn cluster_wide<K>(short: &'static [&'static str]) -> ResourceKind
where
    K: k8s_openapi::Resource<Scope = ClusterResourceScope> + DeserializeOwned + Serialize,
{
    let resource = ResourceKind::of::<K>().cluster_wide();
    resource.builtin(Builtin::Plain).reads(through::<K>).schema(Schema::object).short(short)
}

/// Both versions have the same fields; the type only knows one of them.
fn budget(mut value: Value) -> Result<Value, String> {
    value["apiVersion"] = "policy/v1".into();
    through::<PodDisruptionBudget>(value)
}

pub(super) fn all() -> Vec<ResourceKind> {
    [core(), workloads(), access(), network_and_storage(), reviews()].concat()
}

fn core() -> Vec<ResourceKind> {
    vec![
        cluster_wide::<Namespace>(&["ns"]).with_status().builtin(Builtin::Namespace).schema(Schema::with_conditions),
        in_namespaces::<ConfigMap>(&["cm"]).builtin(Builtin::ConfigMap).schema(Schema::of_data),
        // Read as it comes.
        ResourceKind::new("", "v1", "Endpoints", "endpoints")
            .builtin(Builtin::Endpoints)
            .short(&["ep"])
            .schema(Schema::object),
        in_namespaces::<Event>(&["ev"]).builtin(Builtin::Event).schema(Schema::of_event),
        in_namespaces::<k8s_openapi::api::events::v1::Event>(&["ev"]).builtin(Builtin::Event).schema(Schema::of_event),
        cluster_wide::<Node>(&["no"]).with_status().builtin(Builtin::Node).schema(Schema::of_node),
        in_namespaces::<Pod>(&["po"])
            .with_status()
            .builtin(Builtin::Pod)
            .schema(Schema::of_pod)
            .defaults(|pod| pod_spec(pod, &["spec"], "Always")),
        in_namespaces::<Secret>(&[])
            .builtin(Builtin::Secret)
            .schema(Schema::of_data)
            .defaults(|secret| defaults::at(secret, &["type"], json!("Opaque"))),
        in_namespaces::<ServiceAccount>(&["sa"]).builtin(Builtin::ServiceAccount).schema(Schema::of_account),
        in_namespaces::<Service>(&["svc"])
            .with_status()
            .builtin(Builtin::Service)
            .schema(Schema::of_service)
            .defaults(defaults::service),
        in_namespaces::<Lease>(&[]).builtin(Builtin::Lease),
        ResourceKind::of::<PodDisruptionBudget>()
            .also("v1beta1")
            .with_status()
            .builtin(Builtin::PodDisruptionBudget)
            .reads(budget)
            .schema(Schema::of_budget)
            .short(&["pdb"]),
        in_namespaces::<PersistentVolumeClaim>(&["pvc"])
            .with_status()
            .schema(Schema::with_conditions)
            .defaults(|claim| defaults::at(claim, &["spec", "volumeMode"], json!("Filesystem"))),
        cluster_wide::<PersistentVolume>(&["pv"]).with_status().schema(Schema::of_volume).defaults(|volume| {
            defaults::at(volume, &["spec", "volumeMode"], json!("Filesystem"));
            defaults::at(volume, &["spec", "persistentVolumeReclaimPolicy"], json!("Retain"));
        }),
        in_namespaces::<ResourceQuota>(&["quota"]).with_status(),
        in_namespaces::<LimitRange>(&["limits"]),
    ]
}

fn scale() -> Scale {
    let path = str::to_owned;
    Scale { wanted: path("/spec/replicas"), there: path("/status/replicas"), selector: path("/spec/selector") }
}

fn review(group: &str, kind: &str) -> ResourceKind {
    let plural = format!("{}s", kind.to_lowercase());
    ResourceKind::new(format!("{group}.k8s.io"), "v1", kind, plural).builtin(Builtin::Review).cluster_wide()
}

/// Questions about users and what they may do.
fn reviews() -> Vec<ResourceKind> {
    let local = review("authorization", "LocalSubjectAccessReview").in_namespaces();
    vec![
        review("authentication", "TokenReview"),
        review("authentication", "SelfSubjectReview"),
        review("authorization", "SubjectAccessReview"),
        review("authorization", "SelfSubjectAccessReview"),
        review("authorization", "SelfSubjectRulesReview"),
        local,
    ]
}

fn workloads() -> Vec<ResourceKind> {
    vec![
        in_namespaces::<Deployment>(&["deploy"])
            .scaled(scale())
            .with_status()
            .generation()
            .schema(Schema::of_workload)
            .defaults(defaults::deployment),
        in_namespaces::<StatefulSet>(&["sts"])
            .scaled(scale())
            .with_status()
            .generation()
            .schema(Schema::of_workload)
            .defaults(defaults::stateful_set),
        in_namespaces::<DaemonSet>(&["ds"])
            .with_status()
            .generation()
            .schema(Schema::of_workload)
            .defaults(defaults::daemon_set),
        in_namespaces::<ReplicaSet>(&["rs"])
            .scaled(scale())
            .with_status()
            .generation()
            .schema(Schema::of_workload)
            .defaults(|set| {
                defaults::at(set, &["spec", "replicas"], json!(1));
                pod_spec(set, &["spec", "template", "spec"], "Always");
            }),
        in_namespaces::<Job>(&[]).with_status().generation().schema(Schema::of_job).defaults(defaults::job),
        in_namespaces::<CronJob>(&["cj"])
            .with_status()
            .generation()
            .schema(Schema::of_cron_job)
            .defaults(defaults::cron_job),
        in_namespaces::<HorizontalPodAutoscaler>(&["hpa"])
            .with_status()
            .schema(Schema::with_conditions)
            .defaults(|scaler| defaults::at(scaler, &["spec", "minReplicas"], json!(1))),
    ]
}

fn access() -> Vec<ResourceKind> {
    vec![
        in_namespaces::<Role>(&[]),
        in_namespaces::<RoleBinding>(&[]).schema(Schema::of_binding).defaults(defaults::binding),
        cluster_wide::<ClusterRole>(&[]),
        cluster_wide::<ClusterRoleBinding>(&[]).schema(Schema::of_binding).defaults(defaults::binding),
        cluster_wide::<PriorityClass>(&["pc"])
            .generation()
            .defaults(|class| defaults::at(class, &["preemptionPolicy"], json!("PreemptLowerPriority"))),
        cluster_wide::<RuntimeClass>(&[]),
        cluster_wide::<CustomResourceDefinition>(&["crd", "crds"])
            .with_status()
            .generation()
            .schema(Schema::with_conditions)
            .defaults(defaults::definition),
    ]
}

fn network_and_storage() -> Vec<ResourceKind> {
    vec![
        in_namespaces::<Ingress>(&["ing"]).with_status().generation().schema(Schema::of_ingress),
        cluster_wide::<IngressClass>(&[]).generation(),
        in_namespaces::<NetworkPolicy>(&["netpol"])
            .generation()
            .schema(Schema::of_network_policy)
            .defaults(defaults::network_policy),
        in_namespaces::<EndpointSlice>(&[]).generation(),
        cluster_wide::<StorageClass>(&["sc"]).defaults(|class| {
            defaults::at(class, &["reclaimPolicy"], json!("Delete"));
            defaults::at(class, &["volumeBindingMode"], json!("Immediate"));
        }),
        cluster_wide::<CSIDriver>(&[]),
        cluster_wide::<VolumeAttachment>(&[]).with_status(),
    ]
}

/// What kinds may not change once they are made: a path, and how errors name it.
pub(super) fn fixed(resource: &ResourceKind) -> &'static [(&'static str, &'static str)] {
    match resource.kind() {
        "Deployment" | "DaemonSet" | "ReplicaSet" | "StatefulSet" => &[("/spec/selector", "spec.selector")],
        "Job" => &[("/spec/selector", "spec.selector"), ("/spec/template", "spec.template")],
        "RoleBinding" | "ClusterRoleBinding" => &[("/roleRef", "roleRef")],
        "StorageClass" => &[("/parameters", "parameters"), ("/provisioner", "provisioner")],
        _ => &[],
    }
}

/// Whether the pods that a workload makes would be its own.
pub(super) fn selects_itself(workload: &Value) -> bool {
    let Some(wanted) = workload.pointer("/spec/selector/matchLabels").and_then(Value::as_object) else { return true };
    let labels = workload.pointer("/spec/template/metadata/labels");
    wanted.iter().all(|(name, value)| labels.and_then(|labels| labels.get(name)) == Some(value))
}

/// What a new job gets: a selector that no other has, unless it brings its own.
pub(super) fn own_selector(job: &mut Value) {
    if job.pointer("/spec/manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    let (uid, name) = (object::meta(job, "uid").to_owned(), object::meta(job, "name").to_owned());
    let selector = json!({ "matchLabels": { "batch.kubernetes.io/controller-uid": uid } });
    object::set(job, &["spec", "selector"], selector);
    let labels = [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ];
    for (label, value) in labels {
        object::set(job, &["spec", "template", "metadata", "labels", label], value.as_str().into());
    }
}
