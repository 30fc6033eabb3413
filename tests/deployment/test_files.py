"""The files of deploy/ are well formed, start commands that exist, and hold no secret."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ByteSize, TypeAdapter

from winback.cli import app
from winback.settings import LISTEN_PORT, PROJECT_ROOT, Settings

DEPLOY = PROJECT_ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
BIN = Path(sys.executable).parent
USER = 10001
SENDERS = ("sender-0", "sender-1")


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    return loaded


def resources() -> list[dict[str, Any]]:
    """Every resource that Kustomize applies."""
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {path.name for path in KUBERNETES.glob("*.yaml")} == {*listed, "kustomization.yaml"}
    return [resource for name in listed for resource in yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))]


def pods() -> dict[str, dict[str, Any]]:
    """The pod's specification by the name of its stateful set."""
    return {found["metadata"]["name"]: found["spec"]["template"]["spec"] for found in resources() if found["kind"] == "StatefulSet"}


def containers(pod: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {one["name"]: one for one in [*pod.get("initContainers", []), *pod["containers"]]}


def _lint(tool: str, *arguments: str) -> None:
    if not (BIN / tool).exists():
        pytest.skip(f"{tool} is not installed")
    found = subprocess.run([BIN / tool, *arguments], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_compose_follows_its_specification() -> None:
    _lint("check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml"))


def test_kubernetes_knows_every_field() -> None:
    files = sorted(str(path) for path in KUBERNETES.glob("*.yaml") if path.name != "kustomization.yaml")
    _lint("kubernetes-validate", "--strict", *files)


def test_the_dockerfile_has_nothing_to_complain_of() -> None:
    _lint("hadolint", str(DEPLOY / "Dockerfile"))


def test_both_deployments_start_the_same_things() -> None:
    """The worker and the senders alone are reached differently: by a service's name, within the pod, or by a pod's name."""
    services = {name: service["command"] for name, service in compose()["services"].items() if name != "postgres"}
    in_pod = {name: container["command"] for name, container in containers(pods()["winback"]).items()}
    sender = containers(pods()["sender"])["sender"]["command"]

    assert services == in_pod | dict.fromkeys(SENDERS, sender)
    [config_map] = [found for found in resources() if found["kind"] == "ConfigMap" and found["metadata"]["name"] == "winback-workspace"]
    workspaces = [(DEPLOY / "workspace.yaml").read_text(encoding="utf-8"), config_map["data"]["workspace.yaml"]]
    for text in workspaces:
        servers = [one["grpc_server"] for one in yaml.safe_load(text)["load_from"]]
        assert [(server["port"], server["location_name"]) for server in servers] == [(4000, name) for name in ("winback", *SENDERS)]
    assert (DEPLOY / "postgres" / "dagster.sql").read_text(encoding="utf-8") in [
        found["data"].get("dagster.sql") for found in resources() if found["kind"] == "ConfigMap"
    ]


def test_every_sender_is_asked_and_sees_what_is_handed_out() -> None:
    """A name that nobody serves would be a run that nobody takes."""
    [in_cluster] = [found["data"] for found in resources() if "WINBACK_DISPATCH_SHARDS" in found.get("data", {})]
    [senders] = [found for found in resources() if found["metadata"]["name"] == "sender" and found["kind"] == "StatefulSet"]
    on_machine = compose()["x-winback"]["environment"]

    assert on_machine["WINBACK_DISPATCH_LOCATIONS"] == in_cluster["WINBACK_DISPATCH_LOCATIONS"] == ",".join(SENDERS)
    assert in_cluster["WINBACK_DISPATCH_SHARDS"] == str(1 + senders["spec"]["replicas"]) == str(1 + len(SENDERS))
    assert on_machine["WINBACK_DISPATCH_SHARDS"] == f"${{WINBACK_DISPATCH_SHARDS:-{1 + len(SENDERS)}}}"
    for pod in (pods()["winback"], pods()["sender"]):
        [claim] = [volume["persistentVolumeClaim"]["claimName"] for volume in pod["volumes"] if volume["name"] == "handouts"]
        assert claim == "handouts"
        for container in pod["containers"]:
            [path] = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "handouts"]
            assert path == in_cluster["WINBACK_DISPATCH_STORAGE"]
    assert [one["spec"]["accessModes"] for one in resources() if one["metadata"]["name"] == "handouts"] == [["ReadWriteMany"]]


def test_commands_exist() -> None:
    ours = {command.name for command in app.registered_commands} | {group.name for group in app.registered_groups}
    started = [container["command"] for pod in ("winback", "sender") for container in containers(pods()[pod]).values()]

    assert [command for command in started if command[0] == "winback" and command[1] not in ours] == []
    assert [command[0] for command in started if command[0] != "sh" and not (BIN / command[0]).exists()] == []
    assert ["winback", "listen", "--host", "0.0.0.0", "--port", str(LISTEN_PORT)] in started  # noqa: S104


def _settings_named(text: str) -> set[str]:
    return {name.lower() for name in re.findall(r"\bWINBACK_([A-Z_]+)", text)}


def test_settings_that_are_named_exist() -> None:
    beside_settings = {"link_keys", "image", "files"}
    for path in (*DEPLOY.rglob("*.yaml"), DEPLOY / "Dockerfile", PROJECT_ROOT / "docs" / "deployment.md"):
        unknown = _settings_named(path.read_text(encoding="utf-8")) - set(Settings.model_fields) - beside_settings
        assert unknown == set(), path.name


def test_what_runs_is_asked_how_it_is() -> None:
    for name, service in compose()["services"].items():
        assert "healthcheck" in service or service["restart"] == "no", name
    for pod in pods().values():
        for container in pod["containers"]:
            assert "livenessProbe" in container, container["name"]
            assert container["resources"]["limits"]["memory"], container["name"]


def test_who_opens_duckdb_has_more_memory_than_its_settings_take() -> None:
    """The settings of the worker are its own: in the secret they would hold for senders too, which have less memory and would be killed."""
    allowed = {}
    for pod, name in (("winback", "worker"), ("sender", "sender")):
        container = containers(pods()[pod])[name]
        own = {entry["name"]: entry["value"] for entry in container.get("env", [])}
        settings = Settings(
            threads=own.get("WINBACK_THREADS", Settings.model_fields["threads"].default),
            memory_limit=own.get("WINBACK_MEMORY_LIMIT", Settings.model_fields["memory_limit"].default),
        )
        size = TypeAdapter(ByteSize).validate_python
        memory = size(container["resources"]["limits"]["memory"].replace("Gi", "GiB"))
        assert size(settings.memory_limit) <= memory * 3 / 4, name
        allowed[name] = (settings.threads, int(container["resources"]["requests"]["cpu"]), settings.memory_limit, memory.to("GiB"))
    assert allowed["worker"] == (4, 4, "5GB", 8), "the medium size of docs/deployment.md"


def test_nobody_is_root_and_only_one_opens_the_workbench() -> None:
    for name, service in compose()["services"].items():
        assert service["user"] in (f"{USER}:{USER}", "postgres"), name
        assert service["cap_drop"] == ["ALL"], name
    dockerfile = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
    assert f"useradd --uid {USER} " in dockerfile
    assert dockerfile.index(f"USER {USER}") > dockerfile.index("COPY --from=build")
    for pod in pods().values():
        assert pod["securityContext"]["runAsNonRoot"]
        assert [name for name, one in containers(pod).items() if one["securityContext"]["allowPrivilegeEscalation"]] == []
    replicas = {found["metadata"]["name"]: found["spec"]["replicas"] for found in resources() if found["kind"] == "StatefulSet"}
    assert (replicas["winback"], replicas["postgres"]) == (1, 1)


def _strings(found: Any) -> Iterator[str]:
    if isinstance(found, Mapping):
        for value in found.values():
            yield from _strings(value)
    elif isinstance(found, list):
        for value in found:
            yield from _strings(value)
    elif isinstance(found, str):
        yield found


def test_no_secret_is_written_down() -> None:
    for text in _strings([compose(), resources()]):
        assert not re.search(r"://[^:@/]+:(?!\$\{)[^@]+@", text), text
    assert [found["metadata"]["name"] for found in resources() if found["kind"] == "Secret"] == []
    for pod in pods().values():
        literal = [entry for container in pod["containers"] for entry in container.get("env", []) if "PASSWORD" in entry["name"]]
        assert [entry for entry in literal if "value" in entry] == [], json.dumps(literal)


def test_the_image_is_built_without_what_is_private() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    assert {".git", "var", "**/.env"} <= set(ignored)
