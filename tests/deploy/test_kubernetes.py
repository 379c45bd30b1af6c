"""The manifests in deploy/kubernetes: valid by the schemas of Kubernetes and KEDA, and in agreement with Tidemill.

Kubernetes' schemas come with the package kubernetes-validate; KEDA's is in scaledobject.schema.yaml, which says from
where. That pods are really started by them can only be tried on a cluster.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tidemill.engine.config.sources import load
from tidemill.engine.serve.metrics import CATALOGUE
from tidemill.engine.serve.web import pages

HERE = Path(__file__).parent
MANIFESTS = HERE.parent.parent / "deploy" / "kubernetes"
VERSIONS = ["1.30", "1.34"]
KEDA = "keda.sh/v1alpha1"

TRIGGERS = {
    # pkg/scalers/prometheus_scaler.go and pkg/scalers/kafka_scaler.go of https://github.com/kedacore/keda at commit
    # 8b4f083ca8c8c2baf8477e322bd4d16ac4dfa09a: the names after `keda:"name=`, those that must be given first
    "prometheus": (
        {"serverAddress", "query", "threshold"},
        {"queryParameters", "activationThreshold", "namespace", "customHeaders", "ignoreNullValues", "unsafeSsl"},
    ),
    "kafka": (
        {"bootstrapServers", "consumerGroup"},
        {
            *("topic", "partitionLimitation", "lagThreshold", "activationLagThreshold", "offsetResetPolicy"),
            *("allowIdleConsumers", "excludePersistentLag", "scaleToZeroOnInvalidOffset", "limitToPartitionsWithLag"),
            *("ensureEvenDistributionOfPartitions", "version", "tls", "sasl"),
        },
    ),
}


def manifest(name: str) -> dict[str, Any]:
    """The one document of a file."""
    return yaml.safe_load((MANIFESTS / name).read_text())


FILES = sorted(path.name for path in MANIFESTS.glob("*.yaml"))
SCALED = [name for name in FILES if name.startswith("scaledobject")]
PLAIN = [name for name in FILES if name not in SCALED]


def strict(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with unknown names refused, which the API server would silently drop."""
    schema = {name: strict(value) if isinstance(value, dict) else value for name, value in schema.items()}
    if "properties" in schema and isinstance(schema.get("type"), str):
        schema.setdefault("additionalProperties", False)
    return schema


def keda_problems(document: dict[str, Any]) -> list[str]:
    """What is wrong with a ScaledObject."""
    schema = strict(yaml.safe_load((HERE / "scaledobject.schema.yaml").read_text()))
    found = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(document)]
    for trigger in document["spec"]["triggers"]:
        must, may = TRIGGERS[trigger["type"]]
        names = set(trigger["metadata"])
        found += [f"missing: {name}" for name in must - names]
        found += [f"unknown: {name}" for name in names - must - may]
    return found


def test_all_kinds_are_there() -> None:
    assert {manifest(name)["kind"] for name in PLAIN} == {"StatefulSet", "Service", "PodDisruptionBudget"}
    assert {manifest(name)["apiVersion"] for name in SCALED} == {KEDA}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", PLAIN)
def test_kubernetes_would_take_it(name: str, version: str) -> None:
    kubernetes_validate.validate(manifest(name), version, strict=True)


@pytest.mark.parametrize("name", SCALED)
def test_keda_would_take_it(name: str) -> None:
    assert keda_problems(manifest(name)) == []


def test_the_schemas_detect_errors() -> None:
    wrong = manifest("statefulset.yaml")
    wrong["spec"]["template"]["spec"]["terminationGracePeriod"] = 45
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)
    right = manifest("scaledobject.yaml")
    for change in (
        lambda spec: spec.update(minReplicas=1),
        lambda spec: spec.update(maxReplicaCount="6"),
        lambda spec: spec["fallback"].update(behavior="higher"),
        lambda spec: spec["triggers"][0]["metadata"].update(metricName="x"),
        lambda spec: spec["triggers"][0]["metadata"].pop("threshold"),
        lambda spec: spec["triggers"][0]["metadata"].update(threshold=1),
    ):
        wrong = copy.deepcopy(right)
        change(wrong["spec"])
        assert keda_problems(wrong), wrong


def container() -> tuple[dict[str, Any], dict[str, Any]]:
    """The pod's description, and its one container."""
    pod = manifest("statefulset.yaml")["spec"]["template"]["spec"]
    [found] = pod["containers"]
    return pod, found


def settings() -> Any:
    """The settings that a pod's environment makes."""
    _, found = container()
    environ = {it["name"]: it.get("value", "views-0") for it in found["env"]}
    return load("views", {}, environ=environ)


def test_the_environment_is_understood_and_a_stop_has_time_enough() -> None:
    made = settings()
    pod, _ = container()
    assert pod["terminationGracePeriodSeconds"] * 1000 >= made.stop_timeout + 10_000
    assert made.instance_id == "views-0"
    assert made.worker_dir.is_relative_to("/state")
    assert made.web_host == "0.0.0.0"


def test_probes_ask_what_is_served() -> None:
    made = settings()
    _, found = container()
    served = pages(None, lambda: None, lambda: None)  # type: ignore[arg-type,return-value]
    ports = {it["name"]: it["containerPort"] for it in found["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = found[probe]["httpGet"]
        assert asked["path"] in served
        assert ports[asked["port"]] == made.web
    assert found["livenessProbe"]["httpGet"]["path"] == "/health/live"
    assert found["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    annotations = manifest("statefulset.yaml")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/path"] in served
    assert annotations["prometheus.io/port"] == str(made.web)


def test_volumes_are_where_the_state_is() -> None:
    made = settings()
    _, found = container()
    claims = [it["metadata"]["name"] for it in manifest("statefulset.yaml")["spec"]["volumeClaimTemplates"]]
    mounts = {it["name"]: it["mountPath"] for it in found["volumeMounts"]}
    assert claims == ["state"]
    assert mounts["state"] == str(made.state_dir)


def test_all_speak_of_the_same_pods() -> None:
    stateful = manifest("statefulset.yaml")
    labels = stateful["spec"]["template"]["metadata"]["labels"]
    assert stateful["spec"]["selector"]["matchLabels"] == labels
    assert manifest("service.yaml")["spec"]["selector"] == labels
    assert manifest("poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"] == labels
    assert stateful["spec"]["serviceName"] == manifest("service.yaml")["metadata"]["name"]
    assert manifest("service.yaml")["spec"]["clusterIP"] == "None"
    assert "replicas" not in stateful["spec"], "applying it again must not undo what the autoscaler did"
    for name in SCALED:
        target = manifest(name)["spec"]["scaleTargetRef"]
        assert (target["kind"], target["name"]) == ("StatefulSet", stateful["metadata"]["name"])


@pytest.mark.parametrize("name", SCALED)
def test_scaling_is_slower_than_a_session(name: str) -> None:
    """A static member that was scaled away is missed when its session ends; the next one goes after that."""
    spec = manifest(name)["spec"]
    down = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
    assert all(policy["type"] == "Pods" and policy["value"] == 1 for policy in down["policies"])
    assert all(policy["periodSeconds"] * 1000 > settings().session_timeout for policy in down["policies"])
    assert spec["minReplicaCount"] >= 1
    assert spec["fallback"]["replicas"] <= spec["maxReplicaCount"]
    assert all(trigger["metricType"] == "AverageValue" for trigger in spec["triggers"]), "fallback needs it"


def test_the_query_asks_for_a_metric_that_there_is() -> None:
    [trigger] = manifest("scaledobject.yaml")["spec"]["triggers"]
    names = re.findall(r"tidemill_[a-z_]+", trigger["metadata"]["query"])
    assert names
    assert all(name in CATALOGUE for name in names)
