"""Run a model on the accelerator: train some steps, predict, reduce activations.

Data sets stay on the device as base codes, one byte a base. One-hot encoding, shuffling and
batching run on the device, and one dispatch runs many training steps. Only this module and `fused`
depend on the Keras backend, TensorFlow or JAX. The arithmetic is that of ``keras.Model.fit``: the
same losses, batch norm, dropout and Adam.
"""

from __future__ import annotations

import gc
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from motifk8s import signals
from motifk8s.errors import InputError, Problem
from motifk8s.provenance import cores
from motifk8s.training import fused

if TYPE_CHECKING:
    import keras

# With this number of batches or more, compiling the training step with XLA saves time on a CPU.
COMPILED_FROM = 1_000
DETERMINISTIC = "xla_gpu_deterministic_ops"  # an option of XLA


def setup(threads: int | None = None) -> str:
    """Configure the Keras backend; call once, before any computation.

    A GPU computes in float32, not in the shorter TensorFloat-32, and each run gives the same bits.

    Parameters
    ----------
    threads : int, optional
        Threads for each operation on a CPU; by default one for each core. In a notebook that has
        computed with TensorFlow before, its threads and GPUs stay as they are.

    Returns
    -------
    str
        The name of the device, for example ``cpu`` or ``NVIDIA H100``.

    Raises
    ------
    Problem
        If KERAS_BACKEND is neither tensorflow nor jax.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # errors only
    # On CPUs with AVX512-VNNI, TensorFlow would use oneDNN, whose sums are not the same after a
    # resumption, and would print so in spite of the line above.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if backend == "tensorflow":
        with _importing():
            import keras  # noqa: F401 (here, where its import takes less time than later)
            import tensorflow as tf

        tf.get_logger().setLevel("ERROR")
        gpus = tf.config.list_physical_devices("GPU")
        try:
            tf.config.threading.set_intra_op_parallelism_threads(threads or cores())
            tf.config.threading.set_inter_op_parallelism_threads(1 if threads == 1 else 0)
            for gpu in gpus:
                tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:  # TensorFlow is initialized
            if signals.handling():
                raise
        tf.config.experimental.enable_op_determinism()
        tf.config.experimental.enable_tensor_float_32_execution(False)
        if not gpus:
            return "cpu"
        details = tf.config.experimental.get_device_details(gpus[0])
        return str(details.get("device_name", "gpu"))
    if backend == "jax":
        # As with TensorFlow: processes share a GPU's memory, sums have the same order in each run,
        # and products have all bits of float32.
        os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
        flags = os.environ.get("XLA_FLAGS", "")
        if DETERMINISTIC not in flags:
            os.environ["XLA_FLAGS"] = f"{flags} --{DETERMINISTIC}=true".strip()
        import jax

        jax.config.update("jax_default_matmul_precision", "float32")
        device = jax.devices()[0]
        return str(device.device_kind)
    raise Problem(f"KERAS_BACKEND: expected 'tensorflow' or 'jax', got {backend!r}")


@contextmanager
def _importing() -> Iterator[None]:
    """Import TensorFlow and Keras faster.

    Garbage collection pauses, because it finds nothing here. A command also takes half of the time
    for these imports, and exits two seconds sooner: it hides packages that TensorFlow and Keras
    import, if they are installed, for functions that it does not call; and these objects are never
    examined again. A notebook may call these functions.
    """
    own = signals.handling()
    unused = ("jax", "sklearn", "matplotlib") if own else ()
    hidden = [name for name in unused if name not in sys.modules]
    enabled = gc.isenabled()
    gc.disable()
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # its import raises ImportError
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if own:
            gc.freeze()
        if enabled:
            gc.enable()


def require_gpus() -> None:
    """Raise `Problem` if there are fewer GPUs than ``MOTIFK8S_GPUS``; call it after `setup`.

    A CPU would take many times as long, and the GPU that the pod has reserved would stay idle.
    Another attempt does not help, so the exit code is 1: the image has no CUDA, or the driver of
    the node is broken, and a node whose pods end at once gets the next pods too.
    """
    text = os.environ.get("MOTIFK8S_GPUS") or "0"
    if not text.isdecimal():
        raise InputError(f"MOTIFK8S_GPUS: expected a number of GPUs, got {text!r}")
    backend, wanted = os.environ["KERAS_BACKEND"], int(text)
    if wanted and (found := _count_gpus(backend)) < wanted:
        raise Problem(
            f"{backend} finds {found} of the {wanted} GPUs that this job requests (MOTIFK8S_GPUS):"
            " use an image with CUDA, check the node's driver with nvidia-smi, or set the chart's"
            " value gpu.required to false to train on the CPU"
        )


def _count_gpus(backend: str) -> int:
    if backend == "jax":
        import jax

        return sum(device.platform != "cpu" for device in jax.devices())
    import tensorflow as tf

    return len(tf.config.list_physical_devices("GPU"))


def open_device(
    model: keras.Model, optimizer: keras.Optimizer | None = None, steps: int = 0
) -> Device:
    """Put a model, and for training an optimizer, on the device.

    Parameters
    ----------
    steps : int
        Largest number of training batches. From `COMPILED_FROM` on, TensorFlow on a CPU compiles
        the training step with XLA. This takes five seconds, and then training is 1.5 to 3 times as
        fast (docs/performance.md).
    """
    import keras

    if keras.config.backend() == "jax":
        return JaxDevice(model, optimizer)
    import tensorflow as tf

    compiled = steps >= COMPILED_FROM and not tf.config.list_physical_devices("GPU")
    return TensorFlowDevice(model, optimizer, compiled)


def cross_entropy(labels: Any, probabilities: Any) -> Any:
    """Compute the mean binary cross-entropy, in nats, over known labels: 0 or 1 in (N, C).

    Without unknown labels (-1) it equals ``keras.losses.BinaryCrossentropy``.
    """
    from keras import ops

    known = ops.cast(labels >= 0, "float32")
    targets = ops.cast(labels, "float32") * known
    losses = ops.binary_crossentropy(targets, probabilities) * known
    return ops.sum(losses) / ops.maximum(ops.sum(known), 1.0)


def one_hot(codes: Any) -> Any:
    """Convert base codes (N, L) to one-hot (N, L, 4) float32; code 4 (the base N) gives zeros."""
    from keras import ops

    return ops.one_hot(ops.cast(codes, "int32"), 4, dtype="float32")


class Device(ABC):
    """A model on a device, from one-hot (N, L, 4) to probabilities (N, C).

    Each subclass computes gradients and loops over batches with one backend. `train` needs the
    optimizer.
    """

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer | None = None):
        self.model = model
        self.optimizer: Any = optimizer
        self.compiled = False
        if optimizer is not None:
            optimizer.build(model.trainable_variables)

    def _variables(self) -> list[Any]:
        return self.model.variables + (self.optimizer.variables if self.optimizer else [])

    def state(self) -> list[np.ndarray]:
        """Copy all state to the host: of weights, batch norm averages, dropout and Adam."""
        return [np.array(v) for v in self._variables()]

    def restore(self, state: list[np.ndarray]) -> None:
        """Set all state to that from `state`."""
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)

    def l2(self) -> float:
        """Compute the regularization term of the loss with the current weights."""
        return float(sum(float(np.asarray(loss)) for loss in self.model.losses))

    def set_learning_rate(self, rate: float) -> None:
        """Set the learning rate: a variable of the optimizer, so nothing is compiled again."""
        self.optimizer.learning_rate = rate

    @abstractmethod
    def put(self, codes: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:
        """Copy codes (N, L) uint8 and labels (N, C) int8 to the device."""

    @abstractmethod
    def train(self, data: tuple[Any, Any], order: np.ndarray, batch_size: int) -> float:
        """Train on rows of the data from `put`; return the sum over rows of their batch's loss.

        The loss is cross-entropy plus L2. `order` has row numbers, (n,) int32, and is split into
        batches; the last batch may be smaller.
        """

    def map(
        self, codes: Any, batch_size: int, reduce: Callable[..., Any] | None = None
    ) -> Iterator[Any]:
        """Run the model on batches and reduce its output on the device.

        Parameters
        ----------
        codes : (N, L) uint8
            On the host, or from `put`.
        reduce : callable, optional
            From the one-hot batch (n, L, 4) and the model's output to a tensor or a tuple of them.

        Yields
        ------
        numpy.ndarray or tuple
            The result of one batch, on the host.
        """
        run = self.compile_map(reduce) if reduce else self._predict
        for start in range(0, len(codes), batch_size):
            signals.stop_here()
            result = run(codes[start : start + batch_size])
            if isinstance(result, tuple):
                yield tuple(np.asarray(v) for v in result)
            else:
                yield np.asarray(result)

    def predict(self, codes: Any, batch_size: int = 200) -> np.ndarray:
        """Compute probabilities (N, C) float32; `codes` as in `map`."""
        return np.concatenate(list(self.map(codes, batch_size)))

    @cached_property
    def _predict(self) -> Callable[..., Any]:
        """The compiled model. It is compiled once, because training predicts after each epoch."""
        return self.compile_map(None)

    @abstractmethod
    def compile_map(self, reduce: Callable[..., Any] | None) -> Callable[..., Any]:
        """Compile model and reduction into one function of codes that uses the current weights."""


class TensorFlowDevice(Device):
    """A device with TensorFlow: one `tf.function` loops over batches."""

    def __init__(
        self,
        model: keras.Model,
        optimizer: keras.Optimizer | None = None,
        compiled: bool = False,
    ):
        super().__init__(model, optimizer)
        self.compiled = compiled
        self._fused_step = _function(self._fused, jit_compile=True)
        self._steps = _function(self._run)

    def _run(self, codes: Any, labels: Any, order: Any, batch_size: int) -> Any:
        """Train on all batches; return the sum over rows of their batch's loss."""
        import tensorflow as tf

        def compiled(start: Any, total: Any) -> Any:
            rows = tf.ensure_shape(order[start : start + batch_size], (batch_size,))
            masks = fused.draw_masks(self.model, batch_size)
            loss = self._fused_step(tf.gather(codes, rows), tf.gather(labels, rows), masks)
            return start + batch_size, total + loss * float(batch_size)

        def plain(start: Any, total: Any) -> Any:
            rows = order[start : start + batch_size]
            loss = self._plain(tf.gather(codes, rows), tf.gather(labels, rows))
            return start + batch_size, total + loss * tf.cast(tf.shape(rows)[0], "float32")

        n, state = tf.shape(order)[0], (tf.constant(0), tf.constant(0.0))
        if self.compiled:  # for one batch size; a smaller last batch runs uncompiled
            full = n // batch_size * batch_size
            state = tf.while_loop(lambda start, _: start < full, compiled, state)
        return tf.while_loop(lambda start, _: start < n, plain, state)[1]

    def _plain(self, codes: Any, labels: Any) -> Any:
        return self._step(codes, labels, lambda x: self.model(x, training=True))

    def _fused(self, codes: Any, labels: Any, masks: dict[str, Any]) -> Any:
        return self._step(codes, labels, lambda x: fused.forward(self.model, x, masks))

    def _step(self, codes: Any, labels: Any, forward: Callable[[Any], Any]) -> Any:
        """Train on one batch; return its loss."""
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = cross_entropy(labels, forward(one_hot(codes)))
            loss += tf.add_n(self.model.losses) if self.model.losses else 0.0
        variables = self.model.trainable_variables
        self.optimizer.apply(tape.gradient(loss, variables), variables)
        return loss

    def put(self, codes: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:  # noqa: D102
        import tensorflow as tf

        return tf.constant(codes), tf.constant(labels)

    def train(self, data: tuple[Any, Any], order: np.ndarray, batch_size: int) -> float:  # noqa: D102
        import tensorflow as tf

        return float(self._steps(*data, tf.constant(order), batch_size))

    def compile_map(self, reduce: Callable[..., Any] | None) -> Callable[..., Any]:  # noqa: D102
        def run(codes: Any) -> Any:
            x = one_hot(codes)
            y = self.model(x, training=False)
            return reduce(x, y) if reduce else y

        return _function(run)


def _function(python: Callable[..., Any], **options: Any) -> Any:
    """Compile a function of tensors; a loop over a tensor in it is `tf.while_loop`."""
    import tensorflow as tf

    # AutoGraph would parse and translate every function first, and finds nothing to change.
    return tf.function(python, reduce_retracing=True, autograph=False, **options)


class JaxDevice(Device):
    """A device with JAX: one pure function of all variables loops over batches."""

    def __init__(self, model: keras.Model, optimizer: keras.Optimizer | None = None):
        import jax

        super().__init__(model, optimizer)

        def loss_of(trainable: Any, others: Any, x: Any, y: Any) -> Any:
            p, others, losses = model.stateless_call(
                trainable, others, x, training=True, return_losses=True
            )
            return cross_entropy(y, p) + sum(losses), others

        gradient = jax.value_and_grad(loss_of, has_aux=True)

        def steps(state: Any, codes: Any, labels: Any, batches: Any) -> Any:
            def step(state: Any, rows: Any) -> Any:
                trainable, others, moments = state
                (loss, others), grads = gradient(
                    trainable, others, one_hot(codes[rows]), labels[rows]
                )
                trainable, moments = self.optimizer.stateless_apply(moments, grads, trainable)
                return (trainable, others, moments), loss * len(rows)

            state, losses = jax.lax.scan(step, state, batches)
            return state, losses.sum()

        self._steps = jax.jit(steps)

    def put(self, codes: np.ndarray, labels: np.ndarray) -> tuple[Any, Any]:  # noqa: D102
        import jax

        return jax.device_put(codes), jax.device_put(labels)

    def train(self, data: tuple[Any, Any], order: np.ndarray, batch_size: int) -> float:  # noqa: D102
        groups = (
            self.model.trainable_variables,
            self.model.non_trainable_variables,
            self.optimizer.variables,
        )
        state = tuple([v.value for v in group] for group in groups)
        full = len(order) // batch_size * batch_size
        total = 0.0
        # All batches of a scan have the same shape, so a smaller last batch is a second scan.
        for batches in (order[:full].reshape(-1, batch_size), order[full:].reshape(1, -1)):
            if batches.size:
                state, loss = self._steps(state, *data, batches)
                total += float(loss)
        for group, values in zip(groups, state, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        return total

    def compile_map(self, reduce: Callable[..., Any] | None) -> Callable[..., Any]:  # noqa: D102
        import jax

        model = self.model

        def run(weights: Any, codes: Any) -> Any:
            x = one_hot(codes)
            y, _ = model.stateless_call(*weights, x, training=False)
            return reduce(x, y) if reduce else y

        compiled = jax.jit(run)
        groups = (model.trainable_variables, model.non_trainable_variables)
        return lambda codes: compiled(tuple([v.value for v in g] for g in groups), codes)
