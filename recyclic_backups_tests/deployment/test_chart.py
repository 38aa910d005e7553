"""docker/kubernetes/values.yaml as the chart renders it, against Kubernetes' schemas, Dagster, and our policies.

Only where the chart is at hand: DAGSTER_CHART is the directory of the unpacked chart, and ``helm`` is on the PATH
(.github/workflows/test.yml does so).
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]
from dagster._core.instance.config import dagster_instance_config

from recyclic_backups_tests.deployment.test_kubernetes import DEPLOYMENT, HOME, PART, VALUES, VERSIONS
from recyclic_backups_tests.docs.pages import read

pytestmark = pytest.mark.skipif(
    not os.environ.get("DAGSTER_CHART"), reason="chart: DAGSTER_CHART is not set: the chart's directory"
)


@functools.cache
def _rendered() -> list[dict[str, Any]]:
    """What the chart makes of our values."""
    helm = shutil.which("helm")
    assert helm, "no helm on the PATH"
    command = [helm, "template", "backups", os.environ["DAGSTER_CHART"]]
    command += ["--namespace", "backups", "-f", str(HOME / "values.yaml")]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return [each for each in yaml.safe_load_all(made.stdout) if each]


def _rendered_pods() -> dict[str, list[dict[str, Any]]]:
    """Specifications of the rendered deployments' pods by the label that our policies select."""
    pods: dict[str, list[dict[str, Any]]] = {}
    for each in _rendered():
        if each["kind"] == "Deployment":
            template = each["spec"]["template"]
            pods.setdefault(template["metadata"]["labels"][PART], []).append(template["spec"])
    return pods


def test_the_chart_renders_with_our_values() -> None:
    """Loss prevented: values that the chart's own schema, or the cluster, refuses."""
    for document in _rendered():
        for version in VERSIONS:
            kubernetes_validate.validate(document, version, strict=True)
    kinds = {each["kind"] for each in _rendered()}
    assert {"ConfigMap", "Deployment", "Service", "Role", "RoleBinding"} <= kinds
    assert not {"Ingress", "Secret"} & kinds, "secrets are ours, and nothing leads to the pages"


def test_dagster_takes_the_configuration_that_the_chart_writes(tmp_path: Path) -> None:
    """Loss prevented: a daemon that ends as soon as it starts, night after night."""
    (text,) = [
        each["data"]["dagster.yaml"]
        for each in _rendered()
        if each["kind"] == "ConfigMap" and "dagster.yaml" in (each["data"] or {})
    ]
    (tmp_path / "dagster.yaml").write_text(text)
    instance, _custom = dagster_instance_config(str(tmp_path))
    single = yaml.safe_load(read("dagster.yaml"))
    for name in ("concurrency", "nux", "telemetry"):
        assert instance[name] == single[name]
    assert instance["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert instance["run_retries"].get("max_retries", 0) == 0
    assert instance["run_monitoring"]["enabled"] is True
    assert (
        instance["run_monitoring"]["max_runtime_seconds"] == single["run_monitoring"]["max_runtime_seconds"]
    )
    assert instance["run_launcher"]["class"] == "K8sRunLauncher"
    for storage in ("run_storage", "event_log_storage", "schedule_storage"):
        database = instance[storage]["config"]["postgres_db"]
        assert database["scheme"] == "postgresql+psycopg2"
        assert database["password"] == {"env": "DAGSTER_PG_PASSWORD"}


def test_pods_of_the_chart_have_their_labels_secrets_ports_and_rights() -> None:
    """Loss prevented: a password that whoever breaks into a run gets by asking the cluster for it."""
    pods = _rendered_pods()
    assert {part: len(each) for part, each in pods.items()} == {"code": 1, "daemon": 1, "pages": 2}
    for spec in itertools.chain(*pods.values()):
        assert spec["securityContext"]["runAsNonRoot"] is True
        (container,) = spec["containers"]
        (password,) = [each for each in container["env"] if each["name"] == "DAGSTER_PG_PASSWORD"]
        reference = password["valueFrom"]["secretKeyRef"]
        assert reference == {"name": VALUES["global"]["postgresqlSecretName"], "key": "postgresql-password"}
        for each in (*spec.get("initContainers", []), container):
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
    (code,) = pods["code"]
    assert code["containers"][0]["securityContext"]["readOnlyRootFilesystem"] is True
    services = {
        each["metadata"]["name"]: each["spec"]["ports"][0]["port"]
        for each in _rendered()
        if each["kind"] == "Service"
    }
    assert services == {
        DEPLOYMENT["name"]: DEPLOYMENT["port"],
        "backups-dagster-webserver": VALUES["dagsterWebserver"]["service"]["port"],
        "backups-dagster-webserver-read-only": VALUES["dagsterWebserver"]["service"]["port"],
    }
    assert "service/backups-dagster-webserver 3000:8080" in read("docs/kubernetes.md")
    bound = {
        subject["name"]
        for each in _rendered()
        if each["kind"].endswith("RoleBinding")
        for subject in each["subjects"]
    }
    assert bound == {spec["serviceAccountName"] for spec in (*pods["daemon"], *pods["pages"])}
    assert code["serviceAccountName"] not in bound, "the token that runs get permits nothing"
