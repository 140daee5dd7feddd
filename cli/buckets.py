"""`llmcloud buckets`: the buckets of the clouds that one has credentials for."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from llmcloud.cli import output
from llmcloud.cli.session import JsonOption, YesOption
from llmcloud.core import registry
from llmcloud.core.buckets import OURS, BucketInfo, BucketWish
from llmcloud.core.errors import UsageError
from llmcloud.core.stores import open_store
from llmcloud.runtime.errors import Conflict, CredentialsError, InvalidRequest
from llmcloud.runtime.status import rfc3339
from llmcloud.runtime.store import split_bucket

if TYPE_CHECKING:
    from llmcloud.core.buckets import Buckets

COUNTED = 10_000  # objects; who deletes more need not know how many more

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, add_completion=False)

UrlArgument = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help="s3://BUCKET, gs://BUCKET or az://ACCOUNT/CONTAINER.",
        show_default=False,
    ),
]


@app.command()
def create(
    url: UrlArgument,
    region: Annotated[
        str,
        typer.Option(
            "--region",
            metavar="REGION",
            help="Where; left out: the SDK's own, else us-east-1 or US.",
        ),
    ] = "",
    versioning: Annotated[
        bool, typer.Option("--versioning", help="Keep what is replaced or deleted.")
    ] = False,
    expire_logs: Annotated[
        int | None,
        typer.Option(
            "--expire-logs",
            metavar="DAYS",
            min=1,
            help="Delete jobs' logs when they are so old; all else of a job stays.",
        ),
    ] = None,
    abort_uploads: Annotated[
        int,
        typer.Option(
            "--abort-uploads",
            metavar="DAYS",
            min=1,
            help="Free the parts of uploads that were not completed in so many days.",
        ),
    ] = BucketWish.abort_uploads_days,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="KEY=VALUE", help="A tag of the bucket; may be repeated."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a bucket: private, encrypted, public access blocked. Again: set it to what is given."""
    output.json_mode(as_json)
    buckets, name = _named(url)
    wish = BucketWish(region, versioning, expire_logs, abort_uploads, _tags(tag or ()))
    try:
        made = buckets.create(name, wish)
    except InvalidRequest as failure:  # a name or a region that the service never takes
        raise UsageError(failure.what, where=failure.where, fix=failure.fix) from failure
    if as_json:
        output.emit(_document(made))
        return
    facts = [
        word
        for word, it_is in (("private", made.is_private), ("encrypted", made.is_encrypted))
        if it_is
    ]
    facts += ["versioned"] if made.has_versioning else []
    output.say(f"{_place(made)}: {', '.join(facts) or 'made'}")
    if made.is_private is None:
        output.warn(f"the service does not say whether {made.url} is closed to the public")


@app.command("list")
def list_buckets(
    where: Annotated[
        str,
        typer.Argument(
            metavar="[SCHEME]",
            help="s3://, gs:// or az://; left out: all clouds.",
            show_default=False,
        ),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List the buckets that the credentials found here can see."""
    output.json_mode(as_json)
    found = list(_cloud(_scheme(where)).list()) if where else _of_all_clouds()
    if as_json:
        output.emit([_document(each) for each in found])
    elif found:
        from llmcloud.cli import render

        rows = [_row(each) for each in found]
        heads = ["URL", "REGION", "CREATED", "OURS", "PRIVATE", "VERSIONS"]
        print(render.table(rows, heads))  # noqa: T201
    else:
        output.say("There are no buckets. Make one with: llmcloud buckets create URL")


@app.command()
def delete(
    url: UrlArgument,
    force: Annotated[
        bool, typer.Option("--force", help="Delete also what is in it, old versions too, unasked.")
    ] = False,
    yes: YesOption = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a bucket: an empty one of ours, unless told otherwise."""
    output.json_mode(as_json)
    buckets, name = _named(url)
    found = buckets.describe(name)
    content = _content(found.url)
    if content and not force:
        raise Conflict(
            f"The bucket is not empty: it holds {content}.",
            where=found.url,
            fix="Add --force to delete all that is in it, old versions too.",
        )
    what = f"{_place(found)} with {content or 'nothing in it'}"
    output.say(f"To be deleted: {what}.")
    if not found.is_ours:
        question = "llmcloud did not make this bucket. Delete it all the same?"
        if not output.confirm(question, yes=yes):
            raise UsageError("Nothing was deleted.")
    objects = buckets.empty(name) if force else 0
    buckets.delete(name)
    if as_json:
        output.emit({"deleted": found.url, "objects": objects})
    else:
        output.say(f"Deleted {found.url}")


def _named(url: str) -> tuple[Buckets, str]:
    """Return a cloud's buckets and a bucket's name there; UsageError for a URL that is none."""
    scheme = _scheme(url)
    try:
        name, key = split_bucket(scheme, url.partition("://")[2].rstrip("/"))
    except InvalidRequest as failure:
        raise UsageError(failure.what, fix=failure.fix) from failure
    if key:
        raise UsageError(f"{url} names more than a bucket.", fix=f"Use {scheme}://{name}.")
    return _cloud(scheme), name


def _scheme(url: str) -> str:
    scheme = url.partition("://")[0]
    if scheme not in registry.BUCKETS:
        known = ", ".join(f"{each}://" for each in registry.BUCKETS)
        raise UsageError(f"{url} is no bucket's URL.", fix=f"It begins with one of {known}.")
    return scheme


def _cloud(scheme: str) -> Buckets:
    return registry.buckets(scheme)


def _tags(texts: list[str] | tuple[()]) -> dict[str, str]:
    tags = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise UsageError(f"--tag {text} is not KEY=VALUE.")
        if key == OURS:
            raise UsageError(f"The tag {OURS} is what llmcloud knows its own buckets by.")
        tags[key] = value
    return tags


def _of_all_clouds() -> list[BucketInfo]:
    """Return the buckets of each cloud that can be asked, and mention the others."""
    found: list[BucketInfo] = []
    left_out = []
    for scheme in registry.BUCKETS:
        try:
            found += _cloud(scheme).list()
        except (CredentialsError, UsageError, InvalidRequest) as failure:
            left_out.append(failure)
            output.mention(f"{scheme}:// is left out: {failure.what}")
    if len(left_out) == len(registry.BUCKETS):
        raise CredentialsError(
            "No cloud could be asked for its buckets.",
            fix="llmcloud buckets list s3:// (or gs://, az://) says what is missing.",
        )
    return found


def _content(url: str) -> str:
    """Return what is in a bucket, in words; nothing if it is empty."""
    from llmcloud.cli import render

    sizes = [entry.size for entry in islice(open_store(url).objects(), COUNTED + 1)]
    if len(sizes) > COUNTED:
        return f"more than {COUNTED:,} objects"
    return f"{render.objects(len(sizes))} ({render.size(sum(sizes))})" if sizes else ""


def _place(found: BucketInfo) -> str:
    """Return a bucket and where it lies, which Azure tells administrators only."""
    return f"{found.url} in {found.region}" if found.region else found.url


def _row(found: BucketInfo) -> list[str]:
    from llmcloud.cli import render

    created = render.age(_created(found)) if found.created_at else "-"
    said = (found.is_ours, found.is_private, found.has_versioning)
    words = {True: "yes", False: "no", None: "?"}
    return [found.url, found.region or "?", created, *(words[each] for each in said)]


def _created(found: BucketInfo) -> str | None:
    return None if found.created_at is None else rfc3339(found.created_at)


def _document(found: BucketInfo) -> dict[str, Any]:
    return {
        "url": found.url,
        "region": found.region,
        "created_at": _created(found),
        "ours": found.is_ours,
        "private": found.is_private,
        "encrypted": found.is_encrypted,
        "versioning": found.has_versioning,
        "tags": dict(found.tags),
    }
