"""The identity service of an Azure machine (App Service's kind), which mints Azurite's tokens."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.rig.answers import Answer, answering, as_json
from tests.rig.emulators import tokens

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Entra:
    """`environ` leads azure-identity here; `asked` has the resources that tokens were minted for.

    `lifetimes_s` are those of the next tokens, the last of them of all that follow.
    """

    environ: dict[str, str]
    lifetimes_s: list[float] = field(default_factory=lambda: [tokens.LIFETIME_S])
    asked: list[str] = field(default_factory=list)

    def answer(self, method: str, path: str, body: bytes) -> Answer:
        """Answer as the managed identity endpoint does."""
        (resource,) = parse_qs(urlsplit(path).query)["resource"]
        self.asked.append(resource)
        lifetime_s = self.lifetimes_s.pop(0) if self.lifetimes_s[1:] else self.lifetimes_s[0]
        made = tokens.mint(audience=resource, lifetime_s=lifetime_s)
        return as_json(
            {
                "access_token": made.token,
                "expires_on": str(made.expires_on),
                "resource": resource,
                "token_type": "Bearer",
            }
        )


@contextlib.contextmanager
def entra() -> Iterator[Entra]:
    """Run one."""
    made = Entra({})
    with answering(made.answer) as url:
        made.environ |= {
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "IDENTITY_ENDPOINT": f"{url}/msi/token",
            "IDENTITY_HEADER": "secret",
        }
        yield made
