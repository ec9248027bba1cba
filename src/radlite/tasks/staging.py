"""N and M stage from a report, in the plain forms of the paper: `Positive. N staging: N2` and `M1`."""

import re

from radlite.tasks.answers import choice, exact, one_of
from radlite.tasks.task import Task

N_STAGES = ("N0", "N1", "N2", "N3")
M_STAGES = ("M0", "M1")


def _render_n(stage: str) -> str:
    return f"{'Negative' if stage == 'N0' else 'Positive'}. N staging: {stage}"


def _read_n(text: str) -> str | None:
    """The stage; None also when the word before it says the opposite."""
    found = re.fullmatch(r"(?:(positive|negative)\.\s*)?(?:n staging:\s*)?(n[0-3])\.?", text.strip(), re.IGNORECASE)
    if not found:
        return None
    word, stage = found[1], found[2].upper()
    return None if word and (word.lower() == "negative") != (stage == "N0") else stage


N_STAGING = Task(
    name="n_staging",
    inputs=("report",),
    cue="Lymph node involvement and N stage.",
    instruction=(
        "State the regional lymph node stage of the cancer. Answer in the form 'Negative. N staging: N0' or "
        "'Positive. N staging: N2', with N1, N2 or N3 when nodes are involved."
    ),
    read=_read_n,
    render=_render_n,
    judge=exact,
    metric="accuracy",
    max_tokens=16,
    labels=N_STAGES,
    grammar=choice(_render_n(stage) for stage in N_STAGES),
)

M_STAGING = Task(
    name="m_staging",
    inputs=("report",),
    cue="M stage.",
    instruction="State whether there is distant metastasis. Answer with M0 (none) or M1 (present) only.",
    read=one_of(M_STAGES),
    render=str,
    judge=exact,
    metric="accuracy",
    max_tokens=8,
    labels=M_STAGES,
    grammar=choice(M_STAGES),
)
