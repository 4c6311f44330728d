"""Shards a model's weights among processes (FSDP2), by Lightning's strategy. Knows no stage and no data.

Lightning's own "fsdp" is torch's older FSDP, which runs only on GPUs and refuses to clip gradients by norm.
"""

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

NAME = "fsdp"  # of the trainer option `strategy`


class ShardedStrategy(ModelParallelStrategy):
    """Processes shard one model's weights and have their own rows. Checkpoints are whole files."""

    def __init__(self) -> None:
        super().__init__(save_distributed_checkpoint=False)

    def setup_environment(self) -> None:
        """Use every process for the sharding; their number is known only now."""
        # Lightning's private names, as its arguments are needed earlier; the test with two processes would catch a
        # change.
        self._data_parallel_size, self._tensor_parallel_size = self.num_processes * self.num_nodes, 1
        super().setup_environment()


def shard(model: nn.Module, mesh: DeviceMesh | None) -> None:
    """Shard a model's weights block by block, in place. Other strategies have no mesh; without one, do nothing."""
    if mesh is None:
        return
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    blocks = max(lists, key=lambda blocks: sum(p.numel() for p in blocks.parameters()), default=())
    for part in (*blocks, model):
        fully_shard(part, mesh=mesh["data_parallel"])
