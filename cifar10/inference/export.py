"""A trained model for other runtimes, as ONNX and as `torch.export`'s program: raw images in, logits out."""

import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from time import perf_counter
from typing import Any, NamedTuple

import onnxruntime
import torch
from onnxscript import opset20
from torch import Tensor
from torch.export import Dim, ExportedProgram

from cifar10.errors import UserError
from cifar10.models.classifier import Classifier

TOLERANCE = 1e-4
"""How far a logit may be from PyTorch's."""
BATCH = 100
Runtime = Callable[[Tensor], Tensor]
"""From images (n, 3, 32, 32) uint8 on the CPU to logits (n, C) float32."""


class Check(NamedTuple):
    """One runtime beside another on the same images."""

    images: int
    same_answers: int
    largest_difference: float
    images_per_second: float


def exported(model: Classifier) -> ExportedProgram:
    """The model in evaluation mode, on the CPU, for any number N of images (N, 3, 32, 32) uint8."""
    example = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)  # of 1 the number would be taken for a constant
    with _quiet():
        return torch.export.export(model, (example,), dynamic_shapes=({0: Dim("N")},))


def as_onnx(program: ExportedProgram, class_names: list[str]) -> bytes:
    """The program as an ONNX file: `images` (N, 3, 32, 32) uint8 to `logits` (N, C); `classes` in its metadata."""
    # CIEDE2000 asks for the sign of an angle. That of -0.0 makes no difference: it is a hue of half a turn either way.
    table = {torch.ops.prims.signbit.default: lambda x: opset20.Less(x, opset20.CastLike(0.0, x))}
    with _quiet():
        made = torch.onnx.export(
            program,
            dynamo=True,
            input_names=["images"],
            output_names=["logits"],
            custom_translation_table=table,
            verbose=False,
        )
    made.rename_axes(
        {axis: "N" for value in made.model.graph.inputs for axis in value.shape if str(axis).isidentifier()}
    )
    made.model.metadata_props["classes"] = json.dumps(class_names)
    return made.model_proto.SerializeToString()


def as_pt2(program: ExportedProgram) -> bytes:
    """The program as a file that `torch.export.load` reads."""
    content = BytesIO()
    with _quiet():
        torch.export.save(program, content)
    return content.getvalue()


def onnx_runtime(content: bytes) -> Runtime:
    """The ONNX file's contents, run by onnxruntime on the CPU, with as many threads as PyTorch has."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def check(name: str, runtime: Runtime, images: Tensor, expected: Tensor) -> Check:
    """Runs it on all images, in batches. expected: PyTorch's logits, (N, C).

    Raises UserError where a logit is further away than TOLERANCE. The answer is then PyTorch's too, but where
    two classes are within twice of that.
    """
    with torch.inference_mode():
        start = perf_counter()
        logits = torch.cat([runtime(batch) for batch in images.split(BATCH)])
        seconds = perf_counter() - start
    same = int((logits.argmax(1) == expected.argmax(1)).sum())
    found = Check(len(images), same, float((logits - expected).abs().max()), len(images) / seconds)
    if not found.largest_difference <= TOLERANCE:
        raise UserError(
            f"{name} says of {len(images) - same:,} of {len(images):,} images something else than PyTorch, logits are "
            f"up to {found.largest_difference:.1e} apart ({TOLERANCE:g} is allowed); nothing was written. Try another "
            "version of it"
        )
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps from the terminal what the exporters tell their programmers."""
    loggers: list[Any] = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
