"""What runs a published network: PyTorch on a GPU; on a CPU whatever was measured to be fastest there.

On a CPU a network is exported once as ONNX, kept in the cache, and run by OpenVINO where that is installed; else in
float32 by ONNX Runtime, and in bfloat16 by PyTorch. `benchmarks/bench_encoders.py` prints what each of them gains.
"""

import hashlib
import logging
import os
import sys
import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from soundkin.encoders.weights import cache_folder
from soundkin.errors import ModelError

log = logging.getLogger(__name__)

Array = NDArray[np.float32]

_OPSET = 17
# Of the exported graphs; another number makes them anew.
_VERSION = 1


class Engine:
    """A network that takes one array and gives one or more.

    Parameters
    ----------
    name : str
        What runs it, and in which precision: "openvino bfloat16".
    run : callable
        float32 (b, ...) -> list of float32 (b, ...).
    """

    def __init__(self, name: str, run: Callable[[Array], list[Array]]) -> None:
        self.name, self._run = name, run

    def __call__(self, x: Array) -> list[Array]:
        """Run the network on a batch."""
        return self._run(np.ascontiguousarray(x, np.float32))


def engine_for(
    network: Callable[[], Any],
    example: tuple[int, ...],
    key: str,
    precision: str,
    choice: str = "auto",
    varies: int = 1,
) -> Engine | None:
    """Choose what runs a network on this CPU, and make it ready.

    Parameters
    ----------
    network : callable
        Makes the network, a `torch.nn.Module` in float32 that takes one array; called only when it has to be exported.
    example : tuple of int
        Shape of a batch that it takes.
    key : str
        Names the network and its weights: equal keys, equal graphs.
    precision : str
        "float32" or "bfloat16".
    choice : str
        "torch", "openvino", "onnxruntime", or "auto" for the fastest that is installed.
    varies : int
        How many of the first dimensions of `example` may differ from call to call.

    Returns
    -------
    Engine or None
        None when PyTorch itself is to run it. Runs on one thread: the processes of a scan are the parallelism.

    Raises
    ------
    ModelError
        The network cannot be exported, or the engine does not take it.
    """
    if choice == "auto":
        choice = _fastest(precision)
    if choice == "torch":
        return None
    graph = exported(network, example, key, varies)
    try:
        return _openvino(graph, precision) if choice == "openvino" else _onnxruntime(graph)
    except Exception as error:  # neither engine has a public root of its errors
        raise ModelError(f"{choice} cannot run {graph}: {' '.join(str(error).split())}") from error


def _fastest(precision: str) -> str:
    if find_spec("openvino"):
        return "openvino"
    # ONNX Runtime beats PyTorch in float32, and has no bfloat16 on CPUs.
    return "onnxruntime" if precision == "float32" and find_spec("onnx") else "torch"


def exported(network: Callable[[], Any], example: tuple[int, ...], key: str, varies: int = 1) -> Path:
    """Return the ONNX graph of a network; exported the first time, then kept in the cache.

    Parameters
    ----------
    network, example, key, varies
        As for `engine_for`.

    Returns
    -------
    Path
        The graph.

    Raises
    ------
    ModelError
        PyTorch cannot export it, or the cache cannot be written.
    """
    from filelock import FileLock

    digest = hashlib.sha256(f"{_VERSION} {key} {example[varies:]}".encode()).hexdigest()[:16]
    folder = cache_folder() / "engines"
    graph = folder / f"{digest}.onnx"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"{digest}.lock"):
            if not graph.is_file():
                log.info("exporting %s once; it is kept in %s", key, graph)
                aside = graph.with_suffix(f".{os.getpid()}.new")
                try:
                    _export(network(), example, aside, varies)
                    os.replace(aside, graph)
                finally:
                    aside.unlink(missing_ok=True)
    except OSError as error:
        raise ModelError(
            f"{folder} cannot be written: {error.strerror or error}; name another in SOUNDKIN_CACHE"
        ) from error
    return graph


def _export(network: Any, example: tuple[int, ...], path: Path, varies: int) -> None:
    import torch

    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")  # the tracer warns of every shape it takes for constant
        outputs = network(torch.zeros(example))
        names = [f"out{i}" for i in range(len(outputs) if isinstance(outputs, tuple) else 1)]
        try:
            torch.onnx.export(
                network, (torch.zeros(example),), str(path), dynamo=False, opset_version=_OPSET,
                input_names=["x"], output_names=names,
                dynamic_axes={"x": {i: f"x{i}" for i in range(varies)}, **{name: {0: "x0"} for name in names}},
            )  # fmt: skip
        except Exception as error:  # its errors have no common root, either
            raise ModelError(
                f"PyTorch cannot export the network: {' '.join(str(error).split())[:200]}"
            ) from error


def _onnxruntime(graph: Path) -> Engine:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    # What it frees is free for others: an arena would keep the most that any batch ever took.
    options.enable_cpu_mem_arena = False
    session = ort.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
    return Engine("onnxruntime float32", lambda x: session.run(None, {"x": x}))


@cache
def _openvino_core() -> Any:
    """Return OpenVINO's runtime, one for the whole life of the process.

    Each runtime puts a stack of its own under the thread's signal handlers and takes it away at its end. Where two do
    not end in the reverse order of their beginning, the next signal meets memory that is gone: Ctrl-C is a crash.
    """
    # Its import reports to Google Analytics, unless this module cannot be imported: nothing leaves the machine.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino.Core()


def _openvino(graph: Path, precision: str) -> Engine:
    # Said aloud: on its own it takes bfloat16 wherever it can, and vectors would depend on the machine unasked.
    settings = {
        "INFERENCE_PRECISION_HINT": {"float32": "f32", "bfloat16": "bf16"}[precision],
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
    }
    compiled = _openvino_core().compile_model(str(graph), "CPU", settings)
    # A request of its own for every call: threads may share an encoder.
    return Engine(
        f"openvino {precision}",
        lambda x: [np.array(out) for out in compiled.create_infer_request().infer([x]).to_tuple()],
    )
