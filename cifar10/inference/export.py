"""Exports a network to ONNX and `torch.export`: the input is raw images, the output logits."""

import json
import warnings
from collections.abc import Callable
from io import BytesIO
from time import perf_counter
from typing import Any, NamedTuple

import onnxruntime
import torch
from onnxscript import opset20
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from cifar10.data.batches import eval_batch_size
from cifar10.errors import UserError

TOLERANCE = 1e-4
"""Largest accepted absolute difference of a logit from PyTorch's."""
BATCH = eval_batch_size(torch.device("cpu"))
Runtime = Callable[[Tensor], Tensor]
"""Maps images (N, 3, 32, 32) uint8 on the CPU to logits (N, C) float32."""


class Check(NamedTuple):
    """Comparison of a runtime with PyTorch on the same images. largest_difference: of the logits, absolute."""

    images: int
    same_predictions: int
    largest_difference: float
    images_per_second: float


def export_network(network: nn.Module) -> ExportedProgram:
    """Exports a network in evaluation mode on the CPU, with a dynamic batch size N. Input: (N, 3, 32, 32) uint8."""
    example = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)  # torch.export would specialize on a batch size of 1
    return torch.export.export(network, (example,), dynamic_shapes=({0: Dim("N")},))


def to_onnx(program: ExportedProgram, class_names: list[str]) -> bytes:
    """Returns an ONNX file: `images` (N, 3, 32, 32) uint8 to `logits` (N, C). Its metadata has `classes` as JSON."""
    table: dict[Any, Any] = {torch.ops.prims.signbit.default: _signbit}
    settings: Any = {"dynamo": True, "verbose": False, "dynamic_shapes": ({0: "N"},), "custom_translation_table": table}
    exported: Any = torch.onnx.export(program, input_names=["images"], output_names=["logits"], **settings)
    exported.model.metadata_props["classes"] = json.dumps(class_names)
    return exported.model_proto.SerializeToString()


def _signbit(x: Any) -> Any:
    """Converts torch.signbit, which CIEDE2000 uses and PyTorch's exporter does not support. Differs for -0.0 only.

    Checked with torch 2.14 and onnxscript 0.7.
    """
    return opset20.Less(x, opset20.CastLike(0.0, x))  # type: ignore[type-var]


def to_pt2(program: ExportedProgram) -> bytes:
    """Returns a file for `torch.export.load`."""
    content = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about weights that are not on the CPU
        torch.export.save(program, content)
    return content.getvalue()


def onnx_runtime(content: bytes) -> Runtime:
    """Loads an ONNX file into onnxruntime, on the CPU with PyTorch's number of threads."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def check(name: str, runtime: Runtime, images: Tensor, expected: Tensor) -> Check:
    """Compares a runtime with PyTorch's logits (N, C). Raises UserError if any differs by more than TOLERANCE."""
    with torch.inference_mode():
        start = perf_counter()
        logits = torch.cat([runtime(batch) for batch in images.split(BATCH)])
        seconds = perf_counter() - start
    same = int((logits.argmax(1) == expected.argmax(1)).sum())
    difference = float((logits - expected).abs().max())
    if not difference <= TOLERANCE:
        raise UserError(
            f"{name} disagrees with PyTorch on {len(images) - same:,} of {len(images):,} images: logits differ by up "
            f"to {difference:.1e}, expected at most {TOLERANCE:g}; no file written; try another version of {name}"
        )
    return Check(len(images), same, difference, len(images) / seconds)
