"""moto's own application, asked without a network between."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode

os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"  # 1,300 a region; images.py has ours

from moto.moto_api._internal.models import moto_api_backend
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from tests.rig.gcs.server import Response
from werkzeug.test import create_environ, run_wsgi_app

if TYPE_CHECKING:
    from tests.rig.aws.call import Call

APPLICATION = DomainDispatcherApplication(create_backend_app)
LEFT_OUT = {"content-length", "transfer-encoding", "connection", "date", "server"}


def forward(call: Call) -> Response:
    """Let moto answer a call."""
    request = call.request
    environ = create_environ(
        unquote(request.path),
        f"http://{call.service}.{call.region}.amazonaws.com",
        query_string=urlencode(request.query),
        method=request.verb,
        headers={name: value for name, value in request.headers.items() if name != "host"},
        data=call.body,
    )
    pieces, status, headers = run_wsgi_app(APPLICATION, environ, buffered=True)
    kept = {name: value for name, value in headers.items() if name.lower() not in LEFT_OUT}
    return Response(int(status.split()[0]), kept, list(pieces))


def reset() -> None:
    """Forget all that moto was told."""
    moto_api_backend.reset()
