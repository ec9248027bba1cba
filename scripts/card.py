"""Write the model card of a tiny base from its manifest: `python scripts/card.py FOLDER...`."""

import sys
from pathlib import Path

from radlite import manifest

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

Made with: `python scripts/pretrain.py {family} --out {folder} {recipe}`{stopped}.
"""


def card(folder: Path) -> str:
    """The card of the base in `folder`."""
    made = manifest.read(folder, "base")
    recipe = {key: value for key, value in made["recipe"].items() if key not in ("family", "save_every")}
    return CARD.format(
        name=made["name"],
        family=made["family"],
        millions=made["parameters"] / 1e6,
        data=made["data"],
        steps=made["steps"],
        tokens=made["tokens"],
        documents=made["documents"],
        seed=made["recipe"]["seed"],
        loss=made["loss"],
        measured_documents=made["measured"]["documents"],
        right=", ".join(f"{kind} {share:.0%}" for kind, share in made["measured"]["right"].items()),
        unseen=made["wordings"]["unseen"],
        variants=made["wordings"]["variants"],
        dropped=made["dropped_as_equal_to_a_sample_item"],
        folder=f"src/radlite/models/{made['name']}",
        stopped="" if made["steps"] == recipe["steps"] else f", stopped after {made['steps']} steps: a first version",
        recipe=" ".join(f"--{key.replace('_', '-')} {value}" for key, value in recipe.items()),
    )


if __name__ == "__main__":
    for place in sys.argv[1:]:
        (Path(place) / "README.md").write_text(card(Path(place)), "utf-8")
