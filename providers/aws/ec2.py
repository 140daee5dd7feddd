"""EC2's instances, as it describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmcloud.providers.aws.errors import translated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmcloud.providers.aws.credentials import Account

ENDED = {"shutting-down", "terminated"}  # these are over, or will be in a moment


def instances(
    account: Account, region: str, filters: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Yield the instances of a region that filters find, of all pages."""
    pages = account.client_of("ec2", region).get_paginator("describe_instances")
    with translated(f"{region}, machines"):
        for page in pages.paginate(Filters=filters):
            for reservation in page["Reservations"]:
                yield from reservation["Instances"]
