"""One table of finished runs; with --publish also the README's table and figures.

python scripts/report.py runs                    prints the table of all finished runs below runs/
python scripts/report.py runs/cnn --publish      keeps their metrics.json in docs/results/ and redraws the README's part
"""

import argparse
import hashlib
import json
import re
import sys
from pathlib import Path

from cifar10.results import (
    Group,
    Record,
    differences,
    group_by_settings,
    markdown_table,
    read_records,
    recipe,
    settings_key,
)

ROOT = Path(__file__).resolve().parent.parent
TABLE = re.compile(r"(<!-- results -->\n).*?(<!-- /results -->)", re.DOTALL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="a run folder, a folder of them, or a file")
    parser.add_argument("--publish", action="store_true", help="rewrite docs/results, docs/*.png and README's table")
    args = parser.parse_args()

    records, complaints = read_records(args.runs)
    for complaint in complaints:
        print(f"left out: {complaint}", file=sys.stderr)
    if not records:
        sys.exit("report.py: no finished run given; train one with python train.py, then name its folder")
    if args.publish:
        publish(records)
        publish_typical_images(args.runs)
    print(markdown_table(group_by_settings(records)))


def publish(records: list[Record]) -> None:
    """Adds the records to docs/results/, then makes table and figure from all that are there."""
    folder = ROOT / "docs/results"
    folder.mkdir(parents=True, exist_ok=True)
    kept = {}  # (settings, seed) -> file: hashes of settings change when the project gets new ones, names stay
    for file in folder.glob("*.json"):
        record = json.loads(file.read_text())
        kept[settings_key(record), record["seed"]] = file
    for record in records:
        for group, place in ((record["config"], "runs"), (record["config"]["data"], "root")):
            group.pop(place, None)  # of one machine
        key = settings_key(record)
        settings = hashlib.sha256(key.encode()).hexdigest()[:8]
        name = f"{record['model'].lower()}-{recipe(record)}-{record['data']}-{settings}-seed{record['seed']}.json"
        kept.get((key, record["seed"]), folder / name).write_text(json.dumps(record) + "\n")
    groups = group_by_settings(read_records([folder])[0])
    readme = ROOT / "README.md"
    readme.write_text(TABLE.sub(lambda part: part[1] + markdown_table(groups) + "\n" + part[2], readme.read_text()))

    by_model: dict[str, Group] = {}
    for group in groups:
        first = group.records[0]
        if (first["data"], recipe(first)) == ("cifar10", "study"):
            by_model[first["model"]] = max(group, by_model.get(first["model"], group), key=lambda one: len(one.records))
    shown = [group.records[0] for group in by_model.values()]
    if shown:
        from cifar10.plots.confusion import confusions_figure

        titles = [f"{record['model']}, {record['test']['accuracy']:.1%}" for record in shown]
        confusions = [record["test"]["confusion"] for record in shown]
        figure = confusions_figure(confusions, titles, list(shown[0]["test"]["class_accuracy"]))
        figure.savefig(ROOT / "docs/confusions.png", dpi=80)


def publish_typical_images(paths: list[Path]) -> None:
    """docs/prototypes.png: a row for each prototype run on CIFAR-10 at or below `paths`, of its first seed.

    Runs with K > 1 prototypes per class have a picture of their own, docs/prototypes_<recipe>.png, in K rows.
    """
    found = {}
    for file in sorted(file for path in paths for file in path.rglob("metrics.json")):
        record = json.loads(file.read_text())
        if (record["model"], record["data"]) == ("Prototype", "cifar10"):
            found.setdefault(settings_key(record), (record, file.with_name("best.ckpt")))
    if not found:
        return
    import torch

    from cifar10.plots.images import image_rows_figure

    groups = [Group([record]) for record, _ in found.values()]
    single = {}
    for (record, checkpoint), changed in zip(found.values(), differences(groups), strict=True):
        names = list(record["test"]["class_accuracy"])
        images = torch.load(checkpoint, weights_only=True)["state_dict"]["prototypes"].unflatten(0, (len(names), -1))
        label = ", ".join(filter(None, (recipe(record), changed, f"{record['test']['accuracy']:.1%}")))
        if images.shape[1] == 1:
            single[label] = images[:, 0]
        else:
            figure = image_rows_figure(images.transpose(0, 1), [""] * images.shape[1], names)
            figure.savefig(ROOT / f"docs/prototypes_{recipe(record)}.png", dpi=36)
    if single:
        titles = [label.replace(", ", "\n") for label in single]
        image_rows_figure(torch.stack(list(single.values())), titles, names).savefig(
            ROOT / "docs/prototypes.png", dpi=60
        )


if __name__ == "__main__":
    main()
