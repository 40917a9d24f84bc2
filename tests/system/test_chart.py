"""The chart and argo/: what they render is valid, passes Pod Security, and is what the values say.

Run the real helm, argo and kubeconform, offline. The schemas come from the Go modules of Argo and
Kubernetes. Without a tool its tests are skipped; with MOTIFK8S_REQUIRE_CLUSTER=1 they fail.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ruamel.yaml import YAML

from motifk8s.study.study import load

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "motifk8s"
VARIANTS = sorted((CHART / "ci").glob("*-values.yaml"))
WORKFLOWS = sorted((ROOT / "argo").glob("*.yaml"))
ARGO = ["v3@v3.7.4", "v4@v4.0.7"]  # 4.1 is not checked: its module cannot be had
KUBERNETES = "k8s.io/kubernetes@v1.34.2"
KINDS = {
    *("Deployment", "NetworkPolicy", "PersistentVolumeClaim", "Pod", "Role", "RoleBinding"),
    *("Secret", "Service", "ServiceAccount"),
}
STEPS = ["plan", "prepare", "cell", "aggregate"]
STORE = ["--set", "store.url=s3://bucket/prefix"]
Document = dict[str, Any]

pytestmark = pytest.mark.skipif(not CHART.is_dir(), reason="the chart is not part of an image")
each_variant = pytest.mark.parametrize(
    "variant", VARIANTS, ids=[path.name.removesuffix("-values.yaml") for path in VARIANTS]
)


def tool(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        unavailable(f"{name} is not on PATH")
    return str(path)


def unavailable(reason: str) -> None:
    if os.environ.get("MOTIFK8S_REQUIRE_CLUSTER") == "1":
        pytest.fail(f"{reason}, and MOTIFK8S_REQUIRE_CLUSTER=1")
    pytest.skip(reason)


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True)


def helm(*args: str | Path) -> subprocess.CompletedProcess[str]:
    return run(tool("helm"), "template", "release", CHART, "--namespace", "here", *args)


@cache
def text(*args: str | Path) -> str:
    made = helm(*args)
    assert made.returncode == 0, made.stderr
    return made.stdout


def install(*args: str | Path) -> str:
    """What helm prints of an installation: hooks, manifests, notes."""
    made = run(
        *(tool("helm"), "install", "release", CHART, "--namespace", "here"),
        *("--dry-run=client", *args),
    )
    assert made.returncode == 0, made.stderr
    return made.stdout


def render(*args: str | Path) -> list[Document]:
    return [doc for doc in yaml.safe_load_all(text(*args)) if doc]


def one(docs: list[Document], kind: str, name: str = "motifk8s") -> Document:
    [found] = [d for d in docs if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def templates(docs: list[Document]) -> dict[str, Document]:
    return {t["name"]: t for t in one(docs, "WorkflowTemplate")["spec"]["templates"]}


def cell(docs: list[Document]) -> Document:
    return templates(docs)["cell"]


def environment(container: Document) -> dict[str, Any]:
    return {e["name"]: e.get("value", e.get("valueFrom")) for e in container["env"]}


def pods(docs: list[Document]) -> Iterator[tuple[str, Document]]:
    """The spec of every pod that the manifests lead to, as far as they tell, by a name."""
    for doc in docs:
        if doc["kind"] == "Pod":
            yield doc["metadata"]["name"], doc["spec"]
        elif doc["kind"] == "Deployment":
            yield doc["metadata"]["name"], doc["spec"]["template"]["spec"]
        elif doc["kind"] == "WorkflowTemplate":
            spec = doc["spec"]
            patch = {"initContainers": [], **yaml.safe_load(spec["podSpecPatch"])}
            for template in spec["templates"]:
                if "container" in template:
                    yield (
                        template["name"],
                        {
                            "securityContext": spec["securityContext"],
                            "volumes": template["volumes"],
                            "initContainers": patch["initContainers"],
                            "containers": [*patch["containers"], template["container"]],
                        },
                    )


# --- valid for the tools, and for the servers


@each_variant
def test_lint(variant: Path) -> None:
    made = run(tool("helm"), "lint", "--strict", CHART, "--values", variant)
    assert made.returncode == 0, made.stdout + made.stderr
    assert "WARNING" not in made.stdout


def test_lint_without_values() -> None:
    made = run(tool("helm"), "lint", "--strict", CHART)
    assert made.returncode == 0, made.stdout + made.stderr


@each_variant
def test_argo_lint(variant: Path, tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    template.write_text(yaml.safe_dump(one(render("--values", variant), "WorkflowTemplate")))
    made = run(tool("argo"), "lint", "--offline", template, *WORKFLOWS)
    assert made.returncode == 0, made.stdout + made.stderr


def test_argo_lint_sees_a_mistake(tmp_path: Path) -> None:
    template = tmp_path / "template.yaml"
    wrong = text(*STORE, "--show-only", "templates/workflowtemplate.yaml").replace(
        "{{inputs.parameters.cell}}", "{{inputs.parameters.cel}}"
    )
    template.write_text(wrong)
    made = run(tool("argo"), "lint", "--offline", template)
    assert made.returncode != 0
    assert "inputs.parameters.cel" in made.stdout + made.stderr


def module(name: str) -> Path:
    """The folder of a Go module."""
    made = run(tool("go"), "mod", "download", "-json", name)
    told = json.loads(made.stdout or "{}")
    if "Dir" not in told:
        unavailable(f"{name} cannot be had: {told.get('Error') or made.stderr}"[:300])
    return Path(told["Dir"])


def strict(schema: Any) -> Any:
    """A schema as the API server takes it: unknown keys are wrong; some strings may be numbers."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if (
        schema.get("x-kubernetes-int-or-string") is True
        or schema.get("format") == "int-or-string"
        or str(schema.get("description")).startswith("Quantity is ")
    ):
        return {"type": ["string", "number"]}
    result = {
        key: strict(value)
        for key, value in schema.items()
        if key != "description" or not isinstance(value, str)  # half of it, and checks nothing
    }
    if (
        isinstance(result.get("properties"), dict)
        and "additionalProperties" not in result
        and not result.get("x-kubernetes-preserve-unknown-fields")
    ):
        result["additionalProperties"] = False
    return result


def with_references(name: str, definitions: Document) -> Document:
    """The schema of that name, and those that it refers to."""
    found: Document = {}
    todo = [name]
    while todo:
        if (each := todo.pop()) not in found:
            found[each] = strict(definitions[each])
            todo += re.findall('"#/definitions/([^"]+)"', json.dumps(found[each]))
    return {"$ref": f"#/definitions/{name}", "definitions": found}


@pytest.fixture(scope="module")
def core_schemas() -> Document:
    """By the names that kubeconform looks for."""
    swagger = json.loads((module(KUBERNETES) / "api/openapi-spec/swagger.json").read_text())
    definitions = swagger["definitions"]
    return {
        f"{gvk['kind'].lower()}_{gvk['version']}": with_references(name, definitions)
        for name, schema in definitions.items()
        for gvk in schema.get("x-kubernetes-group-version-kind", ())
        if gvk["kind"] in KINDS
    }


@pytest.fixture(scope="module", params=ARGO)
def schemas(
    request: pytest.FixtureRequest, core_schemas: dict[str, Any], tmp_path_factory: Any
) -> Path:
    """A folder of JSON Schemas for kubeconform, with one version of Argo."""
    tool("kubeconform")
    crds = (
        module(f"github.com/argoproj/argo-workflows/{request.param}") / "manifests/base/crds/full"
    )
    found = dict(core_schemas)
    for plural in ("workflows", "workflowtemplates"):
        crd = yaml.load((crds / f"argoproj.io_{plural}.yaml").read_text(), yaml.CSafeLoader)
        [version] = crd["spec"]["versions"]
        key = f"{crd['spec']['names']['kind'].lower()}_{version['name']}"
        found[key] = strict(version["schema"]["openAPIV3Schema"])
        found[key]["properties"]["metadata"] = {"type": "object"}
    folder: Path = tmp_path_factory.mktemp("schemas")
    for key, schema in found.items():
        (folder / f"{key}.json").write_text(json.dumps(schema))
    return folder


def kubeconform(schemas: Path, *files: Path) -> list[str]:
    """What is wrong with the files."""
    made = run(
        *(tool("kubeconform"), "-strict", "-verbose", "-output", "json"),
        *("-schema-location", schemas / "{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"),
        *files,
    )
    resources = json.loads(made.stdout)["resources"]
    assert resources, made.stderr
    return [f"{r['kind']}: {r['msg']}" for r in resources if r["status"] != "statusValid"]


def test_manifests_fit_the_schemas(schemas: Path, tmp_path: Path) -> None:
    files = []
    for variant in VARIANTS:
        files.append(tmp_path / variant.name)
        files[-1].write_text(text("--values", variant))
    assert kubeconform(schemas, *files, *WORKFLOWS) == []


def test_schemas_refuse_what_argo_refuses(schemas: Path, tmp_path: Path) -> None:
    good = one(render(*STORE), "WorkflowTemplate")
    file = tmp_path / "wrong.yaml"
    for key, value in {"paralelism": 3, "parallelism": "3", "volumes": [{}]}.items():
        wrong = copy.deepcopy(good)
        wrong["spec"][key] = value
        file.write_text(yaml.safe_dump(wrong))
        assert key in "".join(kubeconform(schemas, file))


# The page's policies for signed images: each kind's CRD, in a Go module.
POLICIES = {
    "ClusterImagePolicy": (
        "github.com/sigstore/policy-controller@v0.13.1",
        "config/300-clusterimagepolicy.yaml",
    ),
    "ImageValidatingPolicy": (
        "github.com/kyverno/kyverno@v1.19.1",
        "config/crds/policies.kyverno.io/policies.kyverno.io_imagevalidatingpolicies.yaml",
    ),
}


def policies() -> list[Document]:
    page = (ROOT / "docs/kubernetes.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```yaml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    docs = [doc for block in blocks for doc in yaml.safe_load_all(block)]
    return [doc for doc in docs if doc.get("kind") in POLICIES]


@pytest.mark.parametrize("kind", POLICIES)
def test_policies_for_signed_images_fit_their_schemas(kind: str, tmp_path: Path) -> None:
    name, file = POLICIES[kind]
    crd = yaml.load((module(name) / file).read_text(), yaml.CSafeLoader)
    found = [doc for doc in policies() if doc["kind"] == kind]
    assert found
    for doc in found:
        [version] = [v for v in crd["spec"]["versions"] if doc["apiVersion"].endswith(v["name"])]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}
        (tmp_path / f"{kind.lower()}_{version['name']}.json").write_text(json.dumps(schema))
        (tmp_path / "policy.yaml").write_text(yaml.safe_dump(doc))
        assert kubeconform(tmp_path, tmp_path / "policy.yaml") == []


def test_policies_admit_what_the_release_workflow_signs() -> None:
    workflow = ".github/workflows/release.yml"
    assert (ROOT / workflow).exists()
    identity = re.compile(r'"subjectRegExp": ("[^"]+")')
    identities = [identity.findall(json.dumps(doc)) for doc in policies()]
    [text_of] = {found for each in identities for found in each}
    assert sum(map(len, identities)) == len(POLICIES)
    pattern = re.compile(json.loads(text_of))
    ours = f"https://github.com/OWNER/motifk8s/{workflow}@refs/tags/v0.1.0"
    assert pattern.fullmatch(ours)
    for other in (ours.replace("tags/v0.1.0", "heads/main"), ours.replace("OWNER", "EVIL/OWNER")):
        assert not pattern.search(other)
    security = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    assert f"--certificate-identity {ours}\n" in security


# --- wrong values

WRONG = [
    ("store.url=/data/store", "/store/url"),
    ("store.url=s3://bucket with space", "/store/url"),
    ("store.urll=s3://bucket", "urll"),
    ("store.accessKey=x", "accessKey"),
    ("store.endpoint=s3.example.org", "/store/endpoint"),
    ("store.sse=AES128", "/store/sse"),
    ("gpu.count=-1", "/gpu/count"),
    ("gpu.count=half", "/gpu/count"),
    ("gpu.resource=gpu", "/gpu/resource"),
    ("gpu.required=maybe", "/gpu/required"),
    ("deepseaSha256=123", "/deepseaSha256"),
    ("executor.initlessPod=yes", "/executor/initlessPod"),
    ("executor.serviceAccountName=A B", "/executor/serviceAccountName"),
    ("executor.image=x", "image"),
    ("plan.activeDeadlineSeconds=0", "/plan/activeDeadlineSeconds"),
    ("prepare.activeDeadlineSeconds=1h", "/prepare/activeDeadlineSeconds"),
    ("aggregate.activeDeadlineSeconds=-1", "/aggregate/activeDeadlineSeconds"),
    ("plan.resources.limits.ephemeral-storage=lots", "/plan/resources/limits/ephemeral-storage"),
    ("networkPolicy.except[0]=169.254.169.254", "/networkPolicy/except/0"),
    ("networkPolicy.apiServer.cidrs[0]=10.0.0.0/33", "/networkPolicy/apiServer/cidrs/0"),
    ("networkPolicy.apiServer.cidrs[0]=fd00::/129", "/networkPolicy/apiServer/cidrs/0"),
    ("podSpecPatch.containers[0].name=supervisor", "supervisor"),
    (
        "executor.initlessPod=true,podSpecPatch.initContainers[0].name=init",
        "executor.initlessPod=true",
    ),
    ("gpus.count=1", "gpus"),
    ("image.digest=sha256:123", "/image/digest"),
    ("image.tag=a b", "/image/tag"),
    ("image.pullPolicy=Sometimes", "/image/pullPolicy"),
    ("imagePullSecrets=registry", "/imagePullSecrets"),
    ("spot=maybe", "/spot"),
    ("threads=0", "/threads"),
    ("parallelism=all", "/parallelism"),
    ("maxGpuHours=0", "/maxGpuHours"),
    ("checkpointSeconds=-1", "/checkpointSeconds"),
    ("retry.limit=-1", "/retry/limit"),
    ("retry.backoff.duration=soon", "/retry/backoff/duration"),
    ("retry.backoff.maxDuration=1h", "maxDuration"),
    ("podGC.strategy=OnFullMoon", "/podGC/strategy"),
    ("ttlStrategy.secondsAfterLunch=1", "secondsAfterLunch"),
    ("queue=Not A Name", "/queue"),
    ("cell.resources.requests.memory=lots", "/cell/resources/requests/memory"),
    ("cell.resources.request.memory=1Gi", "request"),
    ("cell.shm=big", "/cell/shm"),
    ("cell.activeDeadlineSeconds=0", "/cell/activeDeadlineSeconds"),
    ("cell.gpu=1", "gpu"),
    ("plan.nodeSelector.a=b", "nodeSelector"),
    ("nodeSelector.a=true", "/nodeSelector/a"),
    ("tolerations=all", "/tolerations"),
    ("serviceAccount.name=Not_A_Name", "/serviceAccount/name"),
    ("proxy.https=proxy:3128", "/proxy/https"),
    ("ca.configMap=A B", "/ca/configMap"),
    ("extraEnv[0].value=1", "/extraEnv/0"),
    ("podLabels.a=1", "/podLabels/a"),
    ("networkPolicy.store.ports[0]=70000", "/networkPolicy/store/ports/0"),
    ("networkPolicy.store.cidrs[0]=anywhere", "/networkPolicy/store/cidrs/0"),
    ("s3.size=big", "/s3/size"),
    ("s3.enabled=yes", "/s3/enabled"),
    # What a schema cannot say well.
    ("store.url=", "store.url"),
    ("store.sseKmsKey=mine", "store.sseKmsKey"),
    ("s3.enabled=true", "store.secretName"),
    ("s3.enabled=true,store.secretName=keys,store.endpoint=http://other", "store.endpoint"),
]


@pytest.mark.parametrize(("values", "key"), WRONG)
def test_wrong_values_are_refused_by_name(values: str, key: str) -> None:
    made = helm(*STORE, "--set", values)
    assert made.returncode != 0
    assert re.search(rf"{re.escape(key)}(?![a-zA-Z])", made.stderr), made.stderr


def properties(schema: Document, root: Document) -> Document:
    if "$ref" in schema:
        schema = root["definitions"][schema["$ref"].rpartition("/")[2]]
    return schema.get("properties", {})


def test_schema_and_values_have_the_same_keys() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values: Document, part: Document, path: str) -> None:
        known = properties(part, schema)
        if not known:
            return
        # Helm gives `global` to every chart; the other two are there for those who want them.
        optional = {"global", "secondsAfterSuccess", "secondsAfterFailure", "requests", "limits"}
        assert set(known) - optional <= set(values) <= set(known), path
        for key, value in values.items():
            if isinstance(value, dict):
                compare(value, known[key], f"{path}.{key}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


# --- what the values come to


def test_gpu_by_default() -> None:
    container = cell(render(*STORE))["container"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-gpu")
    for step in ("plan", "prepare", "aggregate"):
        other = templates(render(*STORE))[step]["container"]
        assert other["image"] + "-gpu" == container["image"]
        assert set(other["resources"]["limits"]) == {"memory", "ephemeral-storage"}
        assert "MOTIFK8S_GPUS" not in environment(other)


def test_no_gpu() -> None:
    container = cell(render(*STORE, "--set", "gpu.count=0"))["container"]
    assert set(container["resources"]["limits"]) == {"memory", "ephemeral-storage"}
    assert set(container["resources"]["requests"]) == {"cpu", "memory", "ephemeral-storage"}
    assert container["image"] == templates(render(*STORE))["plan"]["container"]["image"]


Check = Callable[[list[Document]], object]
GPU_TOLERATION = {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}
SHA = "sha256:" + "ab" * 32
EFFECTS: list[tuple[str, Check, object]] = [
    (
        "gpu.resource=nvidia.com/mig-1g.10gb",
        lambda d: cell(d)["container"]["resources"]["limits"],
        {"memory": "8Gi", "ephemeral-storage": "10Gi", "nvidia.com/mig-1g.10gb": 1},
    ),
    (
        f"image.repository=r.example.org/m,image.tag=v1,gpuImage.digest={SHA}",
        lambda d: [templates(d)[step]["container"]["image"] for step in STEPS],
        [
            "r.example.org/m:v1",
            "r.example.org/m:v1",
            f"r.example.org/m@{SHA}",
            "r.example.org/m:v1",
        ],
    ),
    (
        f"image.digest={SHA},gpu.count=0",
        lambda d: {
            environment(templates(d)[step]["container"])["MOTIFK8S_IMAGE"] for step in STEPS
        },
        {f"motifk8s@{SHA}"},
    ),
    (
        f"gpuImage.digest={SHA}",
        lambda d: environment(cell(d)["container"])["MOTIFK8S_IMAGE"],
        f"motifk8s@{SHA}",
    ),
    (
        "gpuImage.repository=other,gpuImage.tag=v2",
        lambda d: cell(d)["container"]["image"],
        "other:v2",
    ),
    ("spot=true", lambda d: environment(cell(d)["container"])["MOTIFK8S_SPOT"], "true"),
    ("spot=false", lambda d: environment(cell(d)["container"])["MOTIFK8S_SPOT"], "false"),
    ("spot=null", lambda d: environment(cell(d)["container"])["MOTIFK8S_SPOT"], ""),
    ("threads=3", lambda d: cell(d)["container"]["args"][-1], "--threads=3"),
    ("threads=null", lambda d: cell(d)["container"]["args"][-1], "--threads="),
    (
        "checkpointSeconds=7",
        lambda d: environment(cell(d)["container"])["MOTIFK8S_CHECKPOINT_SECONDS"],
        "7",
    ),
    (
        "deepsea=https://example.org/d.tar.gz",
        lambda d: [
            environment(templates(d)[step]["container"]).get("MOTIFK8S_DEEPSEA") for step in STEPS
        ],
        [None, "https://example.org/d.tar.gz", None, None],
    ),
    (
        "maxGpuHours=12.5",
        lambda d: one(d, "WorkflowTemplate")["spec"]["arguments"]["parameters"][1]["value"],
        "12.5",
    ),
    (
        "maxGpuHours=null",
        lambda d: one(d, "WorkflowTemplate")["spec"]["arguments"]["parameters"][1]["value"],
        "",
    ),
    ("parallelism=5", lambda d: one(d, "WorkflowTemplate")["spec"]["parallelism"], 5),
    ("parallelism=null", lambda d: "parallelism" in one(d, "WorkflowTemplate")["spec"], False),
    (
        "retry.limit=3",
        lambda d: {templates(d)[step]["retryStrategy"]["limit"] for step in STEPS},
        {3},
    ),
    (
        "ttlStrategy.secondsAfterCompletion=2592000",
        lambda d: one(d, "WorkflowTemplate")["spec"]["ttlStrategy"],
        {"secondsAfterCompletion": 2592000},
    ),
    (
        "queue=gpu",
        lambda d: {
            s
            for s in STEPS
            if templates(d)[s]["metadata"]["labels"].get("kueue.x-k8s.io/queue-name") == "gpu"
        },
        {"cell"},
    ),
    (
        "store.sse=aws:kms,store.sseKmsKey=mine",
        lambda d: [
            (env["MOTIFK8S_SSE"], env["MOTIFK8S_SSE_KMS_KEY"])
            for step in STEPS
            for env in [environment(templates(d)[step]["container"])]
        ],
        [("aws:kms", "mine")] * 4,
    ),
    (
        "store.sse=aws:kms:dsse,store.sseKmsKey=mine",
        lambda d: environment(cell(d)["container"])["MOTIFK8S_SSE"],
        "aws:kms:dsse",
    ),
    (
        "store.endpoint=https://s3.example.org",
        lambda d: environment(cell(d)["container"])["AWS_ENDPOINT_URL"],
        "https://s3.example.org",
    ),
    (
        "store.secretName=keys",
        lambda d: {
            name: value["secretKeyRef"]
            for name, value in environment(cell(d)["container"]).items()
            if "secretKeyRef" in value
        },
        {
            "AWS_ACCESS_KEY_ID": {"name": "keys", "key": "AWS_ACCESS_KEY_ID"},
            "AWS_SECRET_ACCESS_KEY": {"name": "keys", "key": "AWS_SECRET_ACCESS_KEY"},
            "AWS_SESSION_TOKEN": {"name": "keys", "key": "AWS_SESSION_TOKEN", "optional": True},
        },
    ),
    (
        "s3.enabled=true,store.secretName=keys",
        lambda d: {
            name: value["secretKeyRef"]
            for name, value in environment(dict(pods(d))["motifk8s-s3"]["containers"][0]).items()
        },
        {
            "ROOT_ACCESS_KEY": {"name": "keys", "key": "AWS_ACCESS_KEY_ID"},
            "ROOT_SECRET_KEY": {"name": "keys", "key": "AWS_SECRET_ACCESS_KEY"},
        },
    ),
    (
        "s3.enabled=true,store.secretName=keys",
        lambda d: environment(cell(d)["container"])["AWS_ENDPOINT_URL"],
        "http://motifk8s-s3.here.svc:7070",
    ),
    (
        "s3.enabled=true,store.secretName=keys",
        lambda d: dict(pods(d))["motifk8s-s3"]["containers"][0]["volumeMounts"][1]["subPath"],
        "bucket",
    ),
    (
        "s3.enabled=true,s3.size=1Gi,store.secretName=keys",
        lambda d: one(d, "Deployment", "motifk8s-s3")["spec"]["template"]["spec"]["volumes"][-1],
        {"name": "data", "persistentVolumeClaim": {"claimName": "motifk8s-s3"}},
    ),
    (
        "proxy.https=http://p:1,proxy.noProxy=.x.org",
        lambda d: environment(cell(d)["container"])["NO_PROXY"],
        ".x.org,localhost,127.0.0.1,.svc,.cluster.local",
    ),
    (
        "ca.configMap=bundle,ca.key=root.pem",
        lambda d: cell(d)["volumes"][1]["configMap"],
        {"name": "bundle", "items": [{"key": "root.pem", "path": "ca.crt"}]},
    ),
    (
        "cell.shm=1Gi",
        lambda d: cell(d)["volumes"][-1],
        {"name": "dshm", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}},
    ),
    (
        "cell.terminationGracePeriodSeconds=15,cell.runtimeClassName=nvidia",
        lambda d: yaml.safe_load(cell(d)["podSpecPatch"]),
        {"terminationGracePeriodSeconds": 15, "runtimeClassName": "nvidia"},
    ),
    ("cell.activeDeadlineSeconds=60", lambda d: cell(d)["activeDeadlineSeconds"], 60),
    (
        "plan.activeDeadlineSeconds=60,prepare.activeDeadlineSeconds=null",
        lambda d: [templates(d)[step].get("activeDeadlineSeconds") for step in STEPS],
        [60, None, 86400, 21600],
    ),
    ("gpu.count=2", lambda d: environment(cell(d)["container"])["MOTIFK8S_GPUS"], "2"),
    ("gpu.required=true", lambda d: environment(cell(d)["container"])["MOTIFK8S_GPUS"], "1"),
    ("gpu.required=false", lambda d: "MOTIFK8S_GPUS" in environment(cell(d)["container"]), False),
    ("gpu.count=0", lambda d: "MOTIFK8S_GPUS" in environment(cell(d)["container"]), False),
    (
        "gpu.count=4,retry.limit=2",
        lambda d: templates(d)["plan"]["container"]["args"][-2:],
        ["--gpus=4", "--attempts=3"],
    ),
    (
        "gpu.count=0,retry.limit=0",
        lambda d: templates(d)["plan"]["container"]["args"][-2:],
        ["--gpus=1", "--attempts=1"],
    ),
    (
        f"deepseaSha256={SHA[7:]}",
        lambda d: [
            environment(templates(d)[s]["container"]).get("MOTIFK8S_DEEPSEA_HASH") for s in STEPS
        ],
        [None, SHA[7:], None, None],
    ),
    (
        "plan.resources.limits.ephemeral-storage=3Gi",
        lambda d: [dict(pods(d))[name]["volumes"][0] for name in ("plan", "motifk8s-check")],
        [{"name": "tmp", "emptyDir": {"sizeLimit": "3Gi"}}] * 2,
    ),
    (
        "cell.resources.limits.ephemeral-storage=null",
        lambda d: cell(d)["volumes"][0],
        {"name": "tmp", "emptyDir": {}},
    ),
    (
        "executor.serviceAccountName=",
        lambda d: (
            [doc["metadata"]["name"] for doc in d if doc["kind"] in ("ServiceAccount", "Secret")],
            one(d, "RoleBinding")["subjects"][0]["name"],
            {"executor", "automountServiceAccountToken"} & set(one(d, "WorkflowTemplate")["spec"]),
        ),
        (["motifk8s"], "motifk8s", set()),
    ),
    (
        "executor.create=false,executor.serviceAccountName=theirs",
        lambda d: (
            [doc["metadata"]["name"] for doc in d if doc["kind"] in ("ServiceAccount", "Secret")],
            one(d, "RoleBinding")["subjects"][0]["name"],
            one(d, "WorkflowTemplate")["spec"]["executor"],
        ),
        (["motifk8s"], "theirs", {"serviceAccountName": "theirs"}),
    ),
    ("cell.noEvict=false", lambda d: "annotations" in cell(d)["metadata"], False),
    (
        "cell.noEvict=true",
        lambda d: cell(d)["metadata"]["annotations"],
        {
            "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
            "karpenter.sh/do-not-disrupt": "true",
        },
    ),
    (
        "nodeSelector.a=b,cell.nodeSelector.c=d",
        lambda d: (one(d, "WorkflowTemplate")["spec"]["nodeSelector"], cell(d)["nodeSelector"]),
        ({"a": "b"}, {"c": "d"}),
    ),
    (
        "tolerations[0].key=a,tolerations[0].operator=Exists",
        lambda d: [
            one(d, "WorkflowTemplate")["spec"]["tolerations"],
            one(d, "Pod", "motifk8s-check")["spec"]["tolerations"],
            cell(d)["tolerations"][:1],
            cell(d)["tolerations"][1:],
        ],
        [*[[{"key": "a", "operator": "Exists"}]] * 3, [GPU_TOLERATION]],
    ),
    (
        "cell.tolerations=null,tolerations[0].key=a",
        lambda d: cell(d)["tolerations"],
        [{"key": "a"}],
    ),
    ("tolerations=null", lambda d: cell(d)["tolerations"], [GPU_TOLERATION]),
    (
        "priorityClassName=a,cell.priorityClassName=b",
        lambda d: (
            one(d, "WorkflowTemplate")["spec"]["podPriorityClassName"],
            cell(d)["priorityClassName"],
        ),
        ("a", "b"),
    ),
    (
        "podLabels.team=x,podLabels.motifk8s/step=mine",
        lambda d: [
            (labels["team"], labels["motifk8s/step"])
            for step in STEPS
            for labels in [templates(d)[step]["metadata"]["labels"]]
        ],
        [("x", step) for step in STEPS],
    ),
    (
        "podLabels.team=x,podLabels.motifk8s/step=mine",
        lambda d: [
            one(d, "Pod", "motifk8s-check")["metadata"]["labels"][key]
            for key in ("team", "motifk8s/step", "app.kubernetes.io/name")
        ],
        ["x", "check", "motifk8s"],
    ),
    (
        r"podAnnotations.team=x,podAnnotations.helm\.sh/hook=mine",
        lambda d: [
            one(d, "Pod", "motifk8s-check")["metadata"]["annotations"][key]
            for key in ("team", "helm.sh/hook")
        ],
        ["x", "test"],
    ),
    (
        "podAnnotations.team=x,cell.noEvict=false",
        lambda d: [templates(d)[step]["metadata"]["annotations"] for step in STEPS],
        [{"team": "x"}] * 4,
    ),
    (
        r"s3.enabled=true,store.secretName=keys,podAnnotations.a=b,podLabels.team=x,"
        r"podLabels.app\.kubernetes\.io/name=mine",
        lambda d: one(d, "Deployment", "motifk8s-s3")["spec"]["template"]["metadata"],
        {
            "labels": {
                "app.kubernetes.io/name": "motifk8s-s3",
                "app.kubernetes.io/instance": "release",
                "team": "x",
            },
            "annotations": {"a": "b"},
        },
    ),
    (
        "serviceAccount.create=false,serviceAccount.name=mine",
        lambda d: (
            [doc["metadata"]["name"] for doc in d if doc["kind"] == "ServiceAccount"],
            one(d, "RoleBinding")["subjects"],
            one(d, "WorkflowTemplate")["spec"]["serviceAccountName"],
        ),
        (
            ["motifk8s-executor"],
            [{"kind": "ServiceAccount", "name": "motifk8s-executor", "namespace": "here"}],
            "mine",
        ),
    ),
    (
        "podSecurityContext.runAsUser=1000680000",
        lambda d: one(d, "WorkflowTemplate")["spec"]["securityContext"]["runAsUser"],
        1000680000,
    ),
    ("ttlStrategy=null", lambda d: "ttlStrategy" in one(d, "WorkflowTemplate")["spec"], False),
    ("podGC=null", lambda d: "podGC" in one(d, "WorkflowTemplate")["spec"], False),
    ("podSpecPatch=null", lambda d: "podSpecPatch" in one(d, "WorkflowTemplate")["spec"], False),
    ("networkPolicy.enabled=false", lambda d: [x for x in d if x["kind"] == "NetworkPolicy"], []),
    (
        "networkPolicy.enabled=true,networkPolicy.store.cidrs[0]=10.0.0.0/8",
        lambda d: one(d, "NetworkPolicy")["spec"]["egress"][2],
        {
            "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}],
            "ports": [{"protocol": "TCP", "port": 80}, {"protocol": "TCP", "port": 443}],
        },
    ),
    (
        "networkPolicy.enabled=true",
        lambda d: [
            {to["ipBlock"]["cidr"]: to["ipBlock"]["except"] for to in rule["to"]}
            for rule in one(d, "NetworkPolicy")["spec"]["egress"][1:]
        ],
        [
            {
                "0.0.0.0/0": ["169.254.169.254/32"],
                "::/0": ["fd00:ec2::254/128", "fd20:ce::254/128", "fe80::/10"],
            }
        ]
        * 2,
    ),
    (
        "networkPolicy.enabled=true,networkPolicy.except=null",
        lambda d: one(d, "NetworkPolicy")["spec"]["egress"][2]["to"],
        [{"ipBlock": {"cidr": "0.0.0.0/0"}}, {"ipBlock": {"cidr": "::/0"}}],
    ),
    (
        "networkPolicy.enabled=true",
        lambda d: one(d, "NetworkPolicy")["spec"]["ingress"],
        [],
    ),
]


@pytest.mark.parametrize(("values", "look", "expected"), EFFECTS, ids=[e[0] for e in EFFECTS])
def test_values_have_their_effect(values: str, look: Check, expected: object) -> None:
    assert look(render(*STORE, "--set", values)) == expected


# --- each value


S3 = 's3.enabled=true,store.secretName="keys"'
POLICY = "networkPolicy.enabled=true"
STEPS_AND_CHECK = {*STEPS, "check"}
PODS = {*STEPS_AND_CHECK, "s3"}
# The pods of a workflow take these from the workflow.
WORKFLOW = {"workflow", "check", "s3"}
# Each value of values.yaml: another value as JSON, and all that it changes. Other values that it
# needs come third.
VALUES: dict[str, tuple[str, set[str], str]] = {
    "store.url": ('"s3://other/place"', {*PODS, "notes"}, S3),
    "store.endpoint": ('"https://s3.example.org"', {*STEPS_AND_CHECK, "notes"}, ""),
    "store.region": ('"eu-south-9"', PODS, S3),
    "store.secretName": ('"other"', PODS, S3),
    "store.sse": ('"aws:kms:dsse"', STEPS_AND_CHECK, ""),
    "store.sseKmsKey": ('"mine"', STEPS_AND_CHECK, 'store.sse="aws:kms"'),
    "image.repository": ('"r.example.org/m"', STEPS_AND_CHECK, S3),
    "image.tag": ('"v9"', STEPS_AND_CHECK, S3),
    "image.digest": (f'"{SHA}"', STEPS_AND_CHECK - {"cell"}, S3),
    "image.pullPolicy": ('"Never"', PODS, S3),
    "gpuImage.repository": ('"r.example.org/m"', {"cell"}, ""),
    "gpuImage.tag": ('"v9"', {"cell"}, ""),
    "gpuImage.digest": (f'"{SHA}"', {"cell"}, ""),
    "imagePullSecrets": ('[{"name": "registry"}]', WORKFLOW, S3),
    "gpu.resource": ('"example.org/gpu"', {"cell"}, ""),
    "gpu.count": ("7", {"plan", "cell"}, ""),
    "gpu.required": ("false", {"cell"}, ""),
    "spot": ("true", {"cell"}, ""),
    "threads": ("7", {"cell"}, ""),
    "checkpointSeconds": ("77", {"cell"}, ""),
    "maxGpuHours": ("7.5", {"workflow"}, ""),
    "parallelism": ("7", {"workflow"}, ""),
    "deepsea": ('"s3://bucket/d.tar.gz"', {"prepare"}, ""),
    "deepseaSha256": (f'"{SHA[7:]}"', {"prepare"}, ""),
    "retry.limit": ("77", set(STEPS), ""),
    "retry.backoff.duration": ('"77s"', set(STEPS), ""),
    "retry.backoff.factor": ("77", set(STEPS), ""),
    "retry.backoff.cap": ('"77m"', set(STEPS), ""),
    "ttlStrategy.secondsAfterCompletion": ("77", {"workflow"}, ""),
    "podGC.strategy": ('"OnPodCompletion"', {"workflow"}, ""),
    "podGC.deleteDelayDuration": ('"77s"', {"workflow"}, ""),
    "queue": ('"gpus"', {"cell"}, ""),
    "nodeSelector": ('{"pool": "batch"}', WORKFLOW, S3),
    "tolerations": ('[{"key": "batch"}]', {*WORKFLOW, "cell"}, S3),
    "affinity": ('{"podAffinity": {}}', WORKFLOW, S3),
    "priorityClassName": ('"low"', WORKFLOW, S3),
    **{
        f"{owner}.resources.{kind}": (value, changed, S3)
        for owner, changed in {
            "plan": {"plan", "check"}, "prepare": {"prepare"}, "cell": {"cell"},
            "aggregate": {"aggregate"}, "s3": {"s3"},
        }.items()
        for kind, value in {
            "requests.cpu": '"777m"', "requests.memory": '"777Mi"', "limits.memory": '"777Gi"',
            "requests.ephemeral-storage": '"77Mi"', "limits.ephemeral-storage": '"777Gi"',
        }.items()
    },
    **{f"{step}.activeDeadlineSeconds": ("77", {step}, "") for step in STEPS},
    "cell.nodeSelector": ('{"pool": "gpus"}', {"cell"}, ""),
    "cell.tolerations": ('[{"key": "gpus"}]', {"cell"}, ""),
    "cell.affinity": ('{"podAffinity": {}}', {"cell"}, ""),
    "cell.priorityClassName": ('"low"', {"cell"}, ""),
    "cell.runtimeClassName": ('"nvidia"', {"cell"}, ""),
    "cell.shm": ('"7Gi"', {"cell"}, ""),
    "cell.terminationGracePeriodSeconds": ("77", {"cell"}, ""),
    "cell.noEvict": ("false", {"cell"}, ""),
    "serviceAccount.create": ("false", {"ServiceAccount motifk8s"}, ""),
    "serviceAccount.name": (
        '"other"',
        {"ServiceAccount motifk8s", "ServiceAccount other", "workflow", "check", "notes"},
        "",
    ),
    "serviceAccount.annotations": ('{"role": "mine"}', {"ServiceAccount motifk8s", "notes"}, ""),
    "executor.initlessPod": ("true", {"workflow"}, ""),
    "executor.create": (
        "false",
        {"ServiceAccount motifk8s-executor", "Secret motifk8s-executor.service-account-token"},
        "",
    ),
    "executor.serviceAccountName": (
        '"other"',
        {
            *("ServiceAccount motifk8s-executor", "Secret motifk8s-executor.service-account-token"),
            *("ServiceAccount other", "Secret other.service-account-token"),
            *("RoleBinding motifk8s", "workflow"),
        },
        "",
    ),
    "proxy.https": ('"http://proxy:1"', STEPS_AND_CHECK, S3),
    "proxy.http": ('"http://proxy:1"', STEPS_AND_CHECK, S3),
    "proxy.noProxy": ('".example.org"', STEPS_AND_CHECK, S3),
    "ca.configMap": ('"bundle"', STEPS_AND_CHECK, S3),
    "ca.key": ('"root.pem"', STEPS_AND_CHECK, 'ca.configMap="bundle"'),
    "podLabels": ('{"team": "mine"}', PODS, S3),
    "podAnnotations": ('{"team": "mine"}', PODS, S3),
    "extraEnv": ('[{"name": "TEAM", "value": "mine"}]', STEPS_AND_CHECK, S3),
    "podSecurityContext.runAsNonRoot": ("false", {*WORKFLOW, "notes"}, S3),
    "podSecurityContext.runAsUser": ("777", WORKFLOW, S3),
    "podSecurityContext.runAsGroup": ("777", WORKFLOW, S3),
    "podSecurityContext.fsGroup": ("777", WORKFLOW, S3),
    "podSecurityContext.seccompProfile.type": ('"Localhost"', WORKFLOW, S3),
    "podSpecPatch": ('{"hostname": "mine"}', {"workflow"}, ""),
    "networkPolicy.enabled": (
        "true",
        {"NetworkPolicy motifk8s", "NetworkPolicy motifk8s-s3"},
        S3,
    ),
    "networkPolicy.apiServer.cidrs": ('["10.7.0.0/16"]', {"NetworkPolicy motifk8s"}, POLICY),
    "networkPolicy.apiServer.ports": ("[777]", {"NetworkPolicy motifk8s"}, POLICY),
    "networkPolicy.store.cidrs": ('["10.7.0.0/16"]', {"NetworkPolicy motifk8s"}, POLICY),
    "networkPolicy.store.ports": ("[777]", {"NetworkPolicy motifk8s"}, POLICY),
    "networkPolicy.except": ('["10.7.0.0/16"]', {"NetworkPolicy motifk8s"}, POLICY),
    "networkPolicy.extraEgress": ('[{"to": []}]', {"NetworkPolicy motifk8s"}, POLICY),
    "s3.enabled": (
        "true",
        {"s3", "Service motifk8s-s3", "NetworkPolicy motifk8s", "NetworkPolicy motifk8s-s3",
         *STEPS_AND_CHECK, "notes"},
        f'store.secretName="keys",{POLICY}',
    ),
    "s3.image": ('"r.example.org/s3"', {"s3"}, S3),
    "s3.size": ('"7Gi"', {"s3", "PersistentVolumeClaim motifk8s-s3", "notes"}, S3),
    "s3.storageClassName": (
        '"slow"',
        {"PersistentVolumeClaim motifk8s-s3"},
        f'{S3},s3.size="1Gi"',
    ),
}  # fmt: skip


def leaves(values: Document, path: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{key}.")
        else:
            yield path + key, value


def defaults() -> Document:
    return dict(leaves(yaml.safe_load((CHART / "values.yaml").read_text())))


@cache
def parts(*values: str) -> dict[str, Any]:
    """All that helm installs and prints: each step, the rest of the workflow, each object."""
    printed = install(*(word for value in values for word in ("--set-json", value)))
    manifests, _, notes = printed.partition("HOOKS:\n")[2].partition("NOTES:\n")
    docs = yaml.load_all(manifests.replace("MANIFEST:\n", ""), yaml.CSafeLoader)
    found = {f"{doc['kind']} {doc['metadata']['name']}": doc for doc in docs if doc}
    short = {"Pod motifk8s-check": "check", "Deployment motifk8s-s3": "s3"}
    workflow = found.pop("WorkflowTemplate motifk8s")
    steps = {template["name"]: template for template in workflow["spec"].pop("templates")}
    objects = {short.get(name, name): doc for name, doc in found.items()}
    return {"notes": notes, "workflow": workflow, **steps, **objects}


def scalars(value: Any) -> Iterator[str]:
    if isinstance(value, (dict, list)):
        for each in value.values() if isinstance(value, dict) else value:
            yield from scalars(each)
    elif not isinstance(value, bool):
        yield str(value)


def test_each_value_is_tried() -> None:
    assert set(VALUES) == set(defaults())


@pytest.mark.parametrize("path", VALUES)
def test_a_value_changes_what_it_should_and_nothing_else(path: str) -> None:
    value, changed, others = VALUES[path]
    given = ['store.url="s3://bucket/prefix"', *([others] if others else [])]
    before, after = parts(*given), parts(*given, f"{path}={value}")
    assert {name for name in {*before, *after} if before.get(name) != after.get(name)} == changed
    text_after = str([after.get(name) for name in changed])
    assert all(scalar in text_after for scalar in scalars(json.loads(value)))


def test_the_schema_refuses_values_of_another_type() -> None:
    schema = jsonschema.Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    for path, default in defaults().items():
        wrong: Any = "text" if isinstance(default, (dict, list)) else ["text"]
        for key in reversed(path.split(".")):
            wrong = {key: wrong}
        refused = {".".join(map(str, e.absolute_path)) for e in schema.iter_errors(wrong)}
        # Kubernetes checks the keys of a security context itself.
        assert path in refused or path.startswith("podSecurityContext."), path


def test_no_key_is_there_twice() -> None:
    theirs = r"podLabels.motifk8s/step=mine,podAnnotations.helm\.sh/hook=mine"
    selector = r"podLabels.app\.kubernetes\.io/name=mine"
    s3 = "s3.enabled=true,store.secretName=keys"
    rendered = text(*STORE, "--set", f"{theirs},{selector},{s3}")
    assert list(YAML(typ="safe").load_all(rendered))  # raises at a key that is there twice


# --- security


@pytest.mark.parametrize("initless", ["false", "true"])
@each_variant
def test_pods_are_restricted(variant: Path, initless: str) -> None:
    found = dict(pods(render("--values", variant, "--set", f"executor.initlessPod={initless}")))
    assert {*STEPS, "motifk8s-check"} <= set(found)
    for name, pod in found.items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert pod["securityContext"].get("runAsUser") != 0, name
        for container in [*pod.get("initContainers", ()), *pod["containers"]]:
            assert container["securityContext"] == RESTRICTED, (name, container)
        for volume in pod["volumes"]:
            assert set(volume) - {"name"} <= {"emptyDir", "configMap", "persistentVolumeClaim"}


@each_variant
def test_all_that_a_pod_writes_on_its_node_is_limited(variant: Path) -> None:
    for name, pod in pods(render("--values", variant)):
        [container] = [c for c in pod["containers"] if "image" in c]
        most = container["resources"]["limits"]["ephemeral-storage"]
        assert "ephemeral-storage" in container["resources"]["requests"], name
        for volume in pod["volumes"]:
            if volume["name"] != "dshm":
                assert volume.get("emptyDir", {"sizeLimit": most}) == {"sizeLimit": most}, name


@each_variant
def test_every_attempt_ends(variant: Path) -> None:
    found = templates(render("--values", variant))
    assert all(found[step]["activeDeadlineSeconds"] > 0 for step in STEPS)


@each_variant
def test_only_argo_gets_a_token(variant: Path) -> None:
    """Argo mounts the Secret of the executor's account in its own containers."""
    docs = render("--values", variant)
    spec = one(docs, "WorkflowTemplate")["spec"]
    account = spec["executor"]["serviceAccountName"]
    assert spec["automountServiceAccountToken"] is False
    assert account != spec["serviceAccountName"]
    assert [s["name"] for s in one(docs, "RoleBinding")["subjects"]] == [account]
    for doc in docs:
        if doc["kind"] == "Secret":
            assert doc["metadata"]["name"] == f"{account}.service-account-token"
            annotations = doc["metadata"]["annotations"]
            assert annotations == {"kubernetes.io/service-account.name": account}
    for name in ("motifk8s-check", "motifk8s-s3"):
        for pod in [spec for found, spec in pods(docs) if found == name]:
            assert pod["automountServiceAccountToken"] is False


ARGO_CONTAINERS = {"false": ({"init"}, {"wait"}), "true": (set(), {"supervisor"})}


@pytest.mark.parametrize("initless", ARGO_CONTAINERS)
def test_the_patch_names_the_containers_that_argo_has(initless: str) -> None:
    """A patch of a container that a pod lacks would add one without an image."""
    docs = render(*STORE, "--set", f"executor.initlessPod={initless}")
    patch = yaml.safe_load(one(docs, "WorkflowTemplate")["spec"]["podSpecPatch"])
    found = [{c["name"] for c in patch.get(f, ())} for f in ("initContainers", "containers")]
    assert tuple(found) == ARGO_CONTAINERS[initless]


RESTRICTED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
# A value of podSpecPatch or another value as JSON, and what the notes say that it weakens.
PATCHES: list[tuple[str, list[str]]] = [
    ("podSpecPatch={}", []),
    ('podSpecPatch={"hostname": "x"}', []),
    ('podSpecPatch={"containers": [{"name": "wait", "resources": {"limits": {"cpu": 1}}}]}', []),
    ('podSpecPatch={"containers": [{"name": "main", "env": []}]}', []),
    ('podSpecPatch={"volumes": [{"name": "x", "emptyDir": {}}]}', []),
    (
        'podSpecPatch={"containers": [{"name": "wait", "securityContext": {"runAsUser": 7}}]}',
        [],
    ),
    ('podSpecPatch={"containers": [{"name": "wait", "securityContext": null}]}', []),
    (
        'podSpecPatch={"containers": [{"name": "main", "securityContext": null}]}',
        [
            "podSpecPatch.containers: main: allowPrivilegeEscalation",
            "podSpecPatch.containers: main: readOnlyRootFilesystem",
            "podSpecPatch.containers: main: capabilities.drop",
        ],
    ),
    ("podSpecPatch=null", ["podSpecPatch is null"]),
    ('podSpecPatch={"hostNetwork": true}', ["podSpecPatch.hostNetwork"]),
    (
        'podSpecPatch={"securityContext": {"runAsNonRoot": false}}',
        ["podSpecPatch.securityContext: runAsNonRoot"],
    ),
    (
        'podSpecPatch={"containers": [{"name": "wait", "securityContext": {"runAsUser": 0, '
        '"runAsNonRoot": false}}]}',
        ["podSpecPatch.containers: wait: runAsNonRoot", "podSpecPatch.containers: wait: runAsUser"],
    ),
    (
        'podSpecPatch={"containers": [{"name": "main", "securityContext": {"privileged": true, '
        '"allowPrivilegeEscalation": true, "readOnlyRootFilesystem": false}}]}',
        [
            "podSpecPatch.containers: main: privileged",
            "podSpecPatch.containers: main: allowPrivilegeEscalation",
            "podSpecPatch.containers: main: readOnlyRootFilesystem",
        ],
    ),
    (
        'podSpecPatch={"initContainers": [{"name": "init", "securityContext": {"capabilities": '
        '{"add": ["SYS_ADMIN"]}, "seccompProfile": {"type": "Unconfined"}}}]}',
        [
            "podSpecPatch.initContainers: init: seccompProfile",
            "podSpecPatch.initContainers: init: capabilities.add",
        ],
    ),
    (
        'podSpecPatch={"containers": [{"name": "proxy", "image": "p", '
        '"ports": [{"hostPort": 1}]}]}',
        [
            "podSpecPatch.containers: proxy: allowPrivilegeEscalation",
            "podSpecPatch.containers: proxy: readOnlyRootFilesystem",
            "podSpecPatch.containers: proxy: capabilities.drop",
            "podSpecPatch.containers: proxy: hostPort",
        ],
    ),
    (
        'podSpecPatch={"volumes": [{"name": "x", "hostPath": {"path": "/"}}]}',
        ["podSpecPatch.volumes: hostPath"],
    ),
    (
        'podSpecPatch={"containers": [{"name": "wait", "securityContext": {"$patch": "replace"}}]}',
        ["podSpecPatch: a directive such as $patch"],
    ),
    ("podSecurityContext.runAsNonRoot=false", ["podSecurityContext: runAsNonRoot"]),
    ("podSecurityContext.runAsUser=0", ["podSecurityContext: runAsUser"]),
    ('podSecurityContext.seccompProfile.type="Unconfined"', ["podSecurityContext: seccompProfile"]),
]


@pytest.mark.parametrize(("value", "weaker"), PATCHES, ids=[value for value, _ in PATCHES])
def test_the_notes_say_what_weakens_the_restricted_profile(value: str, weaker: list[str]) -> None:
    notes = notes_of(*STORE, "--set-json", value)
    _, warning, lines = notes.partition("Warning:")
    assert bool(warning) == bool(weaker)
    found = [line.strip() for line in lines.splitlines()[1:] if line.strip()]
    assert len(found) == len(weaker)
    for line, start in zip(found, weaker, strict=True):
        assert line.startswith(start)


def test_a_patch_is_merged_with_the_one_of_the_chart() -> None:
    mine = (
        'podSpecPatch={"hostname": "x", "containers": [{"name": "wait", "resources": '
        '{"limits": {"cpu": "1"}}, "securityContext": {"runAsUser": 7}}, '
        '{"name": "main", "tty": true}]}'
    )
    docs = render(*STORE, "--set-json", mine)
    assert yaml.safe_load(one(docs, "WorkflowTemplate")["spec"]["podSpecPatch"]) == {
        "hostname": "x",
        "initContainers": [{"name": "init", "securityContext": RESTRICTED}],
        "containers": [
            {
                "name": "wait",
                "resources": {"limits": {"cpu": "1"}},
                "securityContext": {**RESTRICTED, "runAsUser": 7},
            },
            {"name": "main", "tty": True},
        ],
    }


@each_variant
def test_pods_may_report_and_nothing_else(variant: Path) -> None:
    docs = render("--values", variant)
    assert one(docs, "Role")["rules"] == [
        {
            "apiGroups": ["argoproj.io"],
            "resources": ["workflowtaskresults"],
            "verbs": ["create", "patch"],
        }
    ]
    assert not [doc for doc in docs if doc["kind"].startswith("Cluster")]


@each_variant
def test_keys_come_from_the_users_secret_alone(variant: Path) -> None:
    docs = render("--values", variant)
    wanted = yaml.safe_load(variant.read_text())["store"].get("secretName")
    # Kubernetes fills the only Secret of the chart, with the token of Argo's containers.
    for doc in docs:
        if doc["kind"] == "Secret":
            assert doc["type"] == "kubernetes.io/service-account-token"
            assert not {"data", "stringData"} & set(doc)
    seen = set()
    for _, pod in pods(docs):
        for container in pod["containers"]:
            for variable in container.get("env", ()):
                if re.search("KEY_ID|ACCESS_KEY|SECRET|TOKEN", variable["name"]):
                    seen.add(variable["valueFrom"]["secretKeyRef"]["name"])
    assert seen == ({wanted} if wanted else set())


def test_what_helm_makes_it_removes() -> None:
    """Nothing is kept, and the only hook leaves no pod, whatever its outcome."""
    for variant in VARIANTS:
        for doc in render("--values", variant):
            annotations = doc["metadata"].get("annotations") or {}
            assert "helm.sh/resource-policy" not in annotations
            if "helm.sh/hook" in annotations:
                policy = annotations["helm.sh/hook-delete-policy"].split(",")
                assert {"hook-succeeded", "hook-failed"} <= set(policy)


def test_another_image_leaves_the_store_alone() -> None:
    """An upgrade that restarted it would empty it, where it has no volume claim."""
    values = [*STORE, "--set", "s3.enabled=true,store.secretName=keys"]
    before, after = (
        one(render(*values, "--set-string", f"image.tag={tag}"), "Deployment", "motifk8s-s3")
        for tag in ("1", "2")
    )
    assert before == after


@each_variant
def test_every_object_says_which_release_it_is_of(variant: Path) -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    wanted = {
        "app.kubernetes.io/name": "motifk8s",
        "app.kubernetes.io/part-of": "motifk8s",
        "app.kubernetes.io/instance": "release",
        "app.kubernetes.io/version": chart["appVersion"],
        "app.kubernetes.io/managed-by": "Helm",
        "helm.sh/chart": f"motifk8s-{chart['version']}",
    }
    for doc in render("--values", variant):
        assert wanted.items() <= doc["metadata"]["labels"].items(), doc["metadata"]["name"]


@each_variant
def test_the_check_uses_the_store_as_the_steps_do(variant: Path) -> None:
    docs = render("--values", variant)
    spec, plan = one(docs, "Pod", "motifk8s-check")["spec"], templates(docs)["plan"]
    [container] = spec["containers"]
    assert spec["restartPolicy"] == "Never"
    assert spec["serviceAccountName"] == one(docs, "WorkflowTemplate")["spec"]["serviceAccountName"]
    assert spec["volumes"] == plan["volumes"]
    assert container["command"] == ["motifk8s", "check"]
    same = {"image", "imagePullPolicy", "resources", "securityContext", "volumeMounts"}
    assert all(container[key] == plan["container"][key] for key in same)
    of_argo = {"MOTIFK8S_WORKFLOW", "MOTIFK8S_ATTEMPT"}
    assert set(environment(plan["container"])) - set(environment(container)) == of_argo
    assert environment(container).items() <= environment(plan["container"]).items()


def test_selectors_find_their_pods() -> None:
    """Those of the S3 server's Service, and of both network policies."""
    docs = render(*STORE, "--set", "networkPolicy.enabled=true,s3.enabled=true,store.secretName=k")
    server = one(docs, "Deployment", "motifk8s-s3")["spec"]
    service = one(docs, "Service", "motifk8s-s3")["spec"]
    steps, store = (one(docs, "NetworkPolicy", n)["spec"] for n in ("motifk8s", "motifk8s-s3"))
    [into], [out] = store["ingress"], [r for r in steps["egress"] if "podSelector" in str(r)]
    labels = server["template"]["metadata"]["labels"]
    for selector in (
        server["selector"]["matchLabels"],
        service["selector"],
        store["podSelector"]["matchLabels"],
        out["to"][0]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    [port] = server["template"]["spec"]["containers"][0]["ports"]
    ports = {each["port"] for each in (*service["ports"], *into["ports"], *out["ports"])}
    assert ports == {port["containerPort"]} and service["ports"][0]["targetPort"] == port["name"]
    assert into["from"][0]["podSelector"] == steps["podSelector"]
    pods_of = [templates(docs)[step]["metadata"]["labels"] for step in STEPS]
    for found in (*pods_of, one(docs, "Pod", "motifk8s-check")["metadata"]["labels"]):
        assert steps["podSelector"]["matchLabels"].items() <= found.items()
        assert [e["key"] for e in steps["podSelector"]["matchExpressions"]] == ["motifk8s/step"]
        assert "motifk8s/step" in found
    assert "motifk8s/step" not in labels


# --- the workflow


def test_only_leaves_are_tried_again() -> None:
    for template in templates(render(*STORE)).values():
        if "dag" in template:
            assert "retryStrategy" not in template
            assert template["dag"]["failFast"] is False
        else:
            assert template["retryStrategy"]["retryPolicy"] == "Always"
            assert set(template["retryStrategy"]["backoff"]) == {"duration", "factor", "cap"}
            assert template["container"]["terminationMessagePolicy"] == "FallbackToLogsOnError"


ENDINGS = [
    # exit code, Argo's message, a preemption?
    (75, "main: Error (exit code 75): motifk8s: stopped", True),
    (143, "main: Error (exit code 143)", True),
    (137, "main: Error (exit code 137)", True),
    (137, "main: ContainerStatusUnknown (exit code 137): The container could not be located", True),
    (-1, "init: Error (exit code 137)", True),
    (0, "wait: Error (exit code 143)", True),
    (0, "supervisor: Error (exit code 143)", True),
    (-1, "supervisor: ContainerStatusUnknown (exit code 137)", True),
    (65, "supervisor: Error (exit code 1): no template", True),
    (65, "main: Error (exit code 65): Error: supervisor presumed dead", True),
    (-1, "main: Unknown (exit code 255)", True),
    (-1, "pod deleted", True),
    (75, "Pod was terminated in response to imminent node shutdown.", True),
    (-1, "Pod was rejected as the node is shutting down.", True),
    (-1, "Pod was rejected: Node didn't have enough resource: nvidia.com/gpu, requested: 1", True),
    (-1, "node is draining", True),
    (137, "The node was low on resource: memory. Threshold quantity: 100Mi", True),
    (75, "The node had condition: [DiskPressure]. ", True),
    (-1, "Preempted in order to admit critical pod", True),
    (-1, "can't find failed message for pod x namespace y", True),
    (-1, "pod failed: neither main nor wait container completed successfully", True),
    (-1, "Pod failed before main container starts due to ContainerCreating: ", True),
    (137, "main: OOMKilled (exit code 137)", False),
    (0, "wait: OOMKilled (exit code 137)", False),
    (-1, "wait: OOMKilled (exit code 137)", False),
    (65, "supervisor: OOMKilled (exit code 137)", False),
    (0, "supervisor: Error (exit code 1): cannot report outputs", False),
    (75, "Pod was active on the node longer than the specified deadline", False),
    (137, "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. ", False),
    (137, 'Container main exceeded its local ephemeral storage limit "1Gi". ', False),
    (137, 'Usage of EmptyDir volume "tmp" exceeds the limit "1Gi". ', False),
    (1, "main: Error (exit code 1): motifk8s: loss is not a number; pod deleted 137", False),
    (2, "main: Error (exit code 2): motifk8s: study.yaml: seed: expected a number", False),
    (3, "main: Error (exit code 3): motifk8s: 75 cells are missing", False),
    (0, "", False),
]


@pytest.mark.parametrize(("code", "message", "again"), ENDINGS)
def test_preemption_is_told_from_failure(code: int, message: str, again: bool) -> None:
    """The expression, in Python's words: its language has the same operators."""
    expression = cell(render(*STORE))["retryStrategy"]["expression"]
    for pattern, python in [
        (r"asInt\(lastRetry\.exitCode\)", "int(code)"),
        (r"lastRetry\.message matches (\".*?\")", r"bool(re.search(\1, message))"),
        (r"lastRetry\.message contains (\".*?\")", r"(\1 in message)"),
        ("&&", "and"),
        (r"\|\|", "or"),
    ]:
        expression, n = re.subn(pattern, python, expression)
        assert n
    assert eval(expression, {"re": re}, {"code": str(code), "message": message}) is again


def test_aggregation_follows_whatever_happened() -> None:
    tasks = {t["name"]: t for t in templates(render(*STORE))["study"]["dag"]["tasks"]}
    assert set(tasks["aggregate"]["depends"].split(" || ")) == {
        f"datasets.{state}" for state in ("Succeeded", "Failed", "Errored", "Skipped")
    }


def test_a_cell_has_a_label_that_kubernetes_takes() -> None:
    """Without slashes, and empty rather than longer than 63 characters."""
    labels = {step: templates(render(*STORE))[step]["metadata"]["labels"] for step in STEPS}
    assert [step for step in STEPS if "motifk8s/cell" in labels[step]] == ["cell"]
    assert labels["cell"]["motifk8s/cell"] == (
        "{{=len(inputs.parameters.cell) > 63 ? '' : replace(inputs.parameters.cell, '/', '.')}}"
    )


def test_braces_of_argo_survive_helm() -> None:
    rendered = text(*STORE)
    for name in ("workflow.parameters.study", "inputs.parameters.cell", "item", "retries"):
        assert "{{" + name + "}}" in rendered
    assert "`" not in rendered


# --- argo/ and the rest


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_name_the_template_and_a_study(path: Path) -> None:
    assert path.read_text().startswith("# ")
    workflow = yaml.safe_load(path.read_text())
    assert workflow["spec"]["workflowTemplateRef"] == {"name": "motifk8s"}
    given = {p["name"]: p["value"] for p in workflow["spec"]["arguments"]["parameters"]}
    study = load(given.pop("study"))
    assert list(study.cells())
    declared = one(render(*STORE), "WorkflowTemplate")["spec"]["arguments"]["parameters"]
    assert set(given) <= {p["name"] for p in declared}
    assert workflow["metadata"]["generateName"] == path.stem.removesuffix("study")


def test_chart_has_the_version_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == version


def notes_of(*args: str | Path) -> str:
    return install(*args).partition("NOTES:")[2]


def test_notes_name_the_next_command() -> None:
    notes = notes_of(*STORE)
    assert "helm test release -n here" in notes
    assert "argo submit -n here --from workflowtemplate/motifk8s -p study=smoke" in notes
    assert "no value" not in notes and "%!" not in notes


IDENTITY = "pods use the identity of the service account"
NOTES = [
    ("", [IDENTITY, "which has no annotations yet"], ["at http", "The store is"]),
    (
        "store.endpoint=https://s3.example.org",
        ["s3://bucket/prefix at https://s3.example.org."],
        [],
    ),
    ("store.secretName=keys", [], [IDENTITY, "annotations"]),
    ("serviceAccount.annotations.role=mine", [IDENTITY], ["no annotations"]),
    (
        "s3.enabled=true,store.secretName=keys",
        ["at http://motifk8s-s3.here.svc:7070.", "lost when its pod ends"],
        ["PersistentVolumeClaim"],
    ),
    (
        "s3.enabled=true,store.secretName=keys,s3.size=1Gi",
        ["`helm uninstall` deletes it with all results"],
        ["its pod ends"],
    ),
]


@pytest.mark.parametrize(("values", "said", "unsaid"), NOTES)
def test_notes_say_what_the_values_mean(values: str, said: list[str], unsaid: list[str]) -> None:
    notes = notes_of(*STORE, "--set", values)
    assert all(text in notes for text in said)
    assert not any(text in notes for text in unsaid)
