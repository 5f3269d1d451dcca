"""Fuzz tests: damaged files, random settings and colors give one-line errors or correct results."""

import os
import warnings
from io import BytesIO

import pytest
import torch
from harness import CONF
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from miniature import write_miniature
from PIL import Image

import cifar10
from cifar10.color import delta_e
from cifar10.data.cifar10 import CIFAR10Data, _read_folder
from cifar10.data.image_io import read_each
from cifar10.errors import UserError
from cifar10.training.checkpoints import SafeCheckpointIO

CASES = int(os.environ.get("CASES", "100"))
"""Random cases of each kind in the slow tests; CI and scripts/reliability.py raise the number."""
few_and_many = pytest.mark.parametrize(
    "cases", [pytest.param(15, id="few"), pytest.param(CASES, id="many", marks=pytest.mark.slow)]
)


def fuzz(cases):
    return settings(
        max_examples=cases,
        deadline=20_000,  # ms per case, to detect hangs
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@st.composite
def damage(draw, size):
    """Draws a change of a file: a flipped byte, a truncation, or a part removed, repeated or zeroed."""
    kind = draw(st.sampled_from(["flip", "flip", "truncate", "cut", "double", "zero"]))
    start = draw(st.integers(0, size - 1))
    if kind == "flip":
        mask = draw(st.integers(1, 255))
        return lambda data: data[:start] + bytes([data[start] ^ mask]) + data[start + 1 :]
    if kind == "truncate":
        return lambda data: data[:start]
    end = start + draw(st.integers(1, 5000))
    between = {"cut": lambda part: b"", "double": lambda part: part + part, "zero": lambda part: bytes(len(part))}[kind]
    return lambda data: data[:start] + between(data[start:end]) + data[end:]


def one_line(error):
    assert len(str(error).splitlines()) == 1
    return True


@few_and_many
@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_damaged_checkpoints(cases, name, synthetic_runs, tmp_path, tally):
    whole = (synthetic_runs / "model=prototype" / name).read_bytes()
    images = torch.randint(256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = cifar10.load(synthetic_runs / "model=prototype" / name, "cpu").logits(images)
    path = tmp_path / name
    found = {"refused in one line": 0, "unaffected": 0}

    @fuzz(cases)
    @given(damage(len(whole)))
    def check(change):
        path.write_bytes(change(whole))
        try:
            SafeCheckpointIO().load_checkpoint(path)
            model = cifar10.load(path, "cpu")
        except UserError as error:
            found["refused in one line"] += one_line(error)
        else:
            assert torch.equal(model.logits(images), expected)
            found["unaffected"] += 1

    check()
    tally(f"{name} damaged: bytes changed, removed, repeated", sum(found.values()), format_counts(found))


@few_and_many
def test_damaged_batch_files(cases, tmp_path, monkeypatch, tally):
    folder = write_miniature(tmp_path, monkeypatch)
    expected = CIFAR10Data(root=str(folder.parent)).read()
    files = sorted(folder.iterdir())
    contents = {file: file.read_bytes() for file in files}
    found = {"refused in one line": 0, "unaffected": 0}

    @fuzz(cases)
    @given(st.sampled_from(files).flatmap(lambda file: st.tuples(st.just(file), damage(len(contents[file])))))
    def check(case):
        file, change = case
        file.write_bytes(changed := change(contents[file]))
        _read_folder.cache_clear()
        try:
            images = CIFAR10Data(root=str(folder.parent)).read()
        except UserError as error:
            found["refused in one line"] += one_line(error) and file.name in str(error) and changed != contents[file]
        else:
            assert changed == contents[file]  # zeroed bytes that were zero
            assert torch.equal(images.train_images, expected.train_images)
            found["unaffected"] += 1
        finally:
            file.write_bytes(contents[file])

    check()
    assert sum(found.values()) >= cases
    tally("CIFAR-10's files damaged", sum(found.values()), format_counts(found))


def pictures():
    """Yields one small image per format and for rare modes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (20, 30, 3), dtype=torch.uint8, generator=generator).numpy()
    image = Image.fromarray(pixels)
    animation = {"save_all": True, "append_images": [image.rotate(90)]}
    for kind, picture, options in [
        *(("png", one, {}) for one in (image, image.convert("I;16"), image.convert("P"), image.convert("LA"))),
        *(("jpeg", one, {}) for one in (image, image.convert("CMYK"), image.convert("L"))),
        ("png", image, animation),
        ("webp", image, {}),
        ("webp", image, animation),
        ("gif", image, animation),
        *((kind, image, {}) for kind in ("bmp", "tiff", "avif", "ppm")),
    ]:
        content = BytesIO()
        picture.save(content, kind, **options)
        yield kind, content.getvalue()


@few_and_many
def test_damaged_images(cases, tmp_path, tally):
    whole = list(pictures())
    found = {"refused in one line": 0, "read": 0}

    @fuzz(cases)
    @given(st.sampled_from(whole).flatmap(lambda one: st.tuples(st.just(one), damage(len(one[1])))))
    def check(case):
        (kind, content), change = case
        path = tmp_path / f"image.{kind}"
        path.write_bytes(change(content))
        (result,) = read_each([path])
        if isinstance(result, str):
            found["refused in one line"] += one_line(result)
        else:
            assert (result.shape, result.dtype) == ((3, 32, 32), torch.uint8)
            found["read"] += 1

    check()
    tally("images damaged, in five formats", sum(found.values()), format_counts(found))


SETTINGS = {
    "seed": "0 7 4294967295", "epochs": "1 3", "batch_size": "1 2 7 1000", "precision": "auto bf16-mixed 16-mixed",
    "monitor": "val/accuracy", "ema_decay": "0.9 null", "stop_on_divergence": "false",
    "model": "prototype mlp cnn", "experiment": "mlp_fast cnn_best prototype_one study", "trainer": "ddp",
    "data.random_flip": "true", "data.random_shift_px": "0 16", "data.cutout_px": "8", "data.val_size": "1 0.5 59",
    "data.val_split": "stratified", "data.val_seed": "3", "data.train_size": "60 30", "data.test_size": "1 20",
    "data.eval_batch_size": "1 7", "checkpoint.every_n_minutes": "null 0.1", "checkpoint.every_n_steps": "1",
    "trainer.accelerator": "cpu auto", "+trainer.gradient_clip_val": "1.0", "trainer.limit_train_batches": "1 0.5",
    "trainer.deterministic": "true warn", "model.learning_rate": "1 1e-3", "model.optimizer": "sgd adamw muon",
    "model.weight_decay": "0 0.1", "model.warmup_fraction": "0.5", "model.label_smoothing": "0.1",
    "model.batch_norm": "true", "model.init": "means images", "model.pixel_weights": "true",
    "model.inverse_temperature": "0.5",
    "model.tta_flip": "true", "model.tta_shift_px": "1", "model.whitening_init": "true", "model.delta": "cie94 redmean",
    "model.objective": "discriminative", "model.solver": "weiszfeld", "model.prototypes_per_class": "2 100",
    "model.tolerance": "0.1", "model.class_names": "[a,b]", "model._target_": "cifar10.models.mlp.MLP os.system",
    "data._target_": "cifar10.data.synthetic.SyntheticData", "+trainer.nonsense": "1", "nonsense": "1",
    "~seed": "1", "~model.learning_rate": "0.001", "~data": "synthetic", "hydra.sweeper.seed": "2",
}  # fmt: skip
"""Valid values of each setting."""

WORDS = ["null", "true", "false", "0", "1", "2", "3", "-1", "40", "1e-3", "0.5", "1.5", "1e30", "nan", "inf", "-inf"]
WORDS += ["prototype", "mlp", "cnn", "ddp", "cpu", "cuda", "auto", "sgd", "adamw", "cie94", "ciede2000", "redmean"]
WORDS += ["discriminative", "weiszfeld", "stratified", "val/accuracy", "bf16-mixed", "mlp_fast", "cnn_best", "study"]
WORDS += ["[]", "[1,2]", "{}", "{a:1}", "''", "'a b'", "${seed}", "${nothing}", "${oc.env:HOME}", "1,2", "a=b", "../x"]
WORDS += ["cifar10.models.mlp.MLP", "os.system", "x" * 300, "ü", "/", "99999999999999999999"]


@few_and_many
def test_random_settings(cases, tmp_path, monkeypatch, run_script, tally):
    """Runs train.py up to Trainer.fit: it trains, or exits with one line."""
    from lightning import Trainer

    def fit(*args, **kwargs):
        raise UserError("fit was called")

    monkeypatch.setattr(Trainer, "fit", fit)
    monkeypatch.chdir(tmp_path)
    small = ["data=synthetic", "data.train_size=60", "data.test_size=20", "data.val_size=20"]
    word = st.one_of(st.sampled_from(WORDS), st.text(max_size=8).filter(lambda text: "\0" not in text))
    usual = st.sampled_from([f"{key}={value}" for key, values in SETTINGS.items() for value in values.split()])
    odd = st.tuples(st.sampled_from(sorted(SETTINGS)), word).map("=".join)
    override = st.one_of(usual, usual, odd, st.text(min_size=1, max_size=12))
    found = {"refused in one line": 0, "trained": 0}

    @fuzz(cases)
    @given(st.lists(override.filter(lambda text: not text.startswith("-")), min_size=1, max_size=3))
    def check(overrides):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            status, _ = run_script(str(CONF.parent / "train.py"), *small, *overrides)
        assert isinstance(status, str), (status, overrides)
        assert status.startswith("train.py: "), overrides
        assert len(status.splitlines()) == 1, overrides
        found["trained" if status == "train.py: fit was called" else "refused in one line"] += 1

    check()
    tally("random settings", sum(found.values()), format_counts(found))


@few_and_many
@pytest.mark.parametrize("delta", ["cie76", "cie94", "ciede2000", "redmean"])
def test_random_colors(cases, delta, tally):
    """A difference is 0 of equal colors, never negative, the same both ways but for cie94, and has a finite slope."""
    colors = st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3)
    count = [0]

    @fuzz(cases)
    @given(colors, colors)
    def check(one, other):
        first, second = (torch.tensor(rgb).view(1, 3, 1, 1).requires_grad_() for rgb in (one, other))
        a, b = delta_e.to_color_space(first, delta), delta_e.to_color_space(second, delta)
        difference = delta_e.difference_function(delta)(a, b)
        assert 0 <= difference <= 260
        assert delta_e.difference_function(delta)(a, a) == 0
        if delta != "cie94":
            torch.testing.assert_close(difference, delta_e.difference_function(delta)(b, a), atol=1e-3, rtol=1e-4)
        difference.sum().backward()
        assert first.grad.isfinite().all()
        assert second.grad.isfinite().all()
        if delta != "redmean":
            lightness, *opponents = a.flatten().tolist()
            assert -1e-3 <= lightness <= 100.001
            assert all(-109 <= value <= 100 for value in opponents)
            torch.testing.assert_close(delta_e.to_rgb(a), first, atol=2e-4, rtol=0)
        count[0] += 1

    check()
    symmetric = "" if delta == "cie94" else "symmetric, "
    tally(f"random colors, {delta}", count[0], f"zero for equal colors, {symmetric}in range, finite gradients")


def format_counts(found):
    return ", ".join(f"{count:,} {what}" for what, count in found.items())
