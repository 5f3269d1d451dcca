"""TensorBoard in Chromium shows curves, images, hyperparameters and embeddings."""

import shutil

import pytest
from tensorboard import default, program

from cifar10.results.projector import write_embedding
from cifar10.results.saved_run import SavedRun

pytestmark = pytest.mark.slow  # tests/training/loggers/test_tensorboard.py checks the same files without a browser


@pytest.fixture(scope="module")
def address(synthetic_runs, tmp_path_factory):
    """Starts TensorBoard on a free local port with two MLP runs and a prototype run; returns its address."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("model=mlp", "model=mlp/seed=2", "model=prototype"):
        shutil.copytree(synthetic_runs / name, folder / name.replace("/", ","), ignore=shutil.ignore_patterns("seed=2"))
    write_embedding(SavedRun(folder / "model=mlp"), 50)
    server = program.TensorBoard(default.get_plugins())
    options = {"logdir": folder, "host": "127.0.0.1", "port": 0, "load_fast": "false", "reload_interval": 0}
    server.configure(argv=["", *(f"--{name}={value}" for name, value in options.items())])
    return server.launch()


@pytest.fixture
def opened(browser, address):
    """Opens a tab of TensorBoard and fails the test on page errors and HTTP errors."""
    contexts, errors = [], []

    def open_tab(name):
        contexts.append(browser.new_context(viewport={"width": 1400, "height": 1000}))
        tab = contexts[-1].new_page()
        tab.on("pageerror", lambda error: errors.append(str(error)))
        tab.on("response", lambda response: errors.append(response.url) if response.status >= 400 else None)
        tab.goto(f"{address}#{name}")
        return tab

    yield open_tab
    for context in contexts:
        context.close()
    assert errors == []


def keep_screenshot(tab, folder):
    """Saves a screenshot for manual inspection."""
    tab.screenshot(path=folder / "tensorboard.png")
    assert (folder / "tensorboard.png").stat().st_size > 10_000


def test_time_series_show_curves_and_images_of_all_runs(opened, tmp_path):
    tab = opened("timeseries")
    for run in ("model=mlp", "model=mlp,seed=2", "model=prototype"):
        tab.get_by_text(f"{run}/tensorboard", exact=True).first.wait_for()
    tab.get_by_text("lr", exact=True).first.wait_for()
    tab.get_by_text("train", exact=True).first.click()  # only the first groups are expanded
    tab.get_by_text("/loss", exact=True).first.wait_for()
    tab.locator("image-card img").first.wait_for()
    widths = tab.locator("image-card img").evaluate_all(
        "(images) => Promise.all(images.map((image) => image.decode().then(() => image.naturalWidth)))"
    )
    assert len(widths) >= 2
    assert all(width > 200 for width in widths)
    keep_screenshot(tab, tmp_path)


def test_scalars_have_all_groups_of_tags(opened, tmp_path):
    tab = opened("scalars")
    for group in ("lr", "results", "seconds", "train", "val"):
        tab.get_by_text(group, exact=True).first.wait_for()
    keep_screenshot(tab, tmp_path)


def test_custom_scalars_share_a_chart(opened, tmp_path):
    tab = opened("custom_scalars")
    tab.get_by_text("training and validation").wait_for()
    for name in ("loss", "accuracy"):
        tab.get_by_text(name, exact=True).first.wait_for()
    tab.get_by_text("Matches (6)").first.wait_for()  # two curves x three runs
    keep_screenshot(tab, tmp_path)


def test_images_include_prototypes_and_figures(opened, tmp_path):
    tab = opened("images")
    for group in ("prototypes", "figures"):
        tab.get_by_text(group, exact=True).first.wait_for()
    for name in ("calibration", "confusion", "first_layer"):
        tab.get_by_text(f"figures/{name}", exact=True).first.wait_for()
    keep_screenshot(tab, tmp_path)


def test_hparams_have_a_row_per_run(opened, tmp_path):
    tab = opened("hparams")
    tab.get_by_text("model=prototype/tensorboard", exact=True).first.wait_for()
    cells = tab.locator("vaadin-grid-cell-content div:not(:has(*))").all_inner_texts()
    cells = [cell.strip() for cell in cells if cell.strip()]
    start = cells.index("Trial ID")
    settings = cells[start + 2 : cells.index("lr")]
    assert settings[0] == "model"
    assert {"seed", "model.learning_rate"} <= set(settings[:3])
    for run in ("model=mlp", "model=mlp,seed=2", "model=prototype"):
        assert f"{run}/tensorboard" in cells
    assert {"MLP", "Prototype", "lr"} <= set(cells)  # columns to the right are not rendered
    keep_screenshot(tab, tmp_path)


def test_projector_shows_a_point_per_image(opened, tmp_path):
    tab = opened("projector")
    projector = tab.frame_locator("iframe").frame_locator("iframe")
    projector.locator(".numDataPoints", has_text="50").wait_for()
    projector.get_by_text("50x150").wait_for(state="attached")
    keep_screenshot(tab, tmp_path)
