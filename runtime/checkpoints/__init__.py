"""Checkpoints on their way: found in a folder, shipped to the store, brought back."""

from llmcloud.runtime.checkpoints.manifest import Manifest, newest_valid
from llmcloud.runtime.checkpoints.restore import restore
from llmcloud.runtime.checkpoints.ship import Shipper

__all__ = ["Manifest", "Shipper", "newest_valid", "restore"]
