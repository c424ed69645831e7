//! `compose.yaml` and the proxy's configuration: they say what compose reads, and agree with each other.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::*;

/// As much of the Compose Specification as the file uses; whatever else stands in it is a slip.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    #[serde(rename = "x-node")]
    _node: Value,
    services: BTreeMap<String, Service>,
    volumes: BTreeMap<String, Option<Value>>,
    networks: BTreeMap<String, Network>,
    secrets: BTreeMap<String, Secret>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Network {
    ipam: Ipam,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ipam {
    config: Vec<Subnet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subnet {
    subnet: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Attached {
    ipv4_address: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    image: String,
    build: Option<String>,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    #[serde(default)]
    ports: Vec<String>,
    #[serde(default)]
    volumes: Vec<String>,
    #[serde(default)]
    tmpfs: Vec<String>,
    #[serde(default)]
    secrets: Vec<Mounted>,
    #[serde(default)]
    networks: BTreeMap<String, Attached>,
    #[serde(default)]
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Healthcheck,
    restart: Restart,
    stop_grace_period: Option<String>,
    #[serde(default)]
    read_only: bool,
    #[serde(default, rename = "cap_drop")]
    _cap_drop: Vec<String>,
    #[serde(default, rename = "security_opt")]
    _security_opt: Vec<String>,
    #[serde(default, rename = "ulimits")]
    _ulimits: BTreeMap<String, u64>,
    #[serde(rename = "shm_size")]
    _shm_size: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Secret {
    file: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mounted {
    source: String,
    target: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dependency {
    condition: Condition,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Condition {
    ServiceHealthy,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "kebab-case")]
enum Restart {
    UnlessStopped,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Healthcheck {
    test: Vec<String>,
    interval: String,
    timeout: String,
    #[serde(rename = "retries")]
    _retries: u32,
    start_period: Option<String>,
}

fn file() -> File {
    let mut all = documents("compose.yaml");
    assert_eq!(all.len(), 1);
    all.remove(0)
}

fn is_node(service: &Service) -> bool {
    service.build.is_some()
}

/// `10s`, as compose writes it.
fn seconds(text: &str) -> u64 {
    text.strip_suffix('s').and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{text}"))
}

/// What the last argument of a health check asks for on its own machine: port and path.
fn asked(check: &Healthcheck) -> (u16, &str) {
    assert_eq!(check.test[0], "CMD", "no shell is needed");
    let url = check.test.last().unwrap().strip_prefix("http://127.0.0.1:").unwrap();
    let (port, path) = url.split_at(url.find('/').unwrap());
    (port.parse().unwrap(), path)
}

#[test]
fn nodes_are_what_postcall_is() {
    let file = file();
    let nodes: Vec<&Service> = file.services.values().filter(|service| is_node(service)).collect();
    assert_eq!(nodes.len(), 2);
    for node in nodes {
        assert_eq!((node.image.as_str(), node.build.as_deref()), ("postcall", Some(".")));
        let port = check_arguments(&node.command);
        assert_eq!(asked(&node.healthcheck), (port, "/readyz"));
        check_variables(node.environment.keys().map(String::as_str));
        assert!(seconds(node.stop_grace_period.as_deref().unwrap()) >= longest_stop());
        let [key] = &node.secrets[..] else { panic!("one secret") };
        assert_eq!(key.target, MASTER_KEY);
        assert!(file.secrets[&key.source].file.ends_with("/master.key"));
        assert!(node.read_only && node.tmpfs == [DATA]);
    }
}

#[test]
fn nodes_believe_the_proxy_and_nobody_else() {
    let file = file();
    let proxy = &file.services["proxy"].networks["default"].ipv4_address;
    let subnet: ipnet::IpNet = file.networks["default"].ipam.config[0].subnet.parse().unwrap();
    assert!(subnet.contains(&proxy.parse::<std::net::IpAddr>().unwrap()));
    for node in file.services.values().filter(|service| is_node(service)) {
        let named: Vec<_> =
            node.command.iter().filter_map(|argument| argument.strip_prefix("--trusted-proxy=")).collect();
        assert_eq!(named, [proxy]);
    }
    let text = read("deploy/haproxy.cfg");
    assert!(text.lines().any(|line| line.trim() == "option forwardfor"));
}

#[test]
fn nodes_find_the_database() {
    let file = file();
    let database = &file.services["postgres"].environment;
    let expected = format!(
        "postgres://{}:{}@postgres:5432/{}?sslmode=disable",
        database["POSTGRES_USER"], database["POSTGRES_PASSWORD"], database["POSTGRES_DB"]
    );
    for node in file.services.values().filter(|service| is_node(service)) {
        assert_eq!(node.environment["POSTCALL_DATABASE_URL"], expected);
        assert!(node.depends_on["postgres"].condition == Condition::ServiceHealthy);
    }
    let check = file.services["postgres"].healthcheck.test.join(" ");
    for (flag, of) in [("--username", "POSTGRES_USER"), ("--dbname", "POSTGRES_DB")] {
        assert!(check.contains(&format!("{flag}={}", database[of])), "{check}");
    }
}

/// Without it a directory made by root takes the place of a file, or a secret goes into a commit.
#[test]
fn everything_that_is_named_is_there() {
    let file = file();
    assert_eq!(file.name, "postcall");
    for (name, service) in &file.services {
        for other in service.depends_on.keys() {
            assert!(file.services.contains_key(other), "{name} waits for {other}");
        }
        for volume in &service.volumes {
            let source = volume.split(':').next().unwrap();
            match source.strip_prefix("./") {
                Some(path) => assert!(root().join(path).is_file(), "{path}"),
                None => assert!(file.volumes.contains_key(source), "{source}"),
            }
        }
        assert!(service.restart == Restart::UnlessStopped);
        let check = &service.healthcheck;
        assert!(seconds(&check.timeout) <= seconds(&check.interval), "{name}");
        check.start_period.as_deref().map(seconds);
    }
    let ignored = read(".gitignore");
    for secret in file.secrets.values() {
        let folder = secret.file.strip_prefix('.').unwrap().rsplit_once('/').unwrap().0;
        assert!(ignored.lines().any(|line| line == folder), "{folder} may be committed");
    }
    assert!(ignored.lines().any(|line| line == "/.env"));
    // What the head of the file tells to put into .env is what the file asks for.
    let text = read("compose.yaml");
    for name in text.split("${").skip(1).filter_map(|rest| rest.split_once(":?")).map(|(name, _)| name) {
        assert!(text.contains(&format!("{name}=%s")), "nothing says how to make {name}");
    }
}

#[tokio::test]
async fn the_proxy_leads_to_the_nodes() {
    let file = file();
    let proxy = &file.services["proxy"];
    let text = read("deploy/haproxy.cfg");
    let lines = || text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
    let after = |start: &'static str| lines().find_map(|line| line.strip_prefix(start)).expect(start);

    let port = after("bind :");
    assert!(proxy.ports[0].ends_with(&format!(":{port}")), "{:?}", proxy.ports);
    assert!(proxy.ports[0].starts_with("127.0.0.1:"), "the world is let in by whoever adds TLS");
    assert!(proxy.volumes[0].starts_with("./deploy/haproxy.cfg:"));

    let mut servers = BTreeMap::new();
    for line in lines().filter_map(|line| line.strip_prefix("server ")) {
        let (name, address) = line.split_once(' ').unwrap();
        let (host, port) = address.split_once(':').unwrap();
        assert_eq!(name, host);
        servers.insert(host.to_owned(), port.parse::<u16>().unwrap());
    }
    let nodes: BTreeMap<String, u16> = file
        .services
        .iter()
        .filter(|(_, service)| is_node(service))
        .map(|(name, node)| (name.clone(), check_arguments(&node.command)))
        .collect();
    assert_eq!(servers, nodes);
    assert!(nodes.keys().all(|node| proxy.depends_on.contains_key(node)));

    let ready = after("http-check send meth GET uri ").split(' ').next().unwrap();
    let (at, alive) = asked(&proxy.healthcheck);
    assert_eq!(at.to_string(), port);
    let hidden = after("http-request return status 404 if { path ").trim_end_matches(" }");
    check_paths(&[ready, alive, hidden, "/docs"]).await;
    // The doors, which may be sent the same twice.
    let doors = ["acl may_be_repeated path_beg /in/", "acl may_be_repeated path /aiDialerCallbackWithData"];
    for door in doors {
        assert!(lines().any(|line| line == door), "{door}");
    }
}
