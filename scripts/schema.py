"""Writes conf/schema.json from the types of the settings. Editors complete and check the files of conf/ with it.

python scripts/schema.py
"""

import sys
from collections.abc import Iterable
from math import isfinite
from typing import Any

from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter

from cifar10.files import write_json
from cifar10.training.config import CONF, NOT_SETTINGS, Settings, settable_arguments

sys.path.append(str(CONF.parent / "cifar10/sweeps/plugin"))
MERGED = {"type": "string", "pattern": r"^\?\?\?$|\$\{"}
"""A value that another file or the environment sets."""
Schema = dict[str, Any]


def make_schema() -> Schema:
    """Returns the JSON schema. Its `$defs` are what the comment at the top of each file of `conf/` refers to.

    No key is required, because Hydra merges the files.
    """
    settings = Settings.model_json_schema()
    definitions = settings.pop("$defs") | {"settings": settings, "Search": _of_class("hydra_plugins.sweepers.Search")}
    models, data, sweepers = (_of_files(group) for group in ("model", "data", "hydra/sweeper"))
    settings["properties"] |= {
        "model": _any_of(models),
        "data": _any_of(data),
        "defaults": {"type": "array"},
        "hydra": {"type": "object", "properties": {"sweeper": _any_of([*sweepers, "Search"])}},
    }
    definitions = _clean(definitions | models | data | sweepers)
    return {"$schema": "http://json-schema.org/draft-07/schema#", "$defs": {"merged": MERGED, **definitions}}


def _any_of(names: Iterable[str]) -> Schema:
    return {"anyOf": [{"$ref": f"#/$defs/{name}"} for name in names]}


def _of_files(group: str) -> dict[str, Schema]:
    """Returns file name -> schema of the class that the file names."""
    found = {}
    for path in sorted((CONF / group).glob("*.yaml")):
        content: Any = OmegaConf.load(path)
        found[path.stem] = _of_class(content.get("model", content)._target_)
    return found


def _of_class(target: str) -> Schema:
    """Returns the schema of the arguments of a constructor."""
    cls = get_class(target)
    excluded = () if target.startswith("hydra_plugins") else NOT_SETTINGS  # `seed` is an argument of the sampler
    arguments = settable_arguments(cls, excluded).items()
    kinds = {name: dict[str, Any] | None if kind == DictConfig | None else kind for name, (_, kind) in arguments}
    properties = {name: TypeAdapter(kind).json_schema() for name, kind in kinds.items()}
    target_schema = {"type": "string", "const": target}
    return {"type": "object", "properties": {"_target_": target_schema, **properties}, "additionalProperties": False}


def _clean(schema: Any) -> Any:
    """Allows interpolations. Removes required keys, titles, and limits that JSON cannot represent."""
    if isinstance(schema, list):
        return [_clean(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    cleaned = {}
    for name, value in schema.items():
        if name == "properties":
            cleaned[name] = {key: _or_merged(_clean(inner)) for key, inner in value.items()}
        elif name not in ("required", "title") and not (isinstance(value, float) and not isfinite(value)):
            cleaned[name] = _clean(value)
    return cleaned


def _or_merged(schema: Schema) -> Schema:
    if schema.get("type") in ("object", "array", "string") or "$ref" in schema:
        return schema
    kinds = schema.pop("anyOf", None) or [{name: schema.pop(name) for name in [*schema] if name != "default"}]
    return {"anyOf": [*kinds, {"$ref": "#/$defs/merged"}], **schema}


if __name__ == "__main__":
    write_json(CONF / "schema.json", make_schema())
