"""OAuth tokens as Entra ID would give them: Azurite checks all of one but who signed it."""

from __future__ import annotations

import base64
import json
import time

from azure.core.credentials import AccessToken

ISSUER = "https://sts.windows.net/00000000-0000-0000-0000-000000000000/"
AUDIENCE = "https://storage.azure.com"
LIFETIME_S = 3600


def mint(
    *, audience: str = AUDIENCE, issuer: str = ISSUER, lifetime_s: float = LIFETIME_S
) -> AccessToken:
    """Return a token that is valid for so long from now; a negative time is that long ago."""
    now = time.time()
    expires_on = int(now + lifetime_s)
    claims = {
        "iss": issuer,
        "aud": audience,
        "iat": int(now) - LIFETIME_S,
        "nbf": int(now) - LIFETIME_S,
        "exp": expires_on,
    }
    parts = (_part({"alg": "RS256", "typ": "JWT"}), _part(claims), "signature")
    return AccessToken(".".join(parts), expires_on)


def _part(document: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


class Credential:
    """A TokenCredential of azure-core that mints what it is asked for."""

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        (scope,) = scopes
        return mint(audience=scope.removesuffix("/.default"))

    def close(self) -> None:
        """Close nothing."""
