"""What belongs to a storage account, through the Resource Manager: a small one of our own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from azure.mgmt.storage import models
from tests.rig.answers import Answer, answering, as_json
from tests.rig.emulators import certificates
from tests.rig.entra import entra

from llmcloud.core.buckets import BucketWish
from llmcloud.providers.azure.credentials import Account
from llmcloud.providers.azure.settings import AccountSettings
from llmcloud.runtime.errors import Conflict, NotFound, PermissionDenied

if TYPE_CHECKING:
    from collections.abc import Iterator

BASE = "/subscriptions/0000/resourceGroups/nlp/providers/Microsoft.Storage/storageAccounts/account"
ACCOUNTS = "/subscriptions/0000/providers/Microsoft.Storage/storageAccounts"
SERVICE = f"{BASE}/blobServices/default"
POLICY = f"{BASE}/managementPolicies/default"
THEIRS = {
    "enabled": True,
    "name": "theirs",
    "type": "Lifecycle",
    "definition": {
        "filters": {"blobTypes": ["blockBlob"]},
        "actions": {"baseBlob": {"delete": {"daysAfterModificationGreaterThan": 900.0}}},
    },
}


class Manager:
    """Resources by their paths, in the documented form; an unknown path fails the request."""

    def __init__(self) -> None:
        account = {"id": BASE, "name": "account", "location": "westeurope", "properties": {}}
        retention = {"deleteRetentionPolicy": {"enabled": True, "days": 7}}
        self.resources: dict[str, Any] = {
            ACCOUNTS: {"value": [account]},
            SERVICE: {"id": SERVICE, "name": "default", "properties": retention},
        }
        self.refusal: Answer | None = None

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        path = urlsplit(path).path
        if self.refusal and method == "PUT":
            return self.refusal
        if method == "PUT" and path in (SERVICE, POLICY):
            self.resources[path] = {"id": path, "name": "default", **json.loads(body)}
        if path == POLICY and path not in self.resources:
            said = {"code": "ManagementPolicyNotFound", "message": "none was set"}
            return as_json({"error": said}, 404)
        if path not in self.resources:
            return as_json({"error": {"code": "InvalidResourceType", "message": path}}, 400)
        return as_json(self.resources[path])


@pytest.fixture
def manager(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Manager]:
    made = Manager()
    tls = certificates.issue(tmp_path_factory.mktemp("manager"))
    with answering(made.answer, tls) as url, entra() as identity:
        monkeypatch.delenv("AZURE_STORAGE_CONNECTION_STRING", raising=False)
        monkeypatch.setenv("AZURE_RESOURCE_MANAGER_URL", url)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tls.authority))
        monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", "0000")
        for name, value in identity.environ.items():
            monkeypatch.setenv(name, value)
        yield made


@pytest.fixture
def settings(manager: Manager) -> AccountSettings:
    return AccountSettings(Account("account"))


def test_a_region_is_the_accounts(settings: AccountSettings) -> None:
    assert settings.region == "westeurope"
    settings.check(BucketWish(region="westeurope"))
    with pytest.raises(Conflict) as caught:
        settings.check(BucketWish(region="eastus"))
    assert "westeurope" in caught.value.fix


def test_an_account_of_another_subscription_is_not_found(manager: Manager) -> None:
    with pytest.raises(NotFound) as caught:
        assert AccountSettings(Account("another")).region
    assert "AZURE_SUBSCRIPTION_ID" in caught.value.fix


def test_versioning_is_turned_on_and_all_else_stays(
    settings: AccountSettings, manager: Manager
) -> None:
    assert settings.has_versioning is False
    settings.apply("bucket", BucketWish(versioning=True))
    assert settings.has_versioning is True
    assert manager.resources[SERVICE]["properties"] == {
        "deleteRetentionPolicy": {"enabled": True, "days": 7},
        "isVersioningEnabled": True,
    }


def test_logs_expire_by_their_tag_in_each_bucket_by_itself(
    settings: AccountSettings, manager: Manager
) -> None:
    """…whatever rules the account has for others."""
    manager.resources[POLICY] = {"properties": {"policy": {"rules": [THEIRS]}}}
    settings.apply("one", BucketWish(expire_logs_days=30))
    settings.apply("two", BucketWish(expire_logs_days=9))
    settings.apply("one", BucketWish(expire_logs_days=3))
    rules = manager.resources[POLICY]["properties"]["policy"]["rules"]
    assert [_facts(each) for each in rules] == [("", 900), ("two/jobs/", 9), ("one/jobs/", 3)]


def _facts(rule: dict[str, Any]) -> tuple[str, float]:
    """Return the prefix that a rule is for, and after how many days it deletes."""
    definition = rule["definition"]
    (prefix,) = definition["filters"].get("prefixMatch", [""])
    return prefix, definition["actions"]["baseBlob"]["delete"]["daysAfterModificationGreaterThan"]


def test_the_first_rule_needs_no_other(settings: AccountSettings, manager: Manager) -> None:
    settings.apply("one", BucketWish(expire_logs_days=30))
    (rule,) = manager.resources[POLICY]["properties"]["policy"]["rules"]
    assert rule["definition"]["filters"] == {
        "blobTypes": ["blockBlob"],
        "prefixMatch": ["one/jobs/"],
        "blobIndexMatch": [{"name": "llmcloud", "op": "==", "value": "log"}],
    }
    assert rule["name"].isalnum()
    typed = models.ManagementPolicyRule(rule)
    assert typed.definition.filters.blob_index_match[0].value == "log"


def test_nothing_is_changed_that_was_not_asked_for(
    settings: AccountSettings, manager: Manager
) -> None:
    before = json.dumps(manager.resources)
    settings.check(BucketWish(tags={"a": "1"}))
    settings.apply("bucket", BucketWish())
    assert json.dumps(manager.resources) == before


def test_a_role_that_is_missing_is_named(settings: AccountSettings, manager: Manager) -> None:
    said = {"code": "AuthorizationFailed", "message": "no"}
    manager.refusal = as_json({"error": said}, 403)
    with pytest.raises(PermissionDenied) as caught:
        settings.apply("bucket", BucketWish(versioning=True))
    assert "Storage Account Contributor" in caught.value.fix
