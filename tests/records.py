"""Builds a minimal record (`metrics.json`) for tests of tables and the page."""


def record(accuracy, seed, model="MLP", epochs=20, data="cifar10", overrides=()):
    epochs_override = [f"epochs={epochs}"] if epochs != 20 else []
    return {
        "model": model,
        "data": data,
        "data_sha256": data,
        "seed": seed,
        "test": {
            "accuracy": accuracy,
            "loss": 1.0,
            "class_accuracy": {"cat": accuracy, "dog": accuracy},
            "confusion": [[1, 0], [0, 1]],
        },
        "best_epoch": 1,
        "epochs": epochs,
        "val_accuracy": accuracy,
        "val_loss": 1.0,
        "seconds": {"train": 110.0, "data": 8.0, "test": 2.0},
        "parameters": 1000,
        "device": "CPU",
        "precision": "32-true",
        "versions": {"torch": "2.11"},
        "commit": None,
        "config": {"seed": seed, "epochs": epochs, "runs": str(seed), "overwrite": False, "data": {"root": str(seed)}},
        "overrides": [f"model={model.lower()}", f"seed={seed}", *epochs_override, *overrides],
    }
