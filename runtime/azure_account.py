"""The connection string of an Azure storage account: for the command line and for nodes alike."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from llmcloud.runtime.errors import InvalidRequest


def connection() -> dict[str, str]:
    """Return the connection string's entries, by their names in small letters."""
    text = os.environ.get("AZURE_STORAGE_CONNECTION_STRING", "")
    pairs = (each.partition("=") for each in text.split(";") if each.strip())
    said = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if said and not account_of(said):
        raise InvalidRequest(
            "AZURE_STORAGE_CONNECTION_STRING names no storage account.",
            fix="az storage account show-connection-string --name ACCOUNT",
        )
    return said


def account_of(said: dict[str, str]) -> str:
    """Return the account that a connection string is for."""
    host = urlsplit(said.get("blobendpoint", "")).hostname or ""
    return said.get("accountname") or host.partition(".")[0]


def connection_of(account: str) -> dict[str, str]:
    """Return the connection string's entries if it is this account's."""
    said = connection()
    return said if account_of(said) == account else {}
