"""Arguments that several commands share, with what completes them."""

from __future__ import annotations

from typing import Annotated

import typer


def _job_ids(incomplete: str) -> list[str]:
    from llmcloud.cli.session import Session
    from llmcloud.core import job as jobs
    from llmcloud.runtime.errors import Failure

    try:
        known = [job for store in Session.open().stores for job in jobs.ids(store)]
    except Failure:
        return []
    return [job for job in known if job.startswith(incomplete)]


def _templates(incomplete: str) -> list[str]:
    from llmcloud.core import templates

    return [each.name for each in templates.find_all() if each.name.startswith(incomplete)]


def _providers(incomplete: str) -> list[str]:
    from llmcloud.core.registry import available

    return [name for name in available() if name.startswith(incomplete)]


def _catalogs(incomplete: str) -> list[str]:
    from llmcloud.core.registry import CATALOGS

    return [name for name in CATALOGS if name.startswith(incomplete)]


def _accelerators(incomplete: str) -> list[str]:
    from llmcloud.core import registry

    names = {name for each in registry.CATALOGS for name in registry.catalog(each).accelerators()}
    written = {name.lower() if incomplete.islower() else name for name in names}
    return sorted(name for name in written if name.startswith(incomplete))


JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="A job's id, its name, or the beginning of one.",
        autocompletion=_job_ids,
        show_default=False,
    ),
]
FileArgument = Annotated[
    str, typer.Argument(metavar="FILE", help="The job file.", show_default=False)
]
ProviderArgument = Annotated[
    str,
    typer.Argument(metavar="[PROVIDER]", help="Which provider.", autocompletion=_providers),
]
TemplateArgument = Annotated[
    str,
    typer.Argument(
        metavar="[TEMPLATE]",
        help="Which template.",
        autocompletion=_templates,
        show_default=False,
    ),
]
AcceleratorArgument = Annotated[
    str,
    typer.Argument(
        metavar="[NAME]",
        help="Which, like A100 or A100:8; `none` lists machines without.",
        autocompletion=_accelerators,
        show_default=False,
    ),
]
CatalogOption = Annotated[
    str,
    typer.Option(
        "--provider",
        metavar="PROVIDER",
        help="Only of this cloud.",
        autocompletion=_catalogs,
        show_default=False,
    ),
]
