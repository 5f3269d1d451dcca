"""A run's record as small as the table of results needs it."""


def record(accuracy, seed, model="MLP", epochs=20, data="cifar10"):
    return {
        "model": model,
        "data": data,
        "data_sha256": data,
        "seed": seed,
        "test": {"accuracy": accuracy},
        "val_accuracy": accuracy,
        "val_loss": 1.0,
        "seconds": {"train": 110.0, "data": 8.0, "test": 2.0},
        "device": "CPU",
        "precision": "32-true",
        "config": {"seed": seed, "epochs": epochs, "runs": str(seed), "overwrite": False, "data": {"root": str(seed)}},
    }
