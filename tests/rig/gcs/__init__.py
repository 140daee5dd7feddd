"""Google Cloud Storage in memory, for tests: the JSON and the XML interface on the same objects."""

from tests.rig.gcs.fake import GcsFake

__all__ = ["GcsFake"]
