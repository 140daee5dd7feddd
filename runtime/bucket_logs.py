"""Pieces of jobs' logs, written so that a bucket's own rule can tell them from all else in it."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from llmcloud.runtime.bucket_api import LOG_TAG, LogMark
from llmcloud.runtime.bucket_requests import RETRIES, Requests
from llmcloud.runtime.errors import InvalidRequest, PermissionDenied
from llmcloud.runtime.status import rfc3339

if TYPE_CHECKING:
    from llmcloud.runtime.bucket_api import BucketApi

DATED_S = 3600.0  # a rule counts in days, and a piece may go as much earlier


class LogWriter:
    """Writes pieces of logs with the mark that their bucket's rule looks for.

    A mark may need a permission of its own, and not all accounts can keep one: then it is left out.
    """

    def __init__(self, api: BucketApi, plain: Requests) -> None:
        self._api, self._plain = api, plain
        self._dated_at = 0.0
        self._may_mark = True

    def put(self, key: str, data: bytes) -> str:
        """Write an object and return its tag."""
        if self._may_mark:
            with contextlib.suppress(PermissionDenied, InvalidRequest):
                return self._put_marked(key, data)
            self._may_mark = False
        return self._plain.put(key, data)

    def _put_marked(self, key: str, data: bytes) -> str:
        if self._api.log_mark is LogMark.TAG:
            return self._plain.put(key, data, tags=LOG_TAG)
        now = time.time()
        if now - self._dated_at >= DATED_S:
            self._dated = Requests(self._api.dated(rfc3339(now)), RETRIES)
            self._dated_at = now
        return self._dated.put(key, data)
