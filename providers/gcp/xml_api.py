"""The XML interface of Cloud Storage, for what neither obstore nor Google's SDK does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from llmcloud.core.meaning import asked_wait_s
from llmcloud.providers.gcp.errors import Asked, failure, translated
from llmcloud.runtime.errors import Failure, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmcloud.providers.gcp.credentials import Account


class XmlApi:
    """One bucket through the XML interface; an answer that refuses is raised as a Failure.

    `needs` is the permission that a request needs; a parameter without a value is sent by its
    name alone.
    """

    def __init__(self, account: Account, name: str) -> None:
        self.url = f"gs://{name}"
        self._name = name
        self._account = account

    def ask(self, verb: str, key: str, query: Mapping[str, str], needs: str, **sent: Any) -> Any:
        """Return the answer; `sent` is what else the SDK's session takes of a request."""
        words = (f"{k}={quote(v, safe='')}" if v else k for k, v in query.items())
        path = f"{self._name}/{quote(key)}" if key else self._name
        path += f"?{'&'.join(words)}" if query else ""
        sent.setdefault("timeout", self._account.timeout_s)
        with translated(self.url, key, needs):
            response = self._account.session().request(
                verb, f"{self._account.endpoint}/{path}", **sent
            )
        if response.status_code >= 300:
            refusal = _refused(response, Asked(self.url, key, needs))
            refusal.asked_wait_s = asked_wait_s(response.headers)
            raise refusal
        return response

    def document(self, response: Any) -> ET.Element:
        """Return the answer's body."""
        body = _parsed(response)
        if body is None:
            raise Unavailable("Something else than Cloud Storage answered.", where=self.url)
        return body

    def pages(
        self, key: str, query: Mapping[str, str], needs: str, next_page: Mapping[str, str]
    ) -> Iterator[ET.Element]:
        """Yield all pages of a listing; `next_page` has by parameter what tells its value."""
        query = dict(query)
        while True:
            page = self.document(self.ask("GET", key, query, needs))
            yield page
            if page.findtext("{*}IsTruncated") != "true":
                return
            query |= {name: page.findtext(f"{{*}}{tag}", "") for name, tag in next_page.items()}


def text(element: ET.Element, tag: str) -> str:
    """Return what a part of an answer says; Unavailable if the answer is not the service's."""
    found = element.findtext(f"{{*}}{tag}")
    if not found:
        raise Unavailable("Something else than Cloud Storage answered.", where=tag)
    return found


def _refused(response: Any, asked: Asked) -> Failure:
    body = _parsed(response)
    if body is None:  # it comes from a proxy, perhaps
        return failure(response.status_code, "", asked)
    code, message = (body.findtext(f"{{*}}{name}", "") for name in ("Code", "Message"))
    return failure(response.status_code, code, asked, message)


def _parsed(response: Any) -> ET.Element | None:
    try:
        return ET.fromstring(response.content)  # noqa: S314 (who has our data is trusted)
    except ET.ParseError:
        return None
