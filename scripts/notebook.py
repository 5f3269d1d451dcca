"""Runs docs/study.py as a notebook and writes docs/study.ipynb with its outputs.

python scripts/notebook.py       takes about two minutes on two CPU cores; needs CIFAR-10 and the published weights

Needs pip install -e '.[notebook]'.
"""

from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from time import perf_counter
from typing import Any

from cifar10.errors import UserError, require_packages
from cifar10.files import write_atomically
from cifar10.inference.command_line import make_parser, one_line_errors

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"


def main() -> None:
    make_parser(__doc__).parse_args()
    with one_line_errors():
        require_packages("notebook", "jupytext", "nbclient", "ipykernel")
        import nbformat

        start, path = perf_counter(), DOCS / "study.ipynb"
        notebook = execute({})
        for output in (output for cell in notebook.cells for output in cell.get("outputs", [])):
            if "text" in output:
                output["text"] = output["text"].replace(f"{ROOT}/", "").replace("\r\n", "\n")
            if "image/png" in output.get("data", {}):
                output["data"]["image/png"] = with_palette(output["data"]["image/png"])
        content = nbformat.writes(notebook) + "\n"
        write_atomically(path, lambda file: file.write(content.encode()))
        print(f"{path.name}: {len(content) / 1e6:.1f} MB, {perf_counter() - start:.0f} s")


def with_palette(picture: str) -> str:
    """Returns a PNG with 256 colors, a third of the size. picture: base64, as in notebooks."""
    from PIL import Image

    small = BytesIO()
    with Image.open(BytesIO(b64decode(picture))) as image:
        image.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    return b64encode(small.getvalue()).decode()


def execute(parameters: dict[str, Any]) -> Any:
    """Runs docs/study.py as a notebook and returns it with its outputs. Raises UserError if a cell fails.

    parameters: name -> value of constants to override. Raises ValueError for a name that the notebook does not assign.
    """
    import jupytext
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    text = (DOCS / "study.py").read_text()
    for name, value in parameters.items():
        [line] = [line for line in text.splitlines() if line.startswith(f"{name} = ")]
        text = text.replace(line, f"{name} = {value!r}")
    notebook = jupytext.reads(text, fmt="py:percent")
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # not random
    options: dict[str, Any] = {"record_timing": False, "coalesce_streams": True}
    client = NotebookClient(notebook, timeout=600, extra_arguments=["--log-level=ERROR"], **options)
    client.resources["metadata"] = {"path": str(DOCS)}
    try:
        client.execute()
    except CellExecutionError as error:
        reason = " ".join(error.evalue.split())
        raise UserError(f"{error.ename}: {reason}; run the notebook in Jupyter to see the cell") from error
    return notebook


if __name__ == "__main__":
    main()
