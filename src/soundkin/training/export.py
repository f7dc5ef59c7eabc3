"""A trained network -> an encoder folder: ``encoder.onnx`` and ``encoder.json``.

The graph is assembled node by node, batch normalisation folded into the layers beside it: it needs no
exporter, runs on any ONNX Runtime since 1.13 (opset 17), and is a third of the nodes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from soundkin.features import FrontEnd
from soundkin.training.network import Encoder

Array = NDArray[np.float32]

OPSET = 17
_TINY = 1e-12


class _Graph:
    """Nodes and constants in the order they are used; every node is named by its output."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, value: Array | NDArray[np.int64]) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output


def to_onnx(encoder: Encoder) -> bytes:
    """Turn an encoder into an ONNX model.

    Parameters
    ----------
    encoder : Encoder
        Trained. Its batch normalisation is taken as in evaluation mode.

    Returns
    -------
    bytes
        Input ``logmel`` float32 (batch, n_mels, frames), decibels; output ``embedding`` float32 (batch,
        dims), unit norm.
    """
    graph = _Graph()
    x = _standardised(graph, encoder)
    for number, block in enumerate(encoder.blocks):
        x = _block(graph, x, f"block{number}", block)
    x = _pooled(graph, x, encoder)
    x = _dense(graph, x, encoder)
    _unit(graph, x, "embedding")
    n_mels = encoder.standardise.mean.shape[1]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            f"soundkin-{encoder.recipe.name}",
            [
                helper.make_tensor_value_info(
                    "logmel", TensorProto.FLOAT, ["batch", n_mels, encoder.recipe.frames]
                )
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", encoder.recipe.dims])],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=8,
        producer_name="soundkin",
    )
    onnx.checker.check_model(model, full_check=True)
    serialised: bytes = model.SerializeToString()
    return serialised


def _numpy(tensor: torch.Tensor) -> Array:
    return tensor.detach().cpu().float().numpy()


def _standardised(graph: _Graph, encoder: Encoder) -> str:
    top = graph.node("ReduceMax", ["logmel"], "top", axes=[1, 2], keepdims=1)
    reach = np.array(encoder.standardise.range_db, np.float32)
    floor = graph.node("Sub", [top, graph.constant("range", reach)], "floor")
    cut = graph.node("Max", ["logmel", floor], "cut")
    mean = graph.node("ReduceMean", [cut], "mean", axes=[1, 2], keepdims=1)
    level = graph.node("Sub", [cut, mean], "level")
    x = graph.node("Sub", [level, graph.constant("band_mean", _numpy(encoder.standardise.mean))], "offset")
    x = graph.node("Mul", [x, graph.constant("band_scale", _numpy(encoder.standardise.scale))], "standard")
    return graph.node("Unsqueeze", [x, graph.constant("axis", np.array([1], np.int64))], "image")


def _block(graph: _Graph, x: str, name: str, block: nn.Module) -> str:
    assert isinstance(block, nn.Sequential)
    convolution, norm, _, pool = block
    assert isinstance(convolution, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    scale, shift = _affine(norm)
    kernel = _numpy(convolution.weight) * scale[:, None, None, None]
    side, stride = convolution.kernel_size[0], convolution.stride[0]
    x = graph.node(
        "Conv",
        [x, graph.constant(f"{name}.kernel", kernel), graph.constant(f"{name}.bias", shift)],
        f"{name}.conv",
        kernel_shape=[side, side],
        strides=[stride, stride],
        pads=[side // 2] * 4,
    )
    x = graph.node("Relu", [x], f"{name}.relu")
    if isinstance(pool, nn.MaxPool2d):
        size = [pool.kernel_size, pool.kernel_size]
        x = graph.node("MaxPool", [x], f"{name}.pool", kernel_shape=size, strides=size)
    return x


def _affine(norm: nn.BatchNorm1d | nn.BatchNorm2d) -> tuple[Array, Array]:
    """Return scale and shift that a batch normalisation comes down to in evaluation."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = _numpy(norm.weight) / np.sqrt(_numpy(norm.running_var) + np.float32(norm.eps))
    return scale, _numpy(norm.bias) - _numpy(norm.running_mean) * scale


def _pooled(graph: _Graph, x: str, encoder: Encoder) -> str:
    recipe = encoder.recipe
    height = _height(encoder)
    size = [height // recipe.bands, 1]
    x = graph.node("AveragePool", [x], "bands", kernel_shape=size, strides=size)
    pooled = [graph.node("ReduceMean", [x], "time_mean", axes=[3], keepdims=0)]
    if recipe.pooling == "mean+max":
        pooled.append(graph.node("ReduceMax", [x], "time_max", axes=[3], keepdims=0))
        x = graph.node("Concat", pooled, "pooled", axis=1)
    else:
        x = pooled[0]
    return graph.node("Flatten", [x], "flat", axis=1)


def _height(encoder: Encoder) -> int:
    """Return the number of frequency rows after the last block."""
    with torch.no_grad():
        x = torch.zeros(1, 1, encoder.standardise.mean.shape[1], encoder.recipe.frames)
        for block in encoder.blocks:
            x = block.eval()(x)
    return x.shape[2]


def _dense(graph: _Graph, x: str, encoder: Encoder) -> str:
    scale, shift = _affine(encoder.norm)
    weight, bias = _numpy(encoder.dense.weight), _numpy(encoder.dense.bias)
    kernel = graph.constant("dense.kernel", (weight * scale).T)
    return graph.node("Gemm", [x, kernel, graph.constant("dense.bias", weight @ shift + bias)], "dense")


def _unit(graph: _Graph, x: str, output: str) -> str:
    norm = graph.node("ReduceL2", [x], f"{output}.norm", axes=[1], keepdims=1)
    tiny = graph.constant(f"{output}.tiny", np.array(_TINY, np.float32))
    return graph.node("Div", [x, graph.node("Max", [norm, tiny], f"{output}.safe")], output)


def multiply_adds(encoder: Encoder) -> int:
    """Count the multiply-adds of one window: convolutions and dense layer."""
    total = 0

    def count(module: nn.Conv2d, _: object, output: torch.Tensor) -> None:
        nonlocal total
        total += output[0].numel() * module.weight[0].numel()

    hooks = [block[0].register_forward_hook(count) for block in encoder.blocks]  # type: ignore[index]
    _height(encoder)
    for hook in hooks:
        hook.remove()
    return total + encoder.dense.weight.numel()


def export(
    encoder: Encoder,
    folder: Path,
    front: FrontEnd,
    *,
    name: str,
    data: str,
    licence: str,
    metrics: Mapping[str, object],
) -> Path:
    """Write an encoder folder that the registry can load.

    Parameters
    ----------
    encoder : Encoder
        Trained.
    folder : Path
        Made when missing.
    front : FrontEnd
        The log-mel it was trained on.
    name : str
        Of the encoder.
    data : str
        What it was trained on, in a sentence or two.
    licence : str
        SPDX identifier of the weights' licence.
    metrics : mapping
        Anything known about its quality; JSON values.

    Returns
    -------
    Path
        The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    model = to_onnx(encoder)
    (folder / "encoder.onnx").write_bytes(model)
    frames = encoder.recipe.frames
    card = {
        "name": name,
        "dims": encoder.recipe.dims,
        "front_end": asdict(front),
        "window_frames": frames,
        "window_samples": front.n_samples(frames),
        "hop_frames": frames - 1,
        "hop_samples": (frames - 1) * front.hop,
        "input": "logmel",
        "output": "embedding",
        "pooling": "mean",
        "multiply_adds_per_window": multiply_adds(encoder),
        "recipe": asdict(encoder.recipe),
        "data": data,
        "licence": licence,
        "metrics": dict(metrics),
        "sha256": hashlib.sha256(model).hexdigest(),
    }
    (folder / "encoder.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n")
    return folder
