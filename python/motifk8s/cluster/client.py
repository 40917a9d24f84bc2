"""Workflows in a cluster. The only module that uses the `kubernetes` and `argo_workflows` clients.

It reaches Argo Workflows by the Kubernetes API, with the user's kubeconfig or a pod's own account,
or by the Argo Server in ARGO_SERVER. Workflows are plain JSON, which `workflows.py` reads.
"""

from __future__ import annotations

import json
import logging
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import argo_workflows
import urllib3
from kubernetes import client, config
from urllib3 import exceptions as http

from motifk8s.errors import InputError, Problem, one_line

Json = dict[str, Any]

TEMPLATE = "motifk8s"  # the chart's WorkflowTemplate
PART_OF = "app.kubernetes.io/part-of"  # label of all objects of motifk8s
OURS = f"{PART_OF}=motifk8s"
GROUP, VERSION = "argoproj.io", "v1alpha1"
TIMEOUT = (5.0, 30.0)  # seconds to connect, and to answer
PAGE = 50  # workflows per answer; one with a thousand cells can have a megabyte
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoAnswerError(Problem):
    """The cluster does not answer, or is overloaded; a retry may succeed."""


class GoneError(Problem):
    """The cluster has no object of this name."""


def connect(namespace: str | None = None) -> Cluster:
    """Find the cluster as `argo` and `kubectl` do, without a request to it.

    The namespace is by default ARGO_NAMESPACE, else that of the kubeconfig's context or of the
    pod, else "default".

    Raises
    ------
    Problem
        No cluster is configured, or the kubeconfig is invalid.
    """
    namespace = namespace or os.environ.get("ARGO_NAMESPACE")
    if namespace and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", namespace):
        raise InputError(
            f"{namespace!r} is not a valid namespace: use a-z, 0-9 and -, at most 63 characters"
        )
    try:
        return ArgoServer(namespace) if os.environ.get("ARGO_SERVER") else Kubernetes(namespace)
    except http.HTTPError as error:  # from the address of a proxy
        raise InputError(
            f"no cluster: {_line(error)}; HTTPS_PROXY and HTTP_PROXY must be http://host:port"
        ) from error


class Cluster(ABC):
    """A namespace of a cluster with Argo Workflows. Every method raises `Problem`."""

    namespace: str
    url: str
    certificate_hint: str  # how to fix an untrusted certificate
    credentials_hint: str  # how to fix rejected credentials
    no_argo: str  # the error if the server is not Argo

    def read_template(self) -> Json:
        """Return the chart's WorkflowTemplate; check that Argo and the chart are installed."""
        try:
            return self._call(
                f"cannot read template {TEMPLATE}", "get workflowtemplates", self._template
            )
        except GoneError:
            raise Problem(
                f"namespace {self.namespace} has no WorkflowTemplate {TEMPLATE}; install the chart "
                f"(helm install {TEMPLATE} helm/{TEMPLATE} --namespace {self.namespace}), or give "
                "its namespace with --namespace"
            ) from None

    def create(self, workflow: Json) -> Json:
        """Create a workflow; return it with its generated name."""
        return self._call("cannot submit", "create workflows", self._create, workflow)

    def workflows(self) -> list[Json]:
        """Return the workflows of motifk8s in the namespace, active and finished, newest first."""
        workflows = self._call("cannot list workflows", "list workflows", self._list)
        return sorted(workflows, key=lambda w: w["metadata"]["creationTimestamp"], reverse=True)

    def get(self, name: str) -> Json:
        """Return one workflow; raise `GoneError` if it does not exist."""
        return self._call(f"cannot read workflow {name}", "get workflows", self._get, name)

    def terminate(self, name: str) -> None:
        """Stop a workflow: its pods get SIGTERM and save their checkpoints."""
        needs = "get and patch workflows"
        self._call(f"cannot stop workflow {name}", needs, self._terminate, name)

    @abstractmethod
    def _template(self) -> Json: ...

    @abstractmethod
    def _create(self, workflow: Json) -> Json: ...

    @abstractmethod
    def _list(self) -> list[Json]: ...

    @abstractmethod
    def _get(self, name: str) -> Json: ...

    @abstractmethod
    def _terminate(self, name: str) -> Json: ...

    def _call(self, what: str, needs: str, request: Callable[..., Any], *args: Any) -> Any:
        """Send a request and explain its errors; `needs` is the required permission."""
        try:
            return request(*args)
        except http.HTTPError as error:
            raise self._unreachable(what, error) from error
        except json.JSONDecodeError as error:  # the answer may be a web page
            raise Problem(f"{what}: {self.no_argo}") from error
        except ValueError:  # from http.client; its message contains the token
            raise InputError(
                f"{what}: the token contains invalid characters, such as a line break; "
                f"{self.credentials_hint}"
            ) from None
        except (client.ApiException, argo_workflows.ApiException) as error:
            raise self._refused(what, needs, error.status, error.body) from error

    def _unreachable(self, what: str, error: Exception) -> Problem:
        cause = getattr(error, "reason", None) or error
        detail = _line(re.sub(r"^.*?(at 0x\w+>|port=\d+\)): ", "", str(cause)))
        if isinstance(cause, http.SSLError):
            return Problem(
                f"{what}: no trusted connection to {self.url} ({detail}); {self.certificate_hint}"
            )
        if isinstance(cause, http.ProtocolError) and self.url.startswith("http:"):
            return NoAnswerError(
                f"{what}: {self.url} closed the connection; if it requires https, unset ARGO_SECURE"
            )
        return NoAnswerError(
            f"{what}: {self.url} does not answer ({detail}); check the network, and whether the "
            "cluster runs"
        )

    def _refused(self, what: str, needs: str, status: int, body: str | bytes | None) -> Problem:
        """Explain an answer that is an error."""
        message, is_json = _message(body or "")
        if status == 401:
            return Problem(
                f"{what}: {self.url} does not accept the credentials; {self.credentials_hint}"
            )
        if status == 403:
            return Problem(
                f"{what}: permission denied; your account needs the right to {needs} in namespace "
                f"{self.namespace} ({message})"
            )
        if status == 404 and not is_json:  # the server does not know the path
            return Problem(f"{what}: {self.no_argo}")
        if status == 404 and message.startswith("namespaces "):
            return InputError(
                f"{what}: there is no namespace {self.namespace}; give another with --namespace"
            )
        if status == 404:
            return GoneError(f"{what}: {message}")
        if "HTTP request to an HTTPS server" in message:
            return Problem(f"{what}: {self.url} requires https; unset ARGO_SECURE")
        kind = NoAnswerError if status in (408, 429, 502, 503, 504) else Problem
        return kind(f"{what}: {self.url} answered {status}: {message}")


class Kubernetes(Cluster):
    """The Kubernetes API, with the user's kubeconfig or a pod's own account."""

    certificate_hint = "check the certificate-authority of the cluster in the kubeconfig"

    def __init__(self, namespace: str | None):
        configuration, own_namespace, remark = _configuration()
        _limit_retries(configuration)
        self.namespace = namespace or own_namespace or "default"
        self.url = configuration.host
        self.credentials_hint = (
            f"log in to the cluster again, or check the user in the kubeconfig{remark}"
        )
        self.no_argo = (
            f"{self.url} does not have Argo Workflows; install it, or select another cluster "
            "(kubectl config use-context)"
        )
        self._api = client.CustomObjectsApi(client.ApiClient(configuration))

    def _template(self) -> Json:
        return self._ask("get", "workflowtemplates", TEMPLATE)

    def _create(self, workflow: Json) -> Json:
        return self._ask("create", "workflows", body=workflow)

    def _list(self) -> list[Json]:
        workflows: list[Json] = []
        page: Json = {}
        while True:
            answer = self._ask("list", "workflows", label_selector=OURS, limit=PAGE, **page)
            workflows += answer["items"]
            page = {"_continue": answer["metadata"].get("continue")}
            if not page["_continue"]:
                return workflows

    def _get(self, name: str) -> Json:
        return self._ask("get", "workflows", name)

    def _terminate(self, name: str) -> Json:
        return self._ask("patch", "workflows", name, body={"spec": {"shutdown": "Terminate"}})

    def _ask(self, verb: str, plural: str, *name: str, **options: Any) -> Any:
        method = getattr(self._api, f"{verb}_namespaced_custom_object")
        return method(
            GROUP, VERSION, self.namespace, plural, *name, _request_timeout=TIMEOUT, **options
        )


class ArgoServer(Cluster):
    """The Argo Server in ARGO_SERVER, configured by the variables of the `argo` command.

    Only the client's transport is used, because its models of answers are those of Argo 3.
    """

    certificate_hint = (
        "set SSL_CERT_FILE to a file of trusted certificates, ARGO_INSECURE_SKIP_VERIFY=true to "
        "trust any certificate, or ARGO_SECURE=false for a server without https"
    )

    def __init__(self, namespace: str | None):
        server, token = os.environ["ARGO_SERVER"], os.environ.get("ARGO_TOKEN")
        if not re.fullmatch(r"([^\s/:]+|\[[^\s/]+\]):\d+", server):
            raise InputError(
                f"ARGO_SERVER={server}: expected host:port, such as localhost:2746 (for a server "
                "without https, set ARGO_SECURE=false)"
            )
        scheme = "http" if os.environ.get("ARGO_SECURE") == "false" else "https"
        base = os.environ.get("ARGO_BASE_HREF", "").strip("/")
        self.url = f"{scheme}://{server}{'/' if base else ''}{base}"
        self.namespace = namespace or _context_namespace() or "default"
        self.credentials_hint = (
            f"ARGO_TOKEN {'is not valid' if token else 'is not set'}; export "
            f'ARGO_TOKEN="Bearer $(kubectl create token ACCOUNT --namespace {self.namespace})"'
        )
        self.no_argo = f"{self.url} is not an Argo Server; check ARGO_SERVER and ARGO_BASE_HREF"
        configuration = argo_workflows.Configuration(host=self.url)
        configuration.api_key = {"BearerToken": token} if token else {}
        configuration.verify_ssl = os.environ.get("ARGO_INSECURE_SKIP_VERIFY") != "true"
        _limit_retries(configuration)
        self._client = argo_workflows.ApiClient(configuration)

    def _template(self) -> Json:
        return self._ask("GET", f"workflow-templates/{self.namespace}/{TEMPLATE}")

    def _create(self, workflow: Json) -> Json:
        body = {"namespace": self.namespace, "workflow": workflow}
        return self._ask("POST", f"workflows/{self.namespace}", body=body)

    def _list(self) -> list[Json]:
        query = [("listOptions.labelSelector", OURS)]
        answer = self._ask("GET", f"workflows/{self.namespace}", query_params=query)
        return answer.get("items") or []

    def _get(self, name: str) -> Json:
        return self._ask("GET", f"workflows/{self.namespace}/{name}")

    def _terminate(self, name: str) -> Json:
        body = {"namespace": self.namespace, "name": name}
        return self._ask("PUT", f"workflows/{self.namespace}/{name}/terminate", body=body)

    def _ask(self, method: str, path: str, **options: Any) -> Json:
        self._client.call_api(
            f"/api/v1/{path}",
            method,
            auth_settings=["BearerToken"],
            _request_timeout=TIMEOUT,
            **{"query_params": [], **options},
        )
        return dict(json.loads(self._client.last_response.data))


def _limit_retries(configuration: Any) -> None:
    """Retry only once, so that an unreachable cluster is reported within seconds."""
    configuration.retries = urllib3.Retry(total=1, redirect=0, respect_retry_after_header=False)
    if not configuration.verify_ssl:  # by the user's choice
        urllib3.disable_warnings(http.InsecureRequestWarning)


def _configuration() -> tuple[Any, str | None, str]:
    """Return the client's configuration, its namespace, and a remark about a failed login."""
    configuration = client.Configuration()
    path = _kubeconfig()
    if path is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            config.load_incluster_config(configuration)
        except (config.ConfigException, OSError) as error:
            raise Problem(
                f"no cluster: no kubeconfig, and this pod has no service account ({_line(error)})"
            ) from error
        return configuration, _own_namespace(), ""
    if path is None:
        raise Problem(
            "no cluster: there is no kubeconfig (~/.kube/config, or KUBECONFIG), and ARGO_SERVER "
            "is not set"
        )
    try:
        with _logged() as messages:
            config.load_kube_config(path, client_configuration=configuration)
    except Exception as error:  # the client raises many types for an invalid file
        reason = _line(error) or type(error).__name__
        raise Problem(f"kubeconfig {path} is invalid: {reason}") from error
    remark = f" ({'; '.join(messages)})" if messages else ""
    return configuration, _context_namespace(), remark


def _kubeconfig() -> str | None:
    """Return KUBECONFIG or the default path; None if the file does not exist."""
    paths = os.environ.get("KUBECONFIG") or "~/.kube/config"
    exists = any(p and os.path.exists(os.path.expanduser(p)) for p in paths.split(os.pathsep))
    return paths if exists else None


def _context_namespace() -> str | None:
    """Return the namespace of the kubeconfig's current context; None if it has none."""
    path = _kubeconfig()
    if path is None:
        return _own_namespace()
    try:
        return config.list_kube_config_contexts(path)[1]["context"].get("namespace")
    except Exception:  # an invalid file; if it is needed, loading it raises a Problem
        return None


def _own_namespace() -> str | None:
    try:
        return (ACCOUNT / "namespace").read_text(encoding="utf-8").strip()
    except OSError:
        return None


@contextmanager
def _logged() -> Iterator[list[str]]:
    """Collect log messages, because the client only logs that a login program failed."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(_line(record.getMessage()))  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield messages
    finally:
        root.removeHandler(handler)


def _message(body: str | bytes) -> tuple[str, bool]:
    """Return the message of an error's JSON, or its text, and whether it is JSON."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        return _line(json.loads(text)["message"]), True
    except (ValueError, KeyError, TypeError):
        return _line(text)[:200] or "no message", False


def _line(text: object) -> str:
    return one_line(text).rstrip(".")
