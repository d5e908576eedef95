#!/usr/bin/env python3
"""manifests.py [--faults] PROGRAM: checks what runs P2PSP in containers against what it must be, without an engine or a cluster.

Kubernetes: strict schemas, the restricted pod security standard, that what is named is there, and that the program takes its settings.
Compose: the files that it mounts, the program's settings, and that Prometheus looks where they answer. Grafana: that its provisioning
names the places where the documents and Compose put things. With --faults the manifests are
also checked with one fault at a time, and each has to be found: a check that cannot fail says nothing.
"""

import copy
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import kubernetes_validate
import yaml

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = ["1.30", "1.37"]
# What no file of ours holds: the first is printed by deploy/kubernetes/secrets.sh, the second has what the splitter says.
CHANNEL = {"p2psp-channel": {"link"}}
NAMESPACE = "p2psp"
LINK = "p2psp://" + "a" * 52 + "@127.0.0.1:4480"


def main(program, with_faults):
    documents = kubernetes()
    found = [*check(documents, program), *compose(program), *grafana(provisioning())]
    if found:
        sys.exit("\n".join(found))
    count = 0
    if with_faults:
        for what, spoil in FAULTS.items():
            spoilt = copy.deepcopy(documents)
            spoil({(one["kind"], generic(one["metadata"]["name"])): one for one in spoilt})
            if not check(spoilt, program):
                sys.exit(f"not found: {what}")
            count += 1
        for what, spoil in GRAFANA_FAULTS.items():
            spoilt = copy.deepcopy(provisioning())
            spoil(spoilt)
            if not [*grafana(spoilt)]:
                sys.exit(f"not found: {what}")
            count += 1
    print(f"{len(documents)} Kubernetes objects and the Compose file are right; {count} faults were found")


def output(*command, **more):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=ROOT, **more).stdout


def kubernetes():
    text = output("kubectl", "kustomize", "deploy") + "\n---\n" + output("deploy/kubernetes/secrets.sh")
    documents = [one for one in yaml.safe_load_all(text) if one]
    documents[-1]["metadata"]["namespace"] = NAMESPACE
    return documents


def generic(name):
    """Without the hash that kustomize appends."""
    return re.sub(r"-[a-z0-9]{10}$", "", name)


def check(documents, program):
    return schemas(documents) or [*security(documents), *references(documents), *settings(documents, program)]


def schemas(documents):
    found = []
    for one in documents:
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(one, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                where = "/".join(map(str, error.path))
                found.append(f"{one.get('kind')} {one.get('metadata', {}).get('name')}: {where}: {error.message}")
    return found


def workloads(documents):
    for one in documents:
        if one["kind"] in ("Deployment", "StatefulSet"):
            yield one, one["spec"]["template"]["spec"]


def security(documents):
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/, the restricted profile, and no more rights than needed."""
    for one, pod in workloads(documents):
        name = one["metadata"]["name"]
        context = pod.get("securityContext", {})
        rules = {
            "runAsNonRoot": context.get("runAsNonRoot") is True,
            "runAsUser": context.get("runAsUser", 0) != 0,
            "seccompProfile": context.get("seccompProfile", {}).get("type") == "RuntimeDefault",
            "host namespaces": not any(pod.get(key) for key in ("hostNetwork", "hostPID", "hostIPC")),
            "volumes": all(set(volume) & {"configMap", "emptyDir", "secret"} for volume in pod.get("volumes", [])),
            "automountServiceAccountToken": pod.get("automountServiceAccountToken") is False,
            # The names of Services as variables of ours would be unknown settings.
            "enableServiceLinks": pod.get("enableServiceLinks") is False,
        }
        for container in pod["containers"] + pod.get("initContainers", []):
            own = container.get("securityContext", {})
            rules |= {
                "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
                "capabilities": own.get("capabilities") == {"drop": ["ALL"]},
                "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
                "privileged": not own.get("privileged"),
                "own user": not {"runAsUser", "runAsNonRoot", "seccompProfile"} & set(own),
                "hostPort": not any("hostPort" in port for port in container.get("ports", [])),
                "limits": {"memory"} <= set(container.get("resources", {}).get("limits", {})),
                "probes": {"livenessProbe", "readinessProbe"} <= set(container),
                "image": re.search(r":[v0-9][^:/]*$", container["image"]) is not None,
            }
            yield from (f"{name}: {rule}" for rule, holds in rules.items() if not holds)


def references(documents):
    labels = {one["metadata"]["name"]: one["spec"]["template"]["metadata"]["labels"] for one, _ in workloads(documents)}
    ports = {
        one["metadata"]["name"]: {
            port["name"]: (port["containerPort"], port.get("protocol", "TCP")) for port in pod["containers"][0]["ports"]
        }
        for one, pod in workloads(documents)
    }
    chosen = lambda selector: [name for name, has in labels.items() if selector.items() <= has.items()]
    data = {
        (one["kind"], one["metadata"]["name"]): set(one.get("data", {})) | set(one.get("stringData", {}))
        for one in documents
        if one["kind"] in ("ConfigMap", "Secret")
    }
    data |= {("Secret", name): keys for name, keys in CHANNEL.items()}
    for one in documents:
        kind, name = one["kind"], one["metadata"]["name"]
        if kind != "Namespace" and one["metadata"].get("namespace") != NAMESPACE:
            yield f"{kind} {name}: is in no namespace of ours"
        if kind == "Service":
            pods = chosen(one["spec"]["selector"])
            if len(pods) != 1:
                yield f"Service {name}: its selector chooses {pods}"
            for port in one["spec"]["ports"]:
                if ports[pods[0]].get(port["targetPort"], (0, ""))[1] != port.get("protocol", "TCP") if pods else False:
                    yield f"Service {name}: {pods[0]} has no port {port['targetPort']} of that protocol"
        if kind in ("PodDisruptionBudget", "NetworkPolicy"):
            selector = one["spec"].get("selector", one["spec"].get("podSelector")).get("matchLabels", {})
            if not chosen(selector):
                yield f"{kind} {name}: is about no pods"
            for rule in one["spec"].get("ingress", []):
                for port in rule.get("ports", []):
                    if any(ports[pod].get(port["port"], (0, ""))[1] != port["protocol"] for pod in chosen(selector)):
                        yield f"NetworkPolicy {name}: no port {port['port']} there"
                for peer in rule.get("from", []):
                    if not chosen(peer["podSelector"].get("matchLabels", {})):
                        yield f"NetworkPolicy {name}: lets nobody in"
    for one, pod in workloads(documents):
        name = one["metadata"]["name"]
        if not one["spec"]["selector"]["matchLabels"].items() <= labels[name].items():
            yield f"{name}: does not choose its own pods"
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        claims = {claim["metadata"]["name"] for claim in one["spec"].get("volumeClaimTemplates", [])}
        wanted = []
        for volume in volumes.values():
            if "configMap" in volume:
                wanted.append(("ConfigMap", volume["configMap"]["name"], set()))
            if "secret" in volume:
                keys = {item["key"] for item in volume["secret"].get("items", [])}
                wanted.append(("Secret", volume["secret"]["secretName"], keys))
        for container in pod["containers"]:
            for variable in container.get("env", []):
                source = variable.get("valueFrom", {}).get("secretKeyRef")
                if source:
                    wanted.append(("Secret", source["name"], {source["key"]}))
            for mount in container["volumeMounts"]:
                if mount["name"] not in volumes.keys() | claims:
                    yield f"{name}: no volume {mount['name']}"
                    continue
                source = volumes.get(mount["name"], {}).get("configMap")
                if source and "subPath" in mount:
                    wanted.append(("ConfigMap", source["name"], {mount["subPath"]}))
            for probe in ("livenessProbe", "readinessProbe"):
                if container[probe]["httpGet"]["port"] not in ports[name]:
                    yield f"{name}: the {probe} asks at no port"
        for kind, source, keys in wanted:
            if not keys <= data.get((kind, source), set()) or (kind, source) not in data:
                yield f"{name}: {kind} {source} lacks {sorted(keys) or 'everything'}"
        service = one["spec"].get("serviceName")
        if service and ("Service", service) not in {(other["kind"], other["metadata"]["name"]) for other in documents}:
            yield f"{name}: no Service {service}"


def settings(documents, program):
    """The program takes its settings, answers where probes and Prometheus ask, and Prometheus takes its own."""
    maps = {generic(one["metadata"]["name"]): one["data"] for one in documents if one["kind"] == "ConfigMap"}
    services = {one["metadata"]["name"]: one["spec"] for one in documents if one["kind"] == "Service"}
    pods = {one["metadata"]["name"]: pod for one, pod in workloads(documents)}
    with tempfile.TemporaryDirectory() as folder:
        for role in ("splitter", "peer"):
            container = pods[role]["containers"][0]
            path = Path(folder, f"{role}.toml")
            path.write_text(maps["p2psp-settings"][path.name])
            mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
            if container["args"][:3] != [role, "--config", f"/etc/p2psp/{path.name}"] or container["args"][2] not in mounts:
                yield f"{role}: does not run with its settings"
            shown = printed(program, role, {}, path)
            if isinstance(shown, Exception):
                yield f"{role}: {shown}"
                continue
            for key, file in re.findall(r'^(key|admin_\w+) = "(.*)"', shown, re.M):
                if not any(file.startswith(mount + "/") for mount in mounts):
                    yield f"{role}: {key} is {file}, and nothing is mounted there"
            numbers = {port["name"]: port["containerPort"] for port in container["ports"]}
            for key, port in (("listen", "team"), ("player", "player"), ("admin", "admin")):
                value = re.search(rf"^{key} = (.*)", shown, re.M)
                if port in numbers and (not value or f"0.0.0.0:{numbers[port]}" not in value.group(1)):
                    yield f"{role}: {key} is {value and value.group(1)}, and not at the port {port}, {numbers[port]}"
        config = yaml.safe_load(maps["p2psp-prometheus"]["prometheus.yml"])
        for job in config["scrape_configs"]:
            for source in job["dns_sd_configs"]:
                for name in source["names"]:
                    service = services.get(name.removesuffix(f".{NAMESPACE}.svc.cluster.local"), {})
                    if source["port"] not in [port["port"] for port in service.get("ports", [])]:
                        yield f"prometheus.yml: {name} has no port {source['port']}"
        yield from promtool(maps["p2psp-prometheus"].items(), ("/etc/p2psp/admin/", f"{folder}/"), folder)


def promtool(files, replaced, folder):
    for name, text in files:
        Path(folder, name).write_text(text.replace(*replaced))
    for secret in ("tls.crt", "scrape-token"):
        Path(folder, secret).touch()
    done = subprocess.run(
        ["promtool", "check", "config", "--syntax-only", f"{folder}/prometheus.yml"], capture_output=True, text=True
    )
    if done.returncode != 0:
        yield f"prometheus.yml: {done.stdout}{done.stderr}"


def printed(program, role, variables, path=None):
    """The settings in force, or why there are none."""
    command = [program, "config", "print", role, *(["--config", str(path)] if path else [])]
    link = {} if role == "splitter" else {"P2PSP_PEER_LINK": LINK}
    environment = {"PATH": os.environ["PATH"], **link, **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    return done.stdout if done.returncode == 0 else RuntimeError(done.stderr)


def compose(program):
    # Once as it comes, and once with all that example.env tells of.
    example = dict(re.findall(r"^#?([A-Z0-9_]+)=(.*)$", (ROOT / "deploy/compose/example.env").read_text(), re.M))
    plain = {"PATH": os.environ["PATH"], "GRAFANA_PASSWORD": "for this check"}
    chosen = {**plain, **{key: value or "for this check" for key, value in example.items()}}
    chosen["P2PSP_PEER_LINK"] = LINK
    for environment in (plain, chosen):
        yield from composed(program, environment)


def composed(program, environment):
    command = ["docker-compose", "-f", "deploy/compose/compose.yaml", "--profile", "peers", "config"]
    services = yaml.safe_load(output(*command, env=environment))["services"]
    passed = {key for service in services.values() for key in service.get("environment", {})}
    for key in sorted(environment.keys() - passed - {"PATH", "COMPOSE_PROFILES", "GRAFANA_PASSWORD", "PLAYER_IP"}):
        yield f"example.env: {key} is nothing that compose.yaml passes on"
    answering = set()
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0] if isinstance(volume, str) else volume["source"]
            if source.startswith("/") and not Path(source).exists():
                yield f"compose.yaml: {name} mounts {source}, which is not there"
        if service["command"][0] not in ("splitter", "peer") if "command" in service else True:
            continue
        role = service["command"][0]
        variables = {key: value for key, value in service["environment"].items() if value is not None}
        shown = printed(program, role, variables, ROOT / "deploy/container/p2psp.toml")
        if isinstance(shown, Exception):
            yield f"compose.yaml: {name}: {shown}"
            continue
        answering |= set(re.findall(r"127\.0\.0\.1:44[0-9]+", re.search(r"^admin = (.*)", shown, re.M).group(1)))
        if not service.get("read_only") or service.get("cap_drop") != ["ALL"]:
            yield f"compose.yaml: {name} may do more than it needs"
    config = ROOT / "deploy/compose/prometheus.yml"
    asked = [target for job in yaml.safe_load(config.read_text())["scrape_configs"] for group in job["static_configs"] for target in group["targets"]]
    if sorted(asked) != sorted(answering):
        yield f"compose.yaml: Prometheus asks {sorted(asked)}, and {sorted(answering)} answer"
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "deploy/prometheus/p2psp.rules.yml", folder)
        yield from promtool([("prometheus.yml", config.read_text())], ("", ""), folder)


def provisioning():
    """What Grafana is told, by the folder and the file that it stands in."""
    folder = ROOT / "deploy/grafana/provisioning"
    return {str(path.relative_to(folder)): yaml.safe_load(path.read_text()) for path in sorted(folder.glob("*/*.yml"))}


def grafana(told):
    """Its dashboards are where the documents and Compose put them, and its data is where Prometheus answers."""
    if sorted(told) != ["dashboards/p2psp.yml", "datasources/prometheus.yml"]:
        return [f"provisioning: {sorted(told)} is not all that Grafana needs"]
    found = [f"{name}: apiVersion is not 1" for name, one in told.items() if one.get("apiVersion") != 1]
    paths = [(one.get("type"), one.get("options", {}).get("path")) for one in told["dashboards/p2psp.yml"].get("providers", [])]
    operating = (ROOT / "docs/operating.md").read_text()
    copied = re.search(r"`deploy/grafana/dashboards/` to\s+`(/[^`]+?)/?`", operating)
    services = yaml.safe_load((ROOT / "deploy/compose/compose.yaml").read_text())["services"]
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    for where, place in {"operating.md": copied and copied[1], "compose.yaml": mounted.get("../grafana/dashboards")}.items():
        if paths != [("file", place)]:
            found.append(f"dashboards/p2psp.yml: {paths} is not where {where} puts dashboards, {place}")
    sources = [(one.get("type"), one.get("url")) for one in told["datasources/prometheus.yml"].get("datasources", [])]
    listen = next(word for word in services["prometheus"]["command"] if "listen-address" in word).partition("=")[2]
    if sources != [("prometheus", f"http://{listen}")]:
        found.append(f"datasources/prometheus.yml: {sources} is not the Prometheus of compose.yaml, {listen}")
    return found


def pod(objects, kind, name):
    return objects[kind, name]["spec"]["template"]["spec"]


def first(objects, kind, name):
    return pod(objects, kind, name)["containers"][0]


def edited(objects, name, file, old, new):
    data = objects["ConfigMap", name]["data"]
    assert old in data[file]
    data[file] = data[file].replace(old, new)


FAULTS = {
    "a misspelt field": lambda o: first(o, "Deployment", "peer").update(readynessProbe={}),
    "a port that is a word": lambda o: o["Service", "splitter"]["spec"]["ports"][0].update(port="4480"),
    "root": lambda o: pod(o, "StatefulSet", "splitter")["securityContext"].update(runAsUser=0),
    "a capability": lambda o: first(o, "Deployment", "peer")["securityContext"].update(capabilities={"add": ["NET_ADMIN"]}),
    "no seccomp profile": lambda o: pod(o, "Deployment", "peer")["securityContext"].pop("seccompProfile"),
    "the host's network": lambda o: pod(o, "Deployment", "peer").update(hostNetwork=True),
    "an image of no version": lambda o: first(o, "StatefulSet", "splitter").update(image="p2psp"),
    "a Service of nobody": lambda o: o["Service", "player"]["spec"]["selector"].update({"app.kubernetes.io/component": "player"}),
    "TCP for a UDP port": lambda o: o["Service", "splitter"]["spec"]["ports"][0].update(protocol="TCP"),
    "a budget of nobody": lambda o: o["PodDisruptionBudget", "peer"]["spec"]["selector"].update(matchLabels={"a": "b"}),
    "a policy that lets nobody in": lambda o: o["NetworkPolicy", "peer"]["spec"]["ingress"][1].update(
        {"from": [{"podSelector": {"matchLabels": {"a": "b"}}}]}
    ),
    "a key that the Secret lacks": lambda o: o["Secret", "p2psp-admin"]["stringData"].pop("tokens"),
    "a volume that is not there": lambda o: first(o, "StatefulSet", "splitter")["volumeMounts"][0].update(name="keys"),
    "a probe at no port": lambda o: first(o, "Deployment", "peer")["livenessProbe"]["httpGet"].update(port="health"),
    "an unknown setting": lambda o: edited(o, "p2psp-settings", "peer.toml", "player_host", "player_hosts"),
    "a port that is another one": lambda o: edited(o, "p2psp-settings", "splitter.toml", "0.0.0.0:4490", "0.0.0.0:4499"),
    "a key in no volume": lambda o: edited(o, "p2psp-settings", "splitter.toml", "/var/lib/p2psp", "/var/lib/other"),
    "a Service that Prometheus cannot find": lambda o: edited(o, "p2psp-prometheus", "prometheus.yml", "peer-admin", "peers-admin"),
    "an unknown word for Prometheus": lambda o: edited(o, "p2psp-prometheus", "prometheus.yml", "scheme:", "schema:"),
}

GRAFANA_FAULTS = {
    "a file that is not there": lambda told: told.pop("dashboards/p2psp.yml"),
    "another version": lambda told: told["datasources/prometheus.yml"].update(apiVersion=2),
    "dashboards in another place": lambda told: told["dashboards/p2psp.yml"]["providers"][0]["options"].update(path="/var/lib/grafana/dashboards"),
    "a Prometheus at another port": lambda told: told["datasources/prometheus.yml"]["datasources"][0].update(url="http://127.0.0.1:9091"),
}

if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--faults"]
    if len(words) != 1:
        sys.exit("usage: manifests.py [--faults] PROGRAM")
    main(str(Path(words[0]).resolve()), "--faults" in sys.argv)
