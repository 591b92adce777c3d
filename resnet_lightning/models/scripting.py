"""Networks as straight-line graphs, which ``torch.jit.script`` can compile."""

from typing import Any

import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from .layers import DropPath


class _Tracer(torch.fx.Tracer):
    """Keeps the modules whole that work differently in training and in evaluation."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, DropPath) or super().is_leaf_module(m, module_qualified_name)


def as_graph(net: nn.Module, check: Any) -> torch.fx.GraphModule:
    """Returns a module that computes the same with the same parameters, and whose forward pass is a list of calls.

    ``train()`` and ``eval()`` switch batch norms, dropout and stochastic depth. Other methods, gradient checkpointing,
    the check of the image size, and that frozen stages stay in evaluation mode are lost. If the network is part of
    another module, ``torch.jit.script`` replaces it there by this graph.

    Args:
        net: the network, which does not change.
        check: a function that the network calls only for its errors; the graph leaves it out.

    Raises:
        InputError: if the forward pass depends on values, as that of a block of one's own may.
    """
    tracer = _Tracer()
    try:
        graph = tracer.trace(net)
    except torch.fx.proxy.TraceError as error:
        raise InputError(
            f"torch.jit.script needs a network without conditions on values: {error}; use torch.jit.trace or "
            "torch.export"
        ) from error
    modules = torch.fx.GraphModule(net, graph)
    for node in graph.nodes:
        if node.target is check:
            graph.erase_node(node)
        elif node.target is F.dropout:  # its `training` is the one of now
            name = f"drop_{node.name}"
            modules.add_submodule(name, nn.Dropout(node.kwargs["p"]).train(net.training))
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.call_module(name, (node.args[0],)))
            graph.erase_node(node)
        elif node.op == "output":
            node.type = list[Tensor] if isinstance(node.args[0], (list, tuple)) else Tensor
    modules.recompile()
    return modules
