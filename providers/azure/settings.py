"""What a container can't be set to by itself: its account's place, versions and lifecycle.

These are the Resource Manager's, which wants to know the subscription, and a role that those who
only read and write objects rarely have.
"""

from __future__ import annotations

import hashlib
import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from llmcloud.core.buckets import OURS, BucketWish
from llmcloud.providers.azure.errors import code_of, translated
from llmcloud.runtime.bucket_api import LOG_PREFIX, LOG_TAG
from llmcloud.runtime.errors import Conflict, InvalidRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmcloud.providers.azure.credentials import Account

TAG = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
GROUP = re.compile(r"/resourceGroups/([^/]+)/", re.IGNORECASE)
POLICY = "default"  # an account has one
NO_POLICY = {"ManagementPolicyNotFound", "ResourceNotFound"}


class AccountSettings:
    """The settings of a storage account, through the Resource Manager's SDK."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._subscription = os.environ.get("AZURE_SUBSCRIPTION_ID", "")

    @property
    def can_be_asked(self) -> bool:
        """Tell whether we know where the Resource Manager has the account."""
        return bool(self._subscription)

    @property
    def region(self) -> str:
        """Return where the account lies."""
        return str(self._found.location)

    @cached_property
    def has_versioning(self) -> bool:
        """Tell whether objects that are replaced or deleted are kept."""
        with translated(self._account.url):
            found = self._client.blob_services.get_service_properties(*self._named)
        return bool(found.is_versioning_enabled)

    def check(self, wish: BucketWish) -> None:
        """Raise what stands against a wish, before anything is done."""
        _check_tags(self._account.url, wish.tags)
        if wish.abort_uploads_days != BucketWish.abort_uploads_days:
            raise InvalidRequest(
                "Azure frees the parts of uploads after 7 days, and no other number can be set.",
                where=self._account.url,
                fix="Leave out --abort-uploads.",
            )
        if wish.region and wish.region != self._asked("--region", "").region:
            raise Conflict(
                f"The storage account lies in {self.region}, and what is in it lies there, too.",
                where=self._account.url,
                fix=f"Use --region {self.region}, or an account that lies in {wish.region}.",
            )
        if wish.versioning:
            self._asked(
                "--versioning",
                "az storage account blob-service-properties update --enable-versioning true",
            )
        if wish.expire_logs_days is not None:
            self._asked("--expire-logs", "az storage account management-policy create")

    def apply(self, container: str, wish: BucketWish) -> None:
        """Bring the account to what is wished for one of its containers; safe to do again."""
        with translated(self._account.url):
            if wish.versioning and not self.has_versioning:
                found = self._client.blob_services.get_service_properties(*self._named)
                found.is_versioning_enabled = True
                self._client.blob_services.set_service_properties(*self._named, found)
                del self.has_versioning
            if wish.expire_logs_days is not None:
                self._expire_logs(container, wish.expire_logs_days)

    def _expire_logs(self, container: str, days: int) -> None:
        """Add our rule to those that the account has, which can only be set all at once."""
        from azure.mgmt.storage.models import ManagementPolicy, ManagementPolicySchema

        policies = self._client.management_policies
        ours = _rule(container, days)
        rules = [each for each in self._rules() if each.name != ours.name]
        wanted = ManagementPolicy()
        wanted.policy = ManagementPolicySchema(rules=[*rules, ours])
        policies.create_or_update(*self._named, POLICY, wanted)

    def _rules(self) -> list[Any]:
        from azure.core.exceptions import ResourceNotFoundError

        try:
            found = self._client.management_policies.get(*self._named, POLICY)
        except ResourceNotFoundError as error:
            if code_of(error) not in NO_POLICY:
                raise
            return []
        return list(found.policy.rules)

    def _asked(self, option: str, command: str) -> AccountSettings:
        """Return ourselves if we can be asked, else say what then can't be had."""
        if not self.can_be_asked:
            self._refuse(option, command)
        return self

    def _refuse(self, option: str, command: str) -> NoReturn:
        by_hand = f", or: {command} --account-name {self._account.name}" if command else ""
        raise InvalidRequest(
            f"On Azure {option} is for the whole account, and no subscription is named to find it.",
            where=self._account.url,
            fix=f"Set AZURE_SUBSCRIPTION_ID (az account show){by_hand}, or leave out {option}.",
        )

    @property
    def _named(self) -> tuple[str, str]:
        """Return resource group and account, as most requests want them."""
        group = GROUP.search(self._found.id)
        return (group[1] if group else ""), self._account.name

    @cached_property
    def _found(self) -> Any:
        """Return what the Resource Manager says of the account, wherever it is."""
        with translated(self._account.url):
            for each in self._client.storage_accounts.list():
                if each.name == self._account.name:
                    return each
        raise NotFound(
            "There is no such storage account in the subscription.",
            where=f"{self._account.url}, {self._subscription}",
            fix="az storage account list; az account list shows subscriptions: set"
            " AZURE_SUBSCRIPTION_ID.",
        )

    @cached_property
    def _client(self) -> Any:
        from azure.mgmt.storage import StorageManagementClient

        return StorageManagementClient(
            self._account.credential,
            self._subscription,
            base_url=os.environ.get("AZURE_RESOURCE_MANAGER_URL") or None,
            retry_total=0,
        )


def _rule(container: str, days: int) -> Any:
    from azure.mgmt.storage import models

    tags = [models.TagFilter(name=name, op="==", value=value) for name, value in LOG_TAG.items()]
    old = models.DateAfterModification(days_after_modification_greater_than=days)
    # Letters and digits are all that a name may have.
    name = OURS + hashlib.sha256(container.encode()).hexdigest()[:16]
    return models.ManagementPolicyRule(
        enabled=True,
        name=name,
        type="Lifecycle",
        definition=models.ManagementPolicyDefinition(
            filters=models.ManagementPolicyFilter(
                blob_types=["blockBlob"],
                prefix_match=[f"{container}/{LOG_PREFIX}"],
                blob_index_match=tags,
            ),
            actions=models.ManagementPolicyAction(
                base_blob=models.ManagementPolicyBaseBlob(delete=old)
            ),
        ),
    )


def _check_tags(url: str, tags: Mapping[str, str]) -> None:
    """Raise InvalidRequest for tags that a container's metadata can't hold."""
    for name, value in tags.items():
        if not TAG.fullmatch(name) or not (value.isascii() and value.isprintable()):
            raise InvalidRequest(
                f"Azure does not accept the tag {name}={value}.",
                where=url,
                fix="Letters, digits and underscores, no digit first; ASCII in its value.",
            )
