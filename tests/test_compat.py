"""Tests that the private names of cifar10/compat.py exist and have the expected effect."""

import torch
from lightning import LightningModule

from cifar10 import compat


def test_lightning_has_register_signal_handlers(quiet_trainer):
    connector = getattr(quiet_trainer(), "_signal_connector", None)
    assert callable(getattr(connector, "register_signal_handlers", None)), (
        "lightning.Trainer has no _signal_connector.register_signal_handlers: adapt compat.keep_signal_handlers"
    )


def test_mark_dynamic_batch_compiles_one_graph_for_all_batch_sizes():
    assert callable(getattr(torch._dynamo, "maybe_mark_dynamic", None)), (
        "PyTorch has no torch._dynamo.maybe_mark_dynamic: adapt compat.mark_dynamic_batch"
    )
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    function = torch.compile(lambda batch: batch * 2, backend=backend)
    for size in (4, 7, 9):
        batch = torch.zeros(size, 3)
        compat.mark_dynamic_batch(batch)
        function(batch)
    assert len(graphs) == 1


def test_has_trainer(quiet_trainer):
    module = LightningModule()
    assert hasattr(module, "_trainer"), "lightning.LightningModule has no _trainer: adapt compat.has_trainer"
    assert not compat.has_trainer(module)
    module.trainer = quiet_trainer()
    assert compat.has_trainer(module)
