"""The values of a job's secrets, in the parameter store of the region of its machines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmcloud.providers.aws.errors import translated
from llmcloud.runtime import layout

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.providers.aws.credentials import Account

STANDARD_BYTES = 4096  # more costs cents a month
PAGE = 10  # that DeleteParameters takes at once


def keep(account: Account, region: str, job: str, values: Mapping[str, str]) -> None:
    """Write a job's secrets down, encrypted, where only its own machines may read them."""
    for name, value in values.items():
        path = f"{layout.secrets(job)}/{name}"
        tier = "Advanced" if len(value.encode()) > STANDARD_BYTES else "Standard"
        with translated(f"{region}, parameter {path}"):
            account.client_of("ssm", region).put_parameter(
                Name=path, Value=value, Type="SecureString", Overwrite=True, Tier=tier
            )


def forget(account: Account, region: str, job: str) -> None:
    """Delete a job's secrets; what is absent is deleted already."""
    ssm = account.client_of("ssm", region)
    with translated(f"{region}, parameters of {job}"):
        pages = ssm.get_paginator("get_parameters_by_path")
        found = [
            each["Name"]
            for page in pages.paginate(Path=layout.secrets(job))
            for each in page["Parameters"]
        ]
        for start in range(0, len(found), PAGE):
            ssm.delete_parameters(Names=found[start : start + PAGE])
