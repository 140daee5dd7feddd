"""The same bench as the end-to-end tests have."""

from tests.e2e.conftest import bench

__all__ = ["bench"]
