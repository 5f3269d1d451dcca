"""Aggregates runs over seeds and renders the rows as Markdown, CSV or text."""

from typing import Any

import numpy as np
import pandas as pd

from cifar10.results.markdown import markdown_table
from cifar10.results.records import settings_key

STUDY = {"Prototype": 0.2876, "MLP": 0.507, "CNN": 0.759}
"""Test accuracy of the 2019 study on CIFAR-10, by model."""


def aggregate(runs: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per combination of settings, whatever the device; within a model by validation accuracy.

    Rows on CIFAR-10 come first, models in the order of the study. runs: from `cifar10.results.load`, not empty.
    Columns: model, experiment, data, data_sha256, changes and `name` (experiment and changes); n and `seeds`; mean and
    sample standard deviation (`_std`, NaN for n = 1) of val_accuracy, val_loss and accuracy; `hardware`, a dict from
    device and precision to minutes per run; parameters; `paths` and `records`, lists ordered by seed.
    """
    keys = pd.Series([settings_key(record) for record in runs["record"]], runs.index, dtype=object)
    groups = runs.sort_values("seed", kind="stable").groupby(keys, sort=False)
    rows = best_first(pd.DataFrame([_row(group) for _, group in groups]))
    positions = {model: position for position, model in enumerate(STUDY)}
    order = pd.DataFrame({"other": rows["data"] != "cifar10", "model": rows["model"].map(positions)})
    return rows.loc[order.sort_values(["other", "model"], kind="stable").index].reset_index(drop=True)


def _row(group: pd.DataFrame) -> dict[str, Any]:
    first = group.iloc[0]
    changes = min(group["changes"], key=len)  # an override may restate a default
    hardware = group.groupby(group["device"] + ", " + group["precision"], sort=False)["seconds"].mean() / 60
    row = {name: first[name] for name in ("model", "experiment", "data", "data_sha256")}
    row |= {"changes": changes, "name": ", ".join(filter(None, (first["experiment"], changes)))}
    row |= {"n": len(group), "seeds": list(group["seed"])}
    for name in ("val_accuracy", "val_loss", "accuracy"):
        row |= {name: group[name].mean(skipna=False), f"{name}_std": group[name].std(skipna=False)}
    row |= {"hardware": hardware.to_dict(), "parameters": first["record"]["parameters"]}
    return row | {"paths": list(group["path"]), "records": list(group["record"])}


def best_first(rows: pd.DataFrame) -> pd.DataFrame:
    """Sorts rows by validation accuracy, then by validation loss; test results are not used."""
    return rows.sort_values(["val_accuracy", "val_loss"], ascending=[False, True], kind="stable", ignore_index=True)


def study_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns for each model the row that follows the study's protocol with the fewest changes."""
    rows = rows[rows["experiment"] == "study"]
    order = rows.assign(changed=rows["changes"].str.count("=")).sort_values(["changed", "n"], ascending=[True, False])
    return rows.loc[order.drop_duplicates("model").index].sort_index()


def best_of(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns for each model the row of highest validation accuracy. rows: as ordered by `aggregate`."""
    return rows.drop_duplicates("model")


def class_accuracy(row: Any) -> np.ndarray:
    """Returns the accuracy of each class, mean over seeds, (C,) in [0, 1]."""
    return np.mean([list(record["test"]["class_accuracy"].values()) for record in row.records], 0)


def study_accuracy(row: Any) -> float | None:
    """Returns the test accuracy of the 2019 study for the row's model; None on other data."""
    return STUDY.get(row.model) if row.data == "cifar10" else None


def format_accuracy(row: Any) -> str:
    """Returns mean and standard deviation over seeds: `75.9% ± 0.3`."""
    return f"{row.accuracy:.1%}" + (f" ± {100 * row.accuracy_std:.1f}" if row.n > 1 else "")


def results_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns the rows as formatted text, for Markdown and the page."""
    cells = [
        {
            "model": row.model,
            "experiment": row.name,
            "data": row.data,
            "2019 study": f"{study:.1%}" if (study := study_accuracy(row)) else "",
            "test accuracy": format_accuracy(row),
            "seeds": f"{row.n} ({', '.join(map(str, row.seeds))})",
            "minutes per run": "; ".join(f"{minutes:.1f}" for minutes in row.hardware.values()),
            "parameters": f"{row.parameters:,}",
            "device, precision": "; ".join(row.hardware),
        }
        for row in rows.itertuples(index=False)
    ]
    return pd.DataFrame(cells, dtype=str)


def to_markdown(rows: pd.DataFrame) -> str:
    """Renders all rows as a Markdown table."""
    return _markdown(results_table(rows))


def to_summary(rows: pd.DataFrame) -> str:
    """Renders the README's Markdown table: the study's protocol and the best experiment of each model on CIFAR-10.

    The time is that of the fastest hardware.
    """
    cells = [
        {
            "model": model.replace("Prototype", "prototype") + (" best" if best else ""),
            "parameters": f"{row.parameters:,}",
            "test accuracy, mean ± std (n)": f"{format_accuracy(row)} (n={row.n})",
            "2019 study": "" if best else f"{STUDY[model]:.1%}",
            "time, hardware": "{1:.1f} min, {0}".format(*min(row.hardware.items(), key=lambda item: item[1])),
            "command": f"`python train.py {f'experiment={row.name}' if best else f'model={model.lower()}'}`",
        }
        for model in STUDY
        for best in (False, True)
        for row in rows.itertuples(index=False)
        if (row.data, row.model, row.name) == ("cifar10", model, f"{model.lower()}_best" if best else "study")
    ]
    return _markdown(pd.DataFrame(cells, dtype=str))


def _markdown(cells: pd.DataFrame) -> str:
    return markdown_table([list(cells), *cells.to_numpy().tolist()])


def to_csv(rows: pd.DataFrame) -> str:
    """Renders the rows as CSV; accuracies in percent, standard deviations empty for n = 1."""
    return _sweep_table(rows).to_csv(index=False, lineterminator="\n")


def to_text(rows: pd.DataFrame) -> str:
    """Renders the columns of `to_csv` for a terminal, without empty columns."""
    cells = _sweep_table(rows)
    return cells.loc[:, (cells != "").any()].to_string(index=False)


def _sweep_table(rows: pd.DataFrame) -> pd.DataFrame:
    cells = rows[["model", "experiment", "data", "changes"]].rename(columns={"changes": "settings"})
    cells["n"] = rows["n"].astype(str)
    cells["seeds"] = [" ".join(map(str, seeds)) for seeds in rows["seeds"]]
    for name in ("val_accuracy", "val_loss", "accuracy"):
        scale, digits = (1, 4) if name == "val_loss" else (100, 2)
        column = "test_accuracy" if name == "accuracy" else name
        cells[column] = (scale * rows[name]).map(f"{{:.{digits}f}}".format)
        cells[f"{column}_std"] = (scale * rows[f"{name}_std"]).map(f"{{:.{digits}f}}".format).where(rows["n"] > 1, "")
    cells["minutes"] = ["; ".join(f"{minutes:.1f}" for minutes in hardware.values()) for hardware in rows["hardware"]]
    cells["hardware"] = ["; ".join(hardware) for hardware in rows["hardware"]]
    return cells
