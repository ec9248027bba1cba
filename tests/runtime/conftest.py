"""One tiny model as a folder and as a GGUF file."""

from pathlib import Path

import pytest
import torch

from tests.runtime import gguf_file

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def model_file(base: Path) -> Path:
    """The random model of `base` as GGUF in F32, once for each family."""
    return gguf_file.write(base, base.with_suffix(".gguf"), {"radlite.manifest": '{"kind": "gguf"}'})
