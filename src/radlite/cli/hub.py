"""`radlite pull` and `radlite push`: models from and to the Hugging Face hub."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def pull(
    name: Annotated[str, typer.Argument(help="Model on the Hugging Face hub, such as Qwen/Qwen3-4B.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Put it here too; else it is in the cache alone.")
    ] = None,
    file: Annotated[str, typer.Option(help="Which GGUF, where there are several.")] = "",
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit; the newest if not given.")] = None,
) -> None:
    """Get a base, an adapter or a GGUF from the hub, or a mirror (HF_ENDPOINT), and check that it is whole.

    What was interrupted goes on where it stopped. With HF_HUB_OFFLINE=1 nothing but the cache is asked.
    """
    from radlite import hub

    typer.echo(hub.pull(name, to, file, revision))


def push(
    what: Annotated[
        Path, typer.Argument(help="Adapter or model folder, GGUF file, or corpus, of which a card is sent.")
    ],
    repository: Annotated[str, typer.Argument(metavar="REPO", help="OWNER/NAME on the hub; it is made if need be.")],
    public: Annotated[bool, typer.Option("--public", help="Let everybody see it.")] = False,
    licence: Annotated[str, typer.Option(help="Its licence, such as apache-2.0, where nothing tells it.")] = "",
) -> None:
    """Send what radlite made to the hub, private unless --public; rows of a corpus are never sent.

    The token is HF_TOKEN, or that of `hf auth login`.
    """
    from radlite import hub

    sent = hub.parcel(what, licence)
    for name in sorted(sent.files):
        print(f"radlite: {name}", file=sys.stderr)
    print(f"radlite: licence {sent.licence}", file=sys.stderr)
    if sent.closed:
        print(
            f"radlite: it learned from {', '.join(sent.closed)}: who may have it, their terms decide.", file=sys.stderr
        )
    done = hub.push(sent, repository, public)
    typer.echo(f"{done.url} ({'private' if done.private else 'public'})")
