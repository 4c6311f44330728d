"""A model's weights shared among processes (FSDP2), by Lightning's strategy for it. Knows no stage and no data.

Lightning's own "fsdp" is torch's older FSDP, on GPUs alone, where it refuses to clip gradients by their norm.
"""

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

NAME = "fsdp"  # as trainer option `strategy`


class ShardedStrategy(ModelParallelStrategy):
    """All processes share one model's weights; each has rows of its own. Checkpoints are whole files."""

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Take every process for the sharding: only now is it known how many there are."""
        # Lightning's private names, for its arguments are wanted before; the test with two processes would notice.
        self._data_parallel_size, self._tensor_parallel_size = self.num_processes * self.num_nodes, 1
        super().setup_environment()


def shard(model: nn.Module, mesh: DeviceMesh | None) -> None:
    """Share out a model's weights block by block, in place; nothing without a mesh, which other strategies have not."""
    if mesh is None:
        return
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    blocks = max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()), default=())
    for part in (*blocks, model):
        fully_shard(part, mesh=mesh["data_parallel"])
