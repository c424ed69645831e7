//! `deploy/kubernetes.yaml`: each document is one that the API server knows, to the last field, and they fit together.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Container, PodSpec, Probe, Secret, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Serialize;
use serde_json::Value;

use super::*;

const PATH: &str = "deploy/kubernetes.yaml";
/// What stands in for a value that only its operator knows.
const TO_FILL_IN: &str = "FILL IN";

/// The only document of a kind with a name. A field that its type does not have, which the API server would refuse or
/// drop, is an error.
fn the<T: DeserializeOwned + Serialize>(kind: &str, name: &str) -> T {
    let all: Vec<Value> = documents(PATH);
    let is_it = |it: &&Value| it["kind"] == kind && it["metadata"]["name"] == name;
    let [it] = all.iter().filter(is_it).collect::<Vec<_>>()[..] else { panic!("one {kind} named {name}") };
    let mut it = it.clone();
    if it["data"]["master.key"] == TO_FILL_IN {
        it["data"]["master.key"] = Value::from("AAAA");
    }
    let typed: T =
        serde_json::from_value(it.clone()).unwrap_or_else(|error| panic!("{kind} {name}: {error}"));
    expect_all(&it, &serde_json::to_value(&typed).unwrap(), kind);
    typed
}

/// Fails when a part of `written` is not in `understood`.
fn expect_all(written: &Value, understood: &Value, at: &str) {
    match (written, understood) {
        (Value::Object(written), Value::Object(understood)) => {
            for (name, value) in written {
                let at = format!("{at}.{name}");
                let understood = understood.get(name).unwrap_or_else(|| panic!("{at}: no such field"));
                expect_all(value, understood, &at);
            }
        }
        (Value::Array(written), Value::Array(understood)) => {
            assert_eq!(written.len(), understood.len(), "{at}");
            for (number, (written, understood)) in written.iter().zip(understood).enumerate() {
                expect_all(written, understood, &format!("{at}[{number}]"));
            }
        }
        _ => assert_eq!(written, understood, "{at}"),
    }
}

fn deployment() -> Deployment {
    the("Deployment", "postcall")
}

fn pod(deployment: &Deployment) -> &PodSpec {
    deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap()
}

fn container(pod: &PodSpec) -> &Container {
    let [container] = &pod.containers[..] else { panic!("one container") };
    container
}

fn labels(selector: &LabelSelector) -> &BTreeMap<String, String> {
    assert!(selector.match_expressions.as_ref().is_none_or(Vec::is_empty));
    selector.match_labels.as_ref().unwrap()
}

#[test]
fn a_field_that_is_not_there_is_found() {
    let typed: Service = serde_json::from_str(r#"{"spec": {"selektor": {"a": "b"}}}"#).unwrap();
    let slip = std::panic::catch_unwind(|| {
        let written = serde_json::json!({"spec": {"selektor": {"a": "b"}}});
        expect_all(&written, &serde_json::to_value(&typed).unwrap(), "Service");
    });
    let message = *slip.unwrap_err().downcast::<String>().unwrap();
    assert_eq!(message, "Service.spec.selektor: no such field");
}

#[test]
fn every_document_is_known() {
    let all: Vec<Value> = documents(PATH);
    let kinds: Vec<_> = all.iter().map(|it| (it["apiVersion"].as_str(), it["kind"].as_str())).collect();
    let known = [
        ("v1", "Secret"),
        ("v1", "Secret"),
        ("apps/v1", "Deployment"),
        ("policy/v1", "PodDisruptionBudget"),
        ("v1", "Service"),
    ];
    assert_eq!(kinds, known.map(|(version, kind)| (Some(version), Some(kind))));
}

/// Everything finds the pods, and only one of them may be gone at a time.
#[test]
fn selectors_select_the_pods() {
    let deployment = deployment();
    let spec = deployment.spec.as_ref().unwrap();
    let pods = spec.template.metadata.as_ref().unwrap().labels.as_ref().unwrap();
    let budget: PodDisruptionBudget = the("PodDisruptionBudget", "postcall");
    let budget = budget.spec.unwrap();
    let service: Service = the("Service", "postcall");
    let pod = pod(&deployment);
    let affinity = pod.affinity.as_ref().unwrap().pod_anti_affinity.as_ref().unwrap();
    let apart = affinity.preferred_during_scheduling_ignored_during_execution.as_ref().unwrap();
    let spread = pod.topology_spread_constraints.as_ref().unwrap();
    let mut selectors = vec![
        labels(&spec.selector),
        labels(budget.selector.as_ref().unwrap()),
        service.spec.as_ref().unwrap().selector.as_ref().unwrap(),
    ];
    selectors.extend(apart.iter().map(|it| labels(it.pod_affinity_term.label_selector.as_ref().unwrap())));
    selectors.extend(spread.iter().map(|it| labels(it.label_selector.as_ref().unwrap())));
    assert_eq!(selectors.len(), 5);
    for selector in selectors {
        assert!(!selector.is_empty() && selector.iter().all(|(name, value)| pods.get(name) == Some(value)));
    }
    assert!(spec.replicas.unwrap() >= 2);
    assert_eq!(budget.max_unavailable, Some(IntOrString::Int(1)));
}

#[tokio::test]
async fn probes_ask_what_nodes_answer() {
    let deployment = deployment();
    let container = container(pod(&deployment));
    let arguments = container.args.as_ref().unwrap();
    let port = check_arguments(arguments);
    let [named, metrics] = &container.ports.as_ref().unwrap()[..] else { panic!("two ports") };
    assert_eq!(named.container_port, i32::from(port));
    let listen = arguments.iter().find_map(|argument| argument.strip_prefix("--metrics-listen=")).unwrap();
    let metrics_port = listen.parse::<std::net::SocketAddr>().unwrap().port();
    assert_eq!(metrics.container_port, i32::from(metrics_port));
    let name = IntOrString::String(named.name.clone().unwrap());
    let path = |probe: &Option<Probe>| {
        let get = probe.as_ref().unwrap().http_get.as_ref().unwrap();
        assert_eq!(get.port, name);
        get.path.clone().unwrap()
    };
    let paths = [&container.startup_probe, &container.liveness_probe, &container.readiness_probe].map(path);
    assert_eq!(paths, ["/healthz", "/healthz", "/readyz"]);
    let service: Service = the("Service", "postcall");
    let [served] = &service.spec.unwrap().ports.unwrap()[..] else { panic!("metrics stay inside") };
    assert_eq!(served.target_port, Some(name));

    let about = deployment.spec.as_ref().unwrap().template.metadata.as_ref().unwrap();
    let scraped = |what: &str| about.annotations.as_ref().unwrap()[&format!("prometheus.io/{what}")].as_str();
    assert_eq!(scraped("port"), metrics_port.to_string());
    check_paths(&[&paths[0], &paths[2], scraped("path")]).await;
}

#[test]
fn secrets_are_where_nodes_look() {
    let deployment = deployment();
    let pod = pod(&deployment);
    let container = container(pod);
    let (key, others): (Secret, Secret) = (the("Secret", "postcall-master-key"), the("Secret", "postcall"));
    assert_eq!(key.immutable, Some(true));

    let variables = container.env.as_ref().unwrap();
    check_variables(variables.iter().map(|variable| variable.name.as_str()));
    let mut used = BTreeSet::new();
    for reference in variables.iter().filter_map(|it| it.value_from.as_ref()?.secret_key_ref.as_ref()) {
        assert_eq!(reference.name, "postcall");
        assert!(used.insert(reference.key.clone()));
    }
    assert!(used.iter().eq(others.string_data.as_ref().unwrap().keys()));

    let mounts = container.volume_mounts.as_ref().unwrap();
    let volumes = pod.volumes.as_ref().unwrap();
    let volume = |path: &str| {
        let mount = mounts.iter().find(|mount| mount.mount_path == path).expect(path);
        (mount, volumes.iter().find(|volume| volume.name == mount.name).expect(path))
    };
    let (mount, from) = volume(MASTER_KEY);
    assert_eq!(from.secret.as_ref().unwrap().secret_name.as_deref(), Some("postcall-master-key"));
    // Readable by the group that the pod's files belong to, and by nobody else.
    assert_eq!(from.secret.as_ref().unwrap().default_mode, Some(0o440));
    assert!(key.data.unwrap().keys().eq([mount.sub_path.as_ref().unwrap()]));
    assert!(volume(DATA).1.empty_dir.is_some(), "nothing is kept in a node");
}

/// Whoever applies the file as it came learns it at once, and not when the secrets turn out to be everybody's.
#[test]
fn what_was_not_filled_in_is_refused() {
    let all: Vec<Value> = documents(PATH);
    let key = all[0]["data"]["master.key"].as_str().unwrap();
    assert!(data_encoding::BASE64.decode(key.as_bytes()).is_err(), "Kubernetes refuses it");
    let others = &all[1]["stringData"];
    assert!(others["admin-key"].as_str().unwrap().len() < 16, "postcall refuses it");
    // RFC 6761: a name under `invalid` is never there.
    assert!(others["database-url"].as_str().unwrap().contains(".invalid:5432/"));
}

#[test]
fn a_node_may_finish_and_may_do_nothing_else() {
    let deployment = deployment();
    let pod = pod(&deployment);
    let container = container(pod);
    let pause = container.lifecycle.as_ref().unwrap().pre_stop.as_ref().unwrap().exec.as_ref().unwrap();
    let [_, seconds] = &pause.command.as_ref().unwrap()[..] else { panic!("sleep and how long") };
    let grace = u64::try_from(pod.termination_grace_period_seconds.unwrap()).unwrap();
    assert!(grace >= seconds.parse::<u64>().unwrap() + longest_stop());

    let resources = container.resources.as_ref().unwrap();
    assert!(resources.requests.as_ref().unwrap().keys().eq(["cpu", "memory"]));
    assert!(resources.limits.as_ref().unwrap().keys().eq(["memory"]));
    let who = pod.security_context.as_ref().unwrap();
    let user = format!("USER {}:{}", who.run_as_user.unwrap(), who.run_as_group.unwrap());
    assert!(read("Dockerfile").lines().any(|line| line == user), "{user}");
    assert_eq!((who.run_as_non_root, who.fs_group), (Some(true), who.run_as_group));
    let may = container.security_context.as_ref().unwrap();
    assert_eq!((may.allow_privilege_escalation, may.read_only_root_filesystem), (Some(false), Some(true)));
}
