"""Workflows in a cluster. The only module that touches the `kubernetes` and Argo clients.

Two ways lead to Argo Workflows: the Kubernetes API, with the user's kubeconfig or a pod's own
account, and the Argo Server, where ARGO_SERVER names one. Workflows are plain JSON, as either
sends them; `workflows.py` knows what they mean.
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
from typing import Any, TypeVar

from motifk8s.errors import InputError, Problem

T = TypeVar("T")
Json = dict[str, Any]
Workflows = list[Json]  # inside a cluster, `list` is a method

TEMPLATE = "motifk8s"  # the WorkflowTemplate that the chart installs
PART_OF = "app.kubernetes.io/part-of"  # label of everything that is ours
OURS = f"{PART_OF}=motifk8s"
GROUP, VERSION = "argoproj.io", "v1alpha1"
TIMEOUT = (5.0, 30.0)  # seconds to connect, and to answer
PAGE = 50  # workflows in one answer: one of a thousand cells is up to a megabyte
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoAnswerError(Problem):
    """The cluster does not answer, or only that it cannot now: worth another try."""


class GoneError(Problem):
    """There is no such workflow."""


def connect(namespace: str | None = None) -> Cluster:
    """Find the cluster as `argo` and `kubectl` do; nothing is asked of it yet.

    Parameters
    ----------
    namespace : str, optional
        By default ARGO_NAMESPACE, then that of the kubeconfig's context or the pod's own, then
        "default".

    Raises
    ------
    Problem
        If no cluster is configured, or the kubeconfig cannot be used.
    """
    namespace = namespace or os.environ.get("ARGO_NAMESPACE")
    if namespace and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", namespace):
        raise InputError(f"{namespace!r} cannot be the name of a namespace")
    import urllib3

    try:
        return ArgoServer(namespace) if os.environ.get("ARGO_SERVER") else Kubernetes(namespace)
    except urllib3.exceptions.HTTPError as error:  # of a proxy's address
        raise InputError(
            f"no cluster: {_line(error)}; HTTPS_PROXY and HTTP_PROXY are like http://host:port"
        ) from error


class Cluster(ABC):
    """A namespace of a cluster with Argo Workflows. Every method raises `Problem`."""

    namespace: str
    url: str

    def check_template(self) -> None:
        """Raise `Problem` unless Argo and the chart are installed."""
        try:
            what = f"cannot look for WorkflowTemplate {TEMPLATE}"
            self._call(what, "get workflowtemplates", self._template)
        except GoneError:
            raise Problem(
                f"namespace {self.namespace} has no WorkflowTemplate {TEMPLATE}; install the chart "
                f"(helm install {TEMPLATE} helm/{TEMPLATE} --namespace {self.namespace}), or name "
                "its namespace with --namespace"
            ) from None

    def create(self, workflow: Json) -> Json:
        """Create a workflow and return it, with its name."""
        return self._call("cannot submit", "create workflows", lambda: self._create(workflow))

    def list(self) -> Workflows:
        """Return our workflows of the namespace, running and finished, newest first."""
        found = self._call("cannot list workflows", "list workflows", self._list)
        return sorted(found, key=lambda w: w["metadata"]["creationTimestamp"], reverse=True)

    def get(self, name: str) -> Json:
        """Return one workflow; `GoneError` if there is none."""
        what = f"cannot read workflow {name}"
        return self._call(what, "get workflows", lambda: self._get(name))

    def terminate(self, name: str) -> None:
        """End a workflow: its pods get SIGTERM, and save their checkpoints."""
        what = f"cannot stop workflow {name}"
        self._call(what, "get and patch workflows", lambda: self._terminate(name))

    @abstractmethod
    def _template(self) -> Json: ...

    @abstractmethod
    def _create(self, workflow: Json) -> Json: ...

    @abstractmethod
    def _list(self) -> Workflows: ...

    @abstractmethod
    def _get(self, name: str) -> Json: ...

    @abstractmethod
    def _terminate(self, name: str) -> Json: ...

    @abstractmethod
    def _certificate_hint(self) -> str: ...

    @abstractmethod
    def _credentials_hint(self) -> str: ...

    @abstractmethod
    def _no_argo(self) -> str:
        """What it means that not even the path of a request is known."""

    def _call(self, what: str, needs: str, request: Callable[[], T]) -> T:
        """Do a request and tell its errors; `needs` is the right that it takes."""
        import urllib3

        try:
            return request()
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(what, error) from error
        except json.JSONDecodeError as error:  # a web page, say
            raise Problem(f"{what}: {self._no_argo()}") from error
        except ValueError:  # of http.client, whose message holds the token
            hint = self._credentials_hint()
            raise InputError(
                f"{what}: the token has characters that cannot be sent, a line break maybe; {hint}"
            ) from None
        except Exception as error:
            # The two clients share no class, but the one of their errors has these.
            status = getattr(error, "status", None)
            if status is None:
                raise
            told, plain = _message(getattr(error, "body", None) or "")
            raise self._diagnose(what, needs, status, told, plain) from error

    def _unreachable(self, what: str, error: Exception) -> Problem:
        from urllib3 import exceptions as http

        cause = getattr(error, "reason", None) or error
        told = _line(re.sub(r"^.*?(at 0x\w+>|port=\d+\)): ", "", str(cause)))
        if isinstance(cause, http.SSLError):
            hint = self._certificate_hint()
            return Problem(f"{what}: no trusted connection to {self.url} ({told}); {hint}")
        if isinstance(cause, http.ProtocolError) and self.url.startswith("http:"):
            hint = "if it wants https, unset ARGO_SECURE"
            return NoAnswerError(f"{what}: {self.url} hung up; {hint}")
        return NoAnswerError(
            f"{what}: {self.url} does not answer ({told}); check the network, and whether the "
            "cluster is up"
        )

    def _diagnose(self, what: str, needs: str, status: int, told: str, plain: bool) -> Problem:
        if status == 401:
            hint = self._credentials_hint()
            return Problem(f"{what}: {self.url} does not accept the credentials; {hint}")
        if status == 403:
            return Problem(
                f"{what}: permission denied; it takes the right to {needs} in namespace "
                f"{self.namespace} ({told})"
            )
        if status == 404 and plain:
            return Problem(f"{what}: {self._no_argo()}")
        if status == 404 and told.startswith("namespaces "):
            hint = "name another with --namespace"
            return InputError(f"{what}: there is no namespace {self.namespace}; {hint}")
        if status == 404:
            return GoneError(f"{what}: {told}")
        if "HTTP request to an HTTPS server" in told:
            return Problem(f"{what}: {self.url} wants https; unset ARGO_SECURE")
        kind = NoAnswerError if status in (408, 429, 502, 503, 504) else Problem
        return kind(f"{what}: {self.url} answered {status}: {told}")


class Kubernetes(Cluster):
    """The Kubernetes API, with the user's kubeconfig or a pod's own account."""

    def __init__(self, namespace: str | None):
        from kubernetes import client

        configuration, own, self.remark = _configuration()
        _prepare(configuration)
        self.namespace = namespace or own or "default"
        self.url = configuration.host
        self._api = client.CustomObjectsApi(client.ApiClient(configuration))

    def _template(self) -> Json:
        return self._ask("get", "workflowtemplates", TEMPLATE)

    def _create(self, workflow: Json) -> Json:
        return self._ask("create", "workflows", body=workflow)

    def _list(self) -> Workflows:
        found: Workflows = []
        more: Json = {}
        while True:
            answer = self._ask("list", "workflows", label_selector=OURS, limit=PAGE, **more)
            found += answer["items"]
            more = {"_continue": answer["metadata"].get("continue")}
            if not more["_continue"]:
                return found

    def _get(self, name: str) -> Json:
        return self._ask("get", "workflows", name)

    def _terminate(self, name: str) -> Json:
        return self._ask("patch", "workflows", name, body={"spec": {"shutdown": "Terminate"}})

    def _ask(self, verb: str, plural: str, *name: str, **more: Any) -> Any:
        method = getattr(self._api, f"{verb}_namespaced_custom_object")
        return method(
            GROUP, VERSION, self.namespace, plural, *name, _request_timeout=TIMEOUT, **more
        )

    def _certificate_hint(self) -> str:
        return "check the certificate-authority of the cluster in the kubeconfig"

    def _credentials_hint(self) -> str:
        return f"log in to the cluster again, or check the user in the kubeconfig{self.remark}"

    def _no_argo(self) -> str:
        return (
            f"{self.url} knows no workflows; install Argo Workflows, or choose another cluster "
            "(kubectl config use-context)"
        )


class ArgoServer(Cluster):
    """The Argo Server that ARGO_SERVER names, with the `argo` command's other variables.

    Of its client only the transport is used: the models of its answers are those of Argo 3.
    """

    def __init__(self, namespace: str | None):
        import argo_workflows

        server, token = os.environ["ARGO_SERVER"], os.environ.get("ARGO_TOKEN")
        if not re.fullmatch(r"([^\s/:]+|\[[^\s/]+\]):\d+", server):
            raise InputError(
                f"ARGO_SERVER={server}: want host:port, such as localhost:2746 (ARGO_SECURE=false "
                "where it speaks plain http)"
            )
        secure = os.environ.get("ARGO_SECURE") != "false"
        base = os.environ.get("ARGO_BASE_HREF", "").strip("/")
        self.url = f"{'https' if secure else 'http'}://{server}{'/' if base else ''}{base}"
        self.namespace = namespace or _context_namespace() or "default"
        configuration = argo_workflows.Configuration(host=self.url)
        configuration.api_key = {"BearerToken": token} if token else {}
        configuration.verify_ssl = os.environ.get("ARGO_INSECURE_SKIP_VERIFY") != "true"
        _prepare(configuration)
        self._client = argo_workflows.ApiClient(configuration)

    def _template(self) -> Json:
        return self._ask("GET", f"workflow-templates/{self.namespace}/{TEMPLATE}")

    def _create(self, workflow: Json) -> Json:
        body = {"namespace": self.namespace, "workflow": workflow}
        return self._ask("POST", f"workflows/{self.namespace}", body=body)

    def _list(self) -> Workflows:
        query = [("listOptions.labelSelector", OURS)]
        answer = self._ask("GET", f"workflows/{self.namespace}", query_params=query)
        return answer.get("items") or []

    def _get(self, name: str) -> Json:
        return self._ask("GET", f"workflows/{self.namespace}/{name}")

    def _terminate(self, name: str) -> Json:
        body = {"namespace": self.namespace, "name": name}
        return self._ask("PUT", f"workflows/{self.namespace}/{name}/terminate", body=body)

    def _ask(self, method: str, path: str, **more: Any) -> Json:
        self._client.call_api(
            f"/api/v1/{path}",
            method,
            auth_settings=["BearerToken"],
            _request_timeout=TIMEOUT,
            **{"query_params": [], **more},
        )
        return dict(json.loads(self._client.last_response.data))

    def _certificate_hint(self) -> str:
        return (
            "SSL_CERT_FILE names certificates to trust, ARGO_INSECURE_SKIP_VERIFY=true trusts any, "
            "ARGO_SECURE=false is for a server that speaks plain http"
        )

    def _credentials_hint(self) -> str:
        state = "is not valid" if os.environ.get("ARGO_TOKEN") else "is not set"
        token = f"$(kubectl create token ACCOUNT --namespace {self.namespace})"
        return f'ARGO_TOKEN {state}; export ARGO_TOKEN="Bearer {token}"'

    def _no_argo(self) -> str:
        return f"{self.url} is no Argo Server; check ARGO_SERVER"


def _prepare(configuration: Any) -> None:
    """What both clients get: few retries, so that a dead cluster is told of within seconds."""
    import urllib3

    configuration.retries = urllib3.Retry(total=1, redirect=0, respect_retry_after_header=False)
    if not configuration.verify_ssl:  # as the user has asked for
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)


def _configuration() -> tuple[Any, str | None, str]:
    """The client's configuration, the namespace that goes with it, and a remark on its login."""
    from kubernetes import client, config

    configuration = client.Configuration()
    path = _kubeconfig()
    if path is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            config.load_incluster_config(configuration)
        except (config.ConfigException, OSError) as error:
            raise Problem(
                f"no cluster: no kubeconfig, and this pod has no account ({_line(error)})"
            ) from error
        return configuration, _own_namespace(), ""
    if path is None:
        raise Problem(
            "no cluster: there is no kubeconfig (~/.kube/config, or KUBECONFIG), and ARGO_SERVER "
            "is not set"
        )
    try:
        with _heard() as said:
            config.load_kube_config(path, client_configuration=configuration)
    except Exception as error:  # of a broken file the client says all kinds of things
        told = _line(error) or type(error).__name__
        raise Problem(f"kubeconfig {path} cannot be used: {told}") from error
    remark = f" ({'; '.join(said)})" if said else ""
    return configuration, _context_namespace(), remark


def _kubeconfig() -> str | None:
    """KUBECONFIG, or the usual file; None if there is no such file."""
    paths = os.environ.get("KUBECONFIG") or "~/.kube/config"
    found = any(p and Path(p).expanduser().exists() for p in paths.split(os.pathsep))
    return paths if found else None


def _context_namespace() -> str | None:
    """Namespace of the kubeconfig's current context; None if nothing (readable) says one."""
    from kubernetes import config

    path = _kubeconfig()
    if path is None:
        return _own_namespace()
    try:
        return config.list_kube_config_contexts(path)[1]["context"].get("namespace")
    except Exception:  # as above; where it matters, loading it tells
        return None


def _own_namespace() -> str | None:
    try:
        return (ACCOUNT / "namespace").read_text().strip()
    except OSError:
        return None


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect what is logged: the client logs a failed login program, and goes on without."""
    said: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: said.append(_line(record.getMessage()))  # type: ignore[method-assign]
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield said
    finally:
        root.removeHandler(handler)


def _message(body: str | bytes) -> tuple[str, bool]:
    """The message of an error's JSON, or its text; and whether it is text."""
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
    try:
        return _line(json.loads(text)["message"]), False
    except (ValueError, KeyError, TypeError):
        return _line(text)[:200] or "nothing more", True


def _line(text: object) -> str:
    return " ".join(str(text).split()).rstrip(".")
