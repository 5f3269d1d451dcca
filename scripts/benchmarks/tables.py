"""What was measured, as Markdown."""

from collections.abc import Iterator
from statistics import mean
from typing import Any

from benchmarks.measure import number, ratio, spread
from benchmarks.predict_table import predict_table


def markdown(results: dict[str, Any]) -> str:
    """results: what `benchmark.py` writes as JSON. One table for each part that is in it."""
    parts = {
        "training": training_table,
        "choices": choices_table,
        "loading": loading_table,
        "startup": startup_table,
        "figures": figures_table,
        "growth": growth_table,
        "scale": scale_table,
        "predict": predict_table,
        "accuracy": accuracy_table,
        "search": search_table,
    }
    lines = [
        "# Benchmark",
        "",
        f"Measured on {results['device']}, {results['threads']} threads, by `{results['command']}` at commit",
        f"{results['commit']}; {', '.join(f'{name} {value}' for name, value in results['versions'].items())}.",
        f"Medians of {results['rounds']} rounds (of 3 for choices, start and pictures), in brackets the least and the",
        "greatest. Where ways are compared, all take turns within a round, and ratios are of one round each.",
    ]
    for name, table in parts.items():
        if name in results:
            lines += ["", *table(results[name])]
    return "\n".join(lines) + "\n"


def training_table(found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    yield "## Training, images per second"
    yield ""
    yield "| model | bare loop | this project | Lightning alone | the usual way | this / bare | / alone | / usual |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for model, ways in found.items():
        ours = ways["this project"]
        cells = [number(spread(values)) for values in ways.values()]
        cells += [number(ratio(ours, ways[way]), 2) for way in ("bare loop", "Lightning alone", "the usual way")]
        yield f"| {model} | {' | '.join(cells)} |"
    yield ""
    yield "Batch size and precision of `model=`; steps alone, without validation and checkpoints. Lightning alone: the"
    yield "same network and batches, nothing counted, under a Trainer without callbacks, loggers and progress bar. The"
    yield "usual way: Lightning's defaults, torchvision's per-image transforms, a `DataLoader` with two workers,"
    yield "`self.log` and torchmetrics in each step; for the prototypes every image against every one by broadcasting."


def choices_table(found: dict[str, dict[str, list[float]]]) -> Iterator[str]:
    yield "## Choices, each with and without"
    yield ""
    yield "| choice | faster by |"
    yield "| --- | --- |"
    for choice, ways in found.items():
        yield f"| {choice} | {number(ratio(ways['without'], ways['with']), 2)} |"
    yield ""
    yield "Steps of training at batch 32 in a bare loop, unless it says evaluation or Trainer. Below 1 is slower."


def loading_table(found: dict[str, list[float]]) -> Iterator[str]:
    yield "## Loading, images per second"
    yield ""
    yield "| loader, batches of 512 | images per second | this project is faster by |"
    yield "| --- | --- | --- |"
    for way, values in found.items():
        ours = found["this project, views" if way.endswith("views") else "this project"]
        faster = "" if way.startswith("this project") else number(ratio(ours, values), 1)
        yield f"| {way} | {number(spread(values))} | {faster} |"
    yield ""
    yield "Views are mirroring and shifts by up to 2 pixels. This project's batches are uint8, the others' float32."


def startup_table(found: dict[str, list[float]]) -> Iterator[str]:
    yield "## Start, seconds"
    yield ""
    yield "| from the command to | seconds |"
    yield "| --- | --- |"
    for what, values in found.items():
        yield f"| {what} | {number(spread(values), 2)} |"
    yield ""
    yield "The start of whole processes, files in the cache. Each import beyond those above it."


def figures_table(found: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    yield "## Pictures, seconds"
    yield ""
    yield "| model | in an epoch of training | before and after | of a whole training |"
    yield "| --- | --- | --- | --- |"
    for model, rounds in found.items():
        training, once = (spread([one[when] for one in rounds]) for when in ("training", "once"))
        share = spread([100 * (one["training"] + one["once"] / one["epochs"]) / one["epoch_seconds"] for one in rounds])
        yield f"| {model} | {number(training, 2)} | {number(once, 2)} | {number(share, 1)} % |"
    yield ""
    yield "In an epoch the prototypes for TensorBoard and `evolution/`; before training the graph, after it confusions,"
    yield "mistakes, calibration and weights, with the import of Matplotlib. A whole training has the epochs of"
    yield "`model=`, each as long as the one that was measured."


def growth_table(found: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    yield "## Growth"
    yield ""
    yield "| model | training images | classes | seconds an epoch | peak memory of training, MiB | the images, MiB |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for model, rows in found.items():
        for row in rows:
            yield (
                f"| {model.split(',')[0]} | {row['images']:,} | {row['classes']} | {row['seconds']:.2f} "
                f"| {row['peak_mb']:.0f} | {row['data_mb']:.0f} |"
            )
    yield ""
    yield "One epoch each, in a process of its own, the first steps among it. Peak memory is what training adds to a"
    yield "process that holds the images already."


def scale_table(found: dict[str, Any]) -> Iterator[str]:
    yield "## Several processes"
    yield ""
    yield "| model, batch size | one process, images per second | two, with half of the cores each | two / one |"
    yield "| --- | --- | --- | --- |"
    for name, speeds in found["processes"].items():
        one, two = speeds["one"], speeds["two"]
        yield f"| {name} | {number(spread(one))} | {number(spread(two))} | {number(ratio(two, one), 2)} |"
    yield ""
    yield "| processes that ask a study in SQLite after an epoch | milliseconds | epochs a second in all |"
    yield "| --- | --- | --- |"
    for processes, milliseconds in found["storage"].items():
        yield f"| {processes} | {milliseconds:.1f} | {1000 * int(processes) / milliseconds:.0f} |"


def search_table(found: list[dict[str, Any]]) -> Iterator[str]:
    yield "## Searches"
    yield ""
    yield (
        "| seed | all finish: trials, epochs, seconds | best "
        "| `halving`, in half of these seconds: trials, ended early, epochs | best | as good after |"
    )
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in found:
        reached = "not in half" if row["reached"] is None else f"{row['reached']:.0%} of the seconds"
        yield (
            f"| {row['seed']} | {row['trials_in_all']}, {row['epochs']}, {row['seconds']:.0f} | {row['best']:.2%} "
            f"| {row['trials_in_half']}, {row['pruned_in_half']}, {row['epochs_in_half']} "
            f"| {row['best_in_half']:.2%} | {reached} |"
        )
    means = {name: mean(row[name] for row in found) for name in found[0] if name not in ("seed", "reached")}
    yield (
        "| mean | {trials_in_all:.0f}, {epochs:.0f}, {seconds:.0f} | {best:.2%} "
        "| {trials_in_half:.0f}, {pruned_in_half:.0f}, {epochs_in_half:.0f} | {best_in_half:.2%} | |"
    ).format(**means)
    yield ""
    yield "`search=mlp`; seed: of what is proposed; best: accuracy on 5,000 images held out, standard error 0.7 points."


def accuracy_table(found: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield "## To an accuracy"
    yield ""
    yield "| experiment | target | test accuracy | seconds of training | seconds to the target in validation |"
    yield "| --- | --- | --- | --- | --- |"
    for experiment, runs in found.items():
        reached = [run["seconds_to_target"] for run in runs if run["seconds_to_target"] is not None]
        accuracies = spread([100 * run["test_accuracy"] for run in runs])
        yield (
            f"| {experiment} | {runs[0]['target']:.1%} | {number(accuracies, 2)} "
            f"| {number(spread([run['seconds'] for run in runs]), 1)} "
            f"| {number(spread(reached), 1) if reached else 'never'} ({len(reached)} of {len(runs)}) |"
        )
