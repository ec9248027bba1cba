"""Write the model card of a tiny base from its manifest: `python scripts/card.py FOLDER...`."""

import sys
from pathlib import Path
from typing import Any

from radlite import manifest

_DROPPED = "dropped_as_equal_to_a_sample_item"
CARD = """---
license: apache-2.0
---
# {name}

A {family} architecture of {millions:.1f} million parameters, pretrained from scratch on synthetic text by
`scripts/pretrain.py`. It makes RadLite's whole path real and quick on a laptop. **It is for demonstration and tests;
it is not fit for any use on real reports.**

| | |
|---|---|
| data | {data} |
| steps, tokens, documents | {steps:,}; {tokens:,}; {documents:,} |
| seed | {seed} |
| loss at the end | {loss} |
| exercises answered to the letter ({measured_documents} unseen documents) | {right} |
| licence | Apache-2.0; no text or weights of others are in it |

**Evaluated items are not in its training text.** The test split of the sample data uses wordings that pretraining never
draws ({unseen} of {variants}); a report equal to a text of the sample corpus (first 1,500 of each task and split) is
dropped ({dropped} were). The text holds none of the nine tasks in their words and forms; only the tokenizer was
learned from those too.

Made with the commands below, one after the other; between them the scripts were improved, so that a run from scratch
comes out alike and not equal.

```bash
{commands}
```
"""


def card(folder: Path) -> str:
    """The card of the base in `folder`."""
    made = manifest.read(folder, "base")
    runs = [*made.get("earlier", []), made]
    total = {fact: sum(run[fact] for run in runs) for fact in ("steps", "tokens", "documents", _DROPPED)}
    return CARD.format(
        name=made["name"],
        family=made["family"],
        millions=made["parameters"] / 1e6,
        data=made["data"],
        steps=total["steps"],
        tokens=total["tokens"],
        documents=total["documents"],
        seed=", ".join(str(run["recipe"]["seed"]) for run in runs),
        loss=made["loss"],
        measured_documents=made["measured"]["documents"],
        right=", ".join(f"{kind} {share:.0%}" for kind, share in made["measured"]["right"].items()),
        unseen=made["wordings"]["unseen"],
        variants=made["wordings"]["variants"],
        dropped=total[_DROPPED],
        commands=_commands(runs),
    )


def _commands(runs: list[dict[str, Any]]) -> str:
    """The commands of the runs; each but the first goes on from the result of the one before."""
    lines, start = [], ""
    for number, run in enumerate(runs, 1):
        settings = dict(run["recipe"])
        family = settings.pop("family")
        folder = f"src/radlite/models/tiny-{family}" if number == len(runs) else f"run-{number}"
        options = " ".join(f"--{key.replace('_', '-')} {value}" for key, value in settings.items())
        stopped = "" if run["steps"] == settings["steps"] else f"    # stopped after {run['steps']} steps"
        lines.append(f"python scripts/pretrain.py {family} {start}--out {folder} {options}{stopped}")
        start = f"--start {folder} "
    return "\n".join(lines)


if __name__ == "__main__":
    for place in sys.argv[1:]:
        (Path(place) / "README.md").write_text(card(Path(place)), "utf-8")
