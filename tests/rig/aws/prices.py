"""What machines cost here: made up, the same each time, and never what the catalog says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moto.ec2.models.instance_types import INSTANCE_TYPES

if TYPE_CHECKING:
    from tests.rig.aws.world import World

VCPU_USD = 0.05
ACCELERATOR_USD = 1.25
SPOT_SHARE = 0.3


def on_demand(instance_type: str) -> float:
    """Return USD an hour."""
    said = INSTANCE_TYPES[instance_type]
    gpus = sum(each["Count"] for each in said.get("GpuInfo", {}).get("Gpus", []))
    neurons = sum(each["Count"] for each in said.get("NeuronInfo", {}).get("NeuronDevices", []))
    cpus = int(said["VCpuInfo"]["DefaultVCpus"])
    return round(cpus * VCPU_USD + (gpus + neurons) * ACCELERATOR_USD, 4)


def spot(world: World, region: str, instance_type: str) -> float:
    """Return USD an hour, as a test said or else a share of the price on demand."""
    default = round(on_demand(instance_type) * SPOT_SHARE, 4)
    return world.spot_prices.get((region, instance_type), default)
