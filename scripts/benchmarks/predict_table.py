"""What was measured of answers, as Markdown."""

from collections.abc import Iterator
from typing import Any

from benchmarks.measure import number, ratio, spread


def predict_table(found: dict[str, Any]) -> Iterator[str]:
    yield "## Answers, on the CPU"
    yield ""
    yield f"| one image, milliseconds | {' | '.join(next(iter(found['one'].values())))} |"
    yield "| --- | --- | --- | --- | --- |"
    for model, ways in found["one"].items():
        yield f"| {model} | {' | '.join(number(spread(values), 2) for values in ways.values())} |"
    yield ""
    yield "| in batches of 100, images per second | predict | onnxruntime | onnxruntime / predict |"
    yield "| --- | --- | --- | --- |"
    for model, ways in found["many"].items():
        cells = [number(spread(ways[way])) for way in ("predict", "onnxruntime")]
        yield f"| {model} | {' | '.join(cells)} | {number(ratio(ways['onnxruntime'], ways['predict']), 2)} |"
    files = found["folder"]["files"]
    yield ""
    yield f"| {files:,} PNG files of 32 x 32 pixels | seconds | images per second |"
    yield "| --- | --- | --- |"
    for what, values in found["folder"]["seconds"].items():
        speed = "" if what.endswith("one file") else number(spread([files / value for value in values]))
        yield f"| {what} | {number(spread(values), 2)} | {speed} |"
    yield ""
    yield "In float32. `predict` is that of `cifar10.load`; onnxruntime runs what `scripts/export.py` writes, with as"
    yield "many threads. `predict.py` is the whole command with its start, which one file shows."
