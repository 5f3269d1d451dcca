"""Each private name that cifar10/compat.py uses is still there, and still does what it is used for."""

import signal

import torch
from lightning import LightningModule, Trainer

from cifar10 import compat


def test_lightning_registers_its_signal_handlers_by_this_name(quiet_trainer):
    connector = getattr(quiet_trainer(), "_signal_connector", None)
    assert callable(getattr(connector, "register_signal_handlers", None)), (
        "lightning.Trainer has lost _signal_connector.register_signal_handlers: adapt compat.keep_signal_handlers"
    )


def test_lightning_installs_no_handler(quiet_trainer):
    before = signal.getsignal(signal.SIGTERM)
    trainer: Trainer = quiet_trainer()
    compat.keep_signal_handlers(trainer)
    trainer._signal_connector.register_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) is before


def test_mark_dynamic_batch_lets_one_graph_serve_all_batch_sizes():
    assert callable(getattr(torch._dynamo, "maybe_mark_dynamic", None)), (
        "PyTorch has lost torch._dynamo.maybe_mark_dynamic: adapt compat.mark_dynamic_batch"
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


def test_lightning_keeps_its_trainer_by_this_name(quiet_trainer):
    module = LightningModule()
    assert hasattr(module, "_trainer"), "lightning.LightningModule has lost _trainer: adapt compat.has_trainer"
    assert not compat.has_trainer(module)
    module.trainer = quiet_trainer()
    assert compat.has_trainer(module)
