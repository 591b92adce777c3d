"""Structured pruning of channels with torch-pruning.

Its pruners follow the channels through all layers but the zero-padding shortcut, for which they need ``PRUNERS``::

    import torch_pruning
    from resnet_lightning.models.pruning import PRUNERS

    pruner = torch_pruning.pruner.MagnitudePruner(
        net, images, importance=torch_pruning.importance.MagnitudeImportance(), pruning_ratio=0.5,
        ignored_layers=[net.fc], customized_pruners=PRUNERS,
    )
    pruner.step()

Without it, torch-pruning takes the shortcut for an operation that keeps the number of channels, and either fails or
makes a network that cannot run.
"""

from collections.abc import Sequence

import torch
from torch import nn

from .shortcuts import ZeroPad


class ZeroPadPruner:
    """Removes input or output channels of a zero-padding shortcut, with the methods that torch-pruning calls.

    The two sides are pruned independently. The channels that remain are copied from where they were copied before, or
    are zero if that channel was removed.
    """

    def prune_in_channels(self, layer: ZeroPad, idxs: Sequence[int]) -> nn.Module:
        """Removes input channels; the output channels that copy them become zero."""
        removed = set(idxs)
        kept = [i for i in range(layer.in_planes) if i not in removed]
        number = {old: new for new, old in enumerate(kept)}
        sources = [number.get(source, len(kept)) for source in self._sources(layer)]
        layer.in_planes = len(kept)
        return self._set_sources(layer, sources)

    def prune_out_channels(self, layer: ZeroPad, idxs: Sequence[int]) -> nn.Module:
        """Removes output channels."""
        removed = set(idxs)
        return self._set_sources(layer, [source for i, source in enumerate(self._sources(layer)) if i not in removed])

    def get_in_channels(self, layer: ZeroPad) -> int:
        """The number of input channels."""
        return layer.in_planes

    def get_out_channels(self, layer: ZeroPad) -> int:
        """The number of output channels."""
        return layer.out_planes

    def get_in_channel_groups(self, layer: ZeroPad) -> int:
        """The number of groups of input channels that can only be pruned alike."""
        return 1

    get_out_channel_groups = get_in_channel_groups

    def _sources(self, layer: ZeroPad) -> list[int]:
        if layer.sources is not None:
            return layer.sources.tolist()
        return [min(i, layer.in_planes) for i in range(layer.out_planes)]

    def _set_sources(self, layer: ZeroPad, sources: list[int]) -> nn.Module:
        layer.out_planes = len(sources)
        layer.sources = torch.tensor(sources)
        return layer


PRUNERS = {ZeroPad: ZeroPadPruner()}
"""The argument ``customized_pruners`` of torch-pruning's pruners and of its dependency graph."""
