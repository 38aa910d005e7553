"""docker/kubernetes: manifests against Kubernetes' own schemas, values against the chart's keys, each with the other.

What the chart makes of the values is in test_chart.py.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import kubernetes_validate
import pytest
import yaml  # type: ignore[import-untyped]

from recyclic_backups import __version__
from recyclic_backups.backup_calendar import Tier
from recyclic_backups.cli.commands import parser
from recyclic_backups.config.load import load_settings
from recyclic_backups.config.settings import Settings
from recyclic_backups_tests.docs.pages import PROJECT, read

HOME = PROJECT / "docker" / "kubernetes"
VERSIONS = ("1.27", "1.30", "1.33")
"""Versions of Kubernetes whose schemas are asked; 1.27 is the first in which a CronJob's timeZone is settled."""

MANIFESTS = sorted(path for path in HOME.glob("*.yaml") if path.name != "values.yaml")
VALUES: dict[str, Any] = yaml.safe_load((HOME / "values.yaml").read_text())
(DEPLOYMENT,) = VALUES["dagster-user-deployments"]["deployments"]
SECRETS = "/run/secrets/recyclic-backups/"
PART = "recyclic-backups/part"
SERVED_ON_A_PORT = "BACKUP_CODE_SERVER_TCP"

CHART_KNOWS = {
    "": "global nameOverride fullnameOverride rbacEnabled imagePullSecrets dagsterWebserver computeLogManager "
    "pythonLogs dagster-user-deployments scheduler runLauncher postgresql generatePostgresqlPasswordSecret "
    "generateCeleryConfigSecret rabbitmq redis flower ingress dagsterDaemon busybox extraManifests migrate telemetry "
    "serviceAccount retention concurrency additionalInstanceConfig",
    "global": "postgresqlSecretName postgresqlAuthWifEnabled dagsterHome serviceAccountName celeryConfigSecretName "
    "dagsterInstanceConfigMap",
    "postgresql": "enabled image postgresqlHost postgresqlUsername postgresqlPassword postgresqlDatabase "
    "postgresqlParams postgresqlScheme service",
    "dagsterWebserver": "replicaCount image nameOverride pathPrefix service workspace enableReadOnly "
    "dbStatementTimeout dbPoolRecycle logLevel env envConfigMaps envSecrets deploymentLabels labels volumes "
    "volumeMounts annotations nodeSelector affinity tolerations podSecurityContext securityContext resources "
    "initContainerResources schedulerName readinessProbe livenessProbe startupProbe",
    "dagsterDaemon": "enabled image heartbeatTolerance runCoordinator runMonitoring runRetries sensors schedules env "
    "envConfigMaps envSecrets deploymentLabels labels volumes volumeMounts annotations nodeSelector affinity "
    "tolerations podSecurityContext securityContext resources initContainerResources schedulerName livenessProbe "
    "readinessProbe startupProbe",
    "dagsterDaemon.runMonitoring": "enabled startTimeoutSeconds cancelTimeoutSeconds pollIntervalSeconds "
    "maxResumeRunAttempts freeSlotsAfterRunEndSeconds maxRuntimeSeconds",
    "dagsterDaemon.runRetries": "enabled maxRetries retryOnAssetOrOpFailure",
    "dagsterDaemon.runCoordinator": "enabled type config",
    "runLauncher": "type config",
    "runLauncher.config": "k8sRunLauncher celeryK8sRunLauncher customRunLauncher",
    "runLauncher.config.k8sRunLauncher": "imagePullPolicy image jobNamespace loadInclusterConfig kubeconfigFile "
    "envConfigMaps envSecrets envVars volumes volumeMounts labels resources schedulerName failPodOnRunFailure "
    "securityContext runK8sConfig",
    "runLauncher.config.k8sRunLauncher.runK8sConfig": "containerConfig podTemplateSpecMetadata podSpecConfig "
    "jobSpecConfig jobMetadata",
    "dagster-user-deployments": "enabled enableSubchart imagePullSecrets deployments rbacEnabled",
    "dagster-user-deployments.deployments": "name image dagsterApiGrpcArgs codeServerArgs port "
    "includeConfigInLaunchedRuns env envConfigMaps envSecrets labels volumes volumeMounts initContainers "
    "sidecarContainers annotations nodeSelector affinity tolerations podSecurityContext securityContext resources "
    "schedulerName readinessProbe livenessProbe startupProbe service deploymentStrategy serviceAccount",
    "retention": "enabled schedule sensor autoMaterialize",
    "concurrency": "enabled pools runs",
    "concurrency.pools": "defaultLimit granularity opGranularityRunBuffer",
    "concurrency.runs": "maxConcurrentRuns tagConcurrencyLimits",
    "computeLogManager": "type config",
    "telemetry": "enabled",
    "ingress": "enabled annotations labels ingressClassName dagsterWebserver readOnlyDagsterWebserver flower",
}
"""Keys that the chart's own values.yaml documents, for each part that ours sets."""


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    yield from yaml.safe_load_all(path.read_text())


def _only(kind: str) -> dict[str, Any]:
    (found,) = [each for path in MANIFESTS for each in _documents(path) if each["kind"] == kind]
    return found


def _cron_pod() -> dict[str, Any]:
    pod: dict[str, Any] = _only("CronJob")["spec"]["jobTemplate"]["spec"]["template"]
    return pod


def _receiver_pod() -> dict[str, Any]:
    pod: dict[str, Any] = _only("Deployment")["spec"]["template"]
    return pod


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifests_are_valid(path: Path, version: str) -> None:
    """Loss prevented: a policy or a job that the cluster never took, because of a misspelt key."""
    documents = list(_documents(path))
    assert documents
    for document in documents:
        kubernetes_validate.validate(document, version, strict=True)
        assert document["metadata"]["namespace"] == "backups"
        assert document["metadata"]["labels"]["app.kubernetes.io/part-of"] == "recyclic-backups"


def test_values_have_only_keys_that_the_chart_documents() -> None:
    """Loss prevented: a setting that Helm drops without a word, such as the driver or the pool of one."""
    for where, known in CHART_KNOWS.items():
        part: Any = VALUES
        for step in filter(None, where.split(".")):
            part = part[step]
        for each in part if isinstance(part, list) else [part]:
            assert set(each) <= set(known.split()), f"{where}: {set(each) - set(known.split())}"


def test_pods_of_the_values_are_valid_as_kubernetes_sees_them() -> None:
    """Loss prevented: the same for what the chart copies into pods as it is written."""
    pod = {
        "containers": [
            {
                "name": "code",
                "image": f"{DEPLOYMENT['image']['repository']}:{DEPLOYMENT['image']['tag']}",
                **{
                    name: DEPLOYMENT[name] for name in ("env", "volumeMounts", "securityContext", "resources")
                },
            }
        ],
        "restartPolicy": "Never",
        "volumes": DEPLOYMENT["volumes"],
        "securityContext": DEPLOYMENT["podSecurityContext"],
    }
    run = VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "run"},
        "spec": {
            **run["jobSpecConfig"],
            "template": {
                "metadata": {"labels": DEPLOYMENT["labels"], **run["podTemplateSpecMetadata"]},
                "spec": {**pod, **run["podSpecConfig"]},
            },
        },
    }
    for version in VERSIONS:
        kubernetes_validate.validate(job, version, strict=True)


def _settings(variables: list[dict[str, str]], tmp_path: Path) -> Settings:
    """The settings that a container gets, with its secrets in a directory of ours."""
    given = {}
    for each in variables:
        name, value = each["name"], each["value"]
        assert isinstance(value, str), f"{name}: a variable of a container is a text, in quotes"
        if value.startswith(SECRETS):
            file = tmp_path / value.removeprefix(SECRETS)
            file.write_text("sixteen characters or more\n")
            value = str(file)
        given[name] = value
    return load_settings(given)


def test_runs_and_the_job_without_dagster_have_the_same_settings(tmp_path: Path) -> None:
    """Loss prevented: a second backup into another storage, or with a key that nobody has."""
    (container,) = _cron_pod()["spec"]["containers"]
    # The job listens nowhere.
    settings = _settings([each for each in DEPLOYMENT["env"] if each["name"] != SERVED_ON_A_PORT], tmp_path)
    assert settings == _settings(container["env"], tmp_path)
    assert settings.encryption
    assert settings.sslmode == "verify-full"
    assert settings.storage_url == "file:///backups"
    names = {each["name"] for each in DEPLOYMENT["env"]}
    assert not {"POSTGRES_PASSWORD", "BACKUP_ENCRYPTION_KEY"} & names, (
        "a secret is a file, never in a manifest"
    )


def test_the_receiver_of_wal_writes_where_backups_are_and_is_one(tmp_path: Path) -> None:
    """Loss prevented: WAL in another storage than its base backups; two receivers at one slot during a rollout."""
    spec = _only("Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    (container,) = _receiver_pod()["spec"]["containers"]
    assert parser().parse_args(container["args"]).verb == "receive"
    assert "command" not in container, "the image's entry point is the command line"
    (job,) = _cron_pod()["spec"]["containers"]
    assert container["image"] == job["image"]
    theirs = {each["name"]: each["value"] for each in job["env"]}
    ours = {each["name"]: each["value"] for each in container["env"]}
    assert ours.pop("WAL_ARCHIVE") == "true"
    assert ours.items() <= theirs.items()
    assert _settings(container["env"], tmp_path).encryption
    assert container["readinessProbe"]["exec"]["command"] == ["healthcheck", "wal"]
    assert "livenessProbe" not in container, "a restart brings neither the server nor the storage back"
    assert _receiver_pod()["spec"]["terminationGracePeriodSeconds"] >= 20
    assert spec["selector"]["matchLabels"].items() <= _receiver_pod()["metadata"]["labels"].items()


def test_a_port_of_the_code_server_comes_with_the_policy_that_closes_it() -> None:
    """Attack prevented: any pod of the cluster has the code server run its program, with the key in reach."""
    assert {each["name"]: each["value"] for each in DEPLOYMENT["env"]}[SERVED_ON_A_PORT] == "true"
    policies = [
        each["spec"]
        for path in MANIFESTS
        for each in _documents(path)
        if each["kind"] == "NetworkPolicy"
        and each["spec"]["podSelector"].get("matchLabels", {}).get(PART) == DEPLOYMENT["labels"][PART]
    ]
    (policy,) = policies
    (rule,) = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": DEPLOYMENT["port"]}]
    # A pod selector without a namespace selector means pods of this namespace alone.
    (source,) = rule["from"]
    assert set(source) == {"podSelector"}
    (expression,) = source["podSelector"]["matchExpressions"]
    asks = {VALUES["dagsterDaemon"]["labels"][PART], VALUES["dagsterWebserver"]["labels"][PART]}
    assert (expression["key"], expression["operator"], set(expression["values"])) == (PART, "In", asks)
    assert policy["policyTypes"] == ["Ingress"]


def test_every_file_that_is_named_is_mounted_and_in_the_secret() -> None:
    """Loss prevented: a pod that starts at two in the morning and finds no password."""
    secrets = {
        each["metadata"]["name"]: each
        for path in MANIFESTS
        for each in _documents(path)
        if each["kind"] == "Secret"
    }
    claim = _only("PersistentVolumeClaim")["metadata"]["name"]
    (container,) = _cron_pod()["spec"]["containers"]
    (receiver,) = _receiver_pod()["spec"]["containers"]
    for env, mounts, volumes in (
        (DEPLOYMENT["env"], DEPLOYMENT["volumeMounts"], DEPLOYMENT["volumes"]),
        (container["env"], container["volumeMounts"], _cron_pod()["spec"]["volumes"]),
        (receiver["env"], receiver["volumeMounts"], _receiver_pod()["spec"]["volumes"]),
    ):
        assert {each["name"] for each in mounts} == {each["name"] for each in volumes}
        at = {each["name"]: each["mountPath"] for each in mounts}
        by_name = {each["name"]: each for each in volumes}
        assert by_name["backups"]["persistentVolumeClaim"]["claimName"] == claim
        assert at["backups"] == "/backups"
        assert at["secrets"] == SECRETS.rstrip("/")
        assert by_name["secrets"]["secret"]["defaultMode"] == 0o440
        keys = set(secrets[by_name["secrets"]["secret"]["secretName"]]["stringData"])
        files = {each["value"] for each in env if each["value"].startswith("/run/")}
        assert {each.removeprefix(SECRETS) for each in files} == keys
    dagster = secrets[VALUES["global"]["postgresqlSecretName"]]
    assert set(dagster["stringData"]) == {"postgresql-password"}, "the one key that the chart reads"


def test_nothing_runs_as_root_or_may_become_it() -> None:
    """Loss prevented: whoever breaks into one container owns its node, and every backup."""
    pods = [
        DEPLOYMENT["podSecurityContext"],
        _cron_pod()["spec"]["securityContext"],
        _receiver_pod()["spec"]["securityContext"],
        VALUES["dagsterWebserver"]["podSecurityContext"],
        VALUES["dagsterDaemon"]["podSecurityContext"],
        VALUES["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]["securityContext"],
    ]
    uid = re.search(r"ARG BACKUP_UID=(\d+)", read("docker/Dockerfile"))
    assert uid
    for pod in pods:
        assert pod["runAsNonRoot"] is True
        assert pod["runAsUser"] == int(uid[1]), "the user that the image makes"
    for container in (
        DEPLOYMENT["securityContext"],
        VALUES["runLauncher"]["config"]["k8sRunLauncher"]["securityContext"],
        _cron_pod()["spec"]["containers"][0]["securityContext"],
        _receiver_pod()["spec"]["containers"][0]["securityContext"],
    ):
        assert container["readOnlyRootFilesystem"] is True
        assert container["allowPrivilegeEscalation"] is False
        assert container["capabilities"] == {"drop": ["ALL"]}
    for pod in (_cron_pod(), _receiver_pod()):
        assert pod["spec"]["automountServiceAccountToken"] is False


def test_policies_and_the_budget_select_pods_that_there_are() -> None:
    """Loss prevented: a policy that protects nothing, since the label it looks for is on nothing."""
    parts = {
        DEPLOYMENT["labels"][PART],
        VALUES["dagsterWebserver"]["labels"][PART],
        VALUES["dagsterDaemon"]["labels"][PART],
        _cron_pod()["metadata"]["labels"][PART],
        _receiver_pod()["metadata"]["labels"][PART],
    }
    documents = [each for path in MANIFESTS for each in _documents(path)]
    guarded: dict[str, set[str]] = {"Ingress": set(), "Egress": set()}
    for document in documents:
        if document["kind"] not in ("NetworkPolicy", "PodDisruptionBudget"):
            continue
        selector = document["spec"].get("podSelector") or document["spec"]["selector"]
        chosen = set(selector.get("matchLabels", {}).values())
        for expression in selector.get("matchExpressions", []):
            chosen |= set(expression["values"])
        assert chosen
        assert chosen <= parts, document["metadata"]["name"]
        for direction in document["spec"].get("policyTypes", []):
            guarded[direction] |= chosen
    assert guarded["Ingress"] == parts
    assert guarded["Egress"] == {"code", "rescue", "wal"}, "those who hold the password and the key"
    ports = {
        port["port"]
        for each in documents
        if each["kind"] == "NetworkPolicy"
        for rule in each["spec"].get("ingress", [])
        for port in rule["ports"]
    }
    assert ports == {DEPLOYMENT["port"], VALUES["dagsterWebserver"]["service"]["port"]}
    assert VALUES["dagsterWebserver"]["readinessProbe"]["httpGet"]["port"] in ports


def test_the_job_without_dagster_takes_the_days_backup_at_another_hour(tmp_path: Path) -> None:
    """Loss prevented: two dumps of production at once, or a label on another day."""
    spec = _only("CronJob")["spec"]
    (container,) = _cron_pod()["spec"]["containers"]
    command = parser().parse_args(container["args"])
    assert (command.command if hasattr(command, "command") else container["args"][0]) == "backup"
    assert command.tier == Tier.DAILY
    assert "command" not in container, "the image's entry point is the command line"
    calendar = _settings(container["env"], tmp_path).calendar
    assert ZoneInfo(spec["timeZone"]) == calendar.timezone
    minute, hour, *rest = spec["schedule"].split()
    assert rest == ["*", "*", "*"]
    assert int(hour) >= calendar.hour + 2
    assert int(minute) == 0
    assert spec["concurrencyPolicy"] == "Forbid"


def test_images_and_the_chart_are_of_this_version() -> None:
    """Loss prevented: runs whose Dagster and daemon's do not understand each other, after an upgrade of one."""
    (container,) = _cron_pod()["spec"]["containers"]
    assert DEPLOYMENT["image"]["tag"] == __version__
    assert container["image"].endswith(f"-rescue:{__version__}")
    dependencies = tomllib.loads(read("pyproject.toml"))["project"]["dependencies"]
    (dagster,) = [each.partition("==")[2] for each in dependencies if each.startswith("dagster==")]
    (postgres,) = [each.partition("==")[2] for each in dependencies if each.startswith("dagster-postgres==")]
    assert f"version {dagster}" in read("docker/kubernetes/values.yaml")
    assert f"--version {dagster} " in read("docs/kubernetes.md")
    lock = read("docker/kubernetes/dagster-k8s.lock")
    assert f"\ndagster=={dagster} " in lock
    assert f"\ndagster-k8s=={postgres} " in lock, "Dagster's libraries are released together"
    images = dict(re.findall(r"^([\w.-]+)==(\S+)", read("docker/locks/dagster.lock"), re.MULTILINE))
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE):
        assert images.get(name, version) == version, f"docker/kubernetes/dagster-k8s.lock moves {name}"


def test_the_image_is_made_of_what_its_context_holds() -> None:
    """Loss prevented: an image that cannot be built, since the top's .dockerignore leaves out what it copies."""
    context = re.search(
        r"docker build .* (docker/kubernetes)$", read("docker/kubernetes/Dockerfile"), re.MULTILINE
    )
    assert context
    assert f" {context[1]}\n" in read("docs/kubernetes.md")
    for name in re.findall(r"^COPY (\S+) ", read("docker/kubernetes/Dockerfile"), re.MULTILINE):
        assert (PROJECT / context[1] / name).is_file()


def _as_dagster_writes(part: Any) -> Any:
    """Names of the chart's values as dagster.yaml has them: ``maxRetries`` is ``max_retries``."""
    if not isinstance(part, dict):
        return part
    return {
        re.sub("[A-Z]", lambda found: f"_{found[0].lower()}", name): _as_dagster_writes(value)
        for name, value in part.items()
    }


def test_dagsters_configuration_is_that_of_a_single_machine() -> None:
    """Loss prevented: two backups of one server at once, in the one deployment where the pool was forgotten."""
    single = yaml.safe_load(read("dagster.yaml"))
    concurrency = _as_dagster_writes(VALUES["concurrency"])
    assert concurrency == {"enabled": True, **single["concurrency"]}
    assert VALUES["additionalInstanceConfig"]["nux"] == single["nux"]
    assert VALUES["telemetry"] == single["telemetry"]
    daemon = VALUES["dagsterDaemon"]
    assert _as_dagster_writes(daemon["runRetries"]) == single["run_retries"]
    monitoring = _as_dagster_writes(daemon["runMonitoring"])
    assert monitoring["enabled"] is True
    for name in ("max_runtime_seconds", "free_slots_after_run_end_seconds"):
        assert monitoring[name] == single["run_monitoring"][name]
    assert VALUES["postgresql"]["postgresqlScheme"] == "postgresql+psycopg2"
    assert VALUES["ingress"]["enabled"] is False, "the pages have no login of their own"


def test_only_one_part_of_the_values_limits_runs() -> None:
    """Loss prevented: no daemon, no pages and no run: Dagster refuses a configuration with two limits."""
    assert VALUES["concurrency"]["enabled"] is True, "otherwise the chart writes a limit of the coordinator"
    assert VALUES["dagsterDaemon"]["runCoordinator"]["config"] == {"queuedRunCoordinator": {}}
    written_by_the_chart = {"concurrency", "run_coordinator", "run_monitoring", "run_retries", "retention"}
    assert not written_by_the_chart & set(VALUES["additionalInstanceConfig"])
