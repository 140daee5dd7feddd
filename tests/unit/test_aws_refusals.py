"""What of a job file the provider aws can't honour, whichever of its services is meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from llmcloud.core.home import Home
from llmcloud.core.spec.models import JobSpec
from llmcloud.providers.aws.compute import Aws

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("service", ["vm", "managed"])
def test_an_image_that_not_all_roles_have_is_not_left_out_silently(
    tmp_path: Path, service: str
) -> None:
    document = {"name": "n", "run": "true", "service": service, "provider": ["aws"]}
    roles = {"chief": {"cpus": "2+"}, "worker": {"cpus": "2+", "image": "pytorch"}}
    spec = JobSpec.model_validate({**document, "roles": roles, "launcher": "tensorflow"})
    aws = Aws(Home(tmp_path, tmp_path / "config"))
    assert [each.key for each in aws.refusals(spec)] == ["roles"]
    roles["chief"]["image"] = "pytorch"
    spec = JobSpec.model_validate({**document, "roles": roles, "launcher": "tensorflow"})
    assert aws.refusals(spec) == []
