"""The tokenizer that a GGUF file describes, in the families whose ids are the same as llama.cpp's.

What each name in `tokenizer.ggml.pre` stands for is a fact of llama.cpp's `llama-vocab.cpp` (2026-11). Names that are
not here are refused: a guess would give ids that the model was never trained on.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import tokenizers

from radlite.errors import UserError
from radlite.tokenizer import QWEN, Cut, SentencePiece, Tokenizer, is_text

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED = 1, 2, 3, 4

_GPT2: Final = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_SUFFIX: Final = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_REST: Final = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD: Final = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_QWEN2: Final = rf"{_SUFFIX}|{_WORD}|\p{{N}}|{_REST}"
_LLAMA3: Final = rf"{_SUFFIX}|{_WORD}|\p{{N}}{{1,3}}|{_REST}"
# Words that end at a capital letter. Only the capitals of ASCII count, in llama.cpp.
_UPPER, _LOWER = r"[\p{L}&&[^a-z]]", r"[\p{L}&&[^A-Z]]"
_CASED: Final = rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+%s|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*%s|\p{{N}}%s"
_CASED_REST: Final = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_HAN: Final = "[一-龥぀-ゟ゠-ヿ]+"
_DEEPSEEK3: Final = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

CUTS: Final[dict[str, Cut]] = {
    name: cut
    for names, cut in {
        "qwen2": QWEN,
        "deepseek-r1-qwen kormo megrez stablelm2 hunyuan solar-open grok-2": Cut((_QWEN2,)),
        "qwen35": Cut(
            (
                rf"{_SUFFIX}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
                r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
            ),
            composed=True,
        ),
        "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 glm4 glm5": Cut((_LLAMA3,), whole=True),
        "dbrx smaug-bpe chatglm-bpe": Cut((_LLAMA3,)),
        "minicpm5": Cut((r"\p{N}{1,3}", rf"{_SUFFIX}|{_WORD}|\p{{N}}+|{_REST}"), whole=True),
        "tekken": Cut((_CASED % ("", "", "") + _CASED_REST,), whole=True),
        "gpt-4o llama4 kanana2 minimax-m2": Cut((_CASED % (f"{_SUFFIX}?", f"{_SUFFIX}?", "{1,3}") + _CASED_REST,)),
        "gpt-2 phi-2 gigachat a.x-4.0 mellum exaone4 jais trillion granite-docling": Cut((_GPT2,)),
        "mpt olmo": Cut((_GPT2,), composed=True),
        "starcoder refact smollm codeshell exaone minerva-7b mellum2": Cut((r"\p{N}", _GPT2)),
        "command-r": Cut((r"\p{N}", _GPT2), composed=True),
        "falcon": Cut((r"[\p{P}\$\+<=>\^~\|`]+", _GPT2, "[0-9][0-9][0-9]")),
        "deepseek-coder": Cut((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", r"[[一-龥ࠀ-一가-퟿]&&\S]+", r"\p{N}")),
        "deepseek-v3 hunyuan-dense joyai-llm hy_v4": Cut((r"\p{N}{1,3}", _HAN, _DEEPSEEK3)),
        "bailingmoe bailingmoe2 llada-moe": Cut(
            (
                r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
                r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
            )
        ),
        "seed-coder": Cut((rf"{_SUFFIX}|{_WORD}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",)),
    }.items()
    for name in names.split()
}
"""By `tokenizer.ggml.pre`. Composed where the family's own tokenizer composes (Qwen, GPT-NeoX, Cohere); llama.cpp takes
text as it comes."""

_GEMMA4: Final = Cut((r"[^\n]+|[\n]+",), characters=True)
_ADDS_BOS: Final = frozenset(
    ("llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "tekken")
)
"""The names whose files begin a prompt with their first token unless they say otherwise."""

# One character for each byte that UTF-8 text has: no control characters, nothing beyond the first planes.
_CHARACTERS: Final = (9, 10, 13, *range(32, 127), *range(0x80, 0xC0), *range(0xC0, 0xD800, 64), 0xE000, 0xF000, 0x10000)
_LEVEL: Final = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
_NEEDED: Final = frozenset(_LEVEL.pre_tokenize_str("".join(map(chr, _CHARACTERS)))[0][0])
"""Those bytes, as a byte-level BPE writes them."""


def tokenizer(path: Path, keys: Mapping[str, Any]) -> Tokenizer:
    """The tokenizer of the GGUF file `path` with these `keys`.

    Raises `UserError` for a family that is not known, and a vocabulary that is incomplete or names a token twice.
    """
    model, pre = keys.get("tokenizer.ggml.model"), keys.get("tokenizer.ggml.pre")
    cut = CUTS.get(str(pre)) if model == "gpt2" else _GEMMA4 if model == "gemma4" else None
    if cut is None and model != "llama":
        name = "-".join(str(part) for part in (model, pre) if part) or "unnamed"
        raise UserError(
            f"{path} has the tokenizer {name}, which is not supported; use a model of a family in docs/other-models.md."
        )
    if any(name in str(keys.get("general.name")).lower() for name in ("phi-3", "phi3")):
        raise UserError(f"{path} is a Phi-3, whose control tokens swallow blanks, which is not supported; use another.")
    tokens, merges, types, scores = (_list(keys, name) for name in ("tokens", "merges", "token_type", "scores"))
    try:
        if not tokens or len(types) != len(tokens) or len({*tokens} - {""}) != len(tokens) - tokens.count(""):
            raise ValueError
        control, plain, normal = _sorted(tokens, types)
        if cut and not cut.characters:
            if not normal.keys() >= _NEEDED:
                raise LookupError
            return Tokenizer.from_vocabulary(normal, merges, control, plain, cut)
        bytes_ = {name: tokens.index(name) for name in (f"<0x{value:02X}>" for value in range(256))}
        if cut:
            return Tokenizer.from_vocabulary(normal | bytes_, merges, control, plain, cut)
        scored = {name: (number, float(scores[number])) for name, number in normal.items()}
        opens_with_blank = bool(keys.get("tokenizer.ggml.add_space_prefix", True))
        return SentencePiece(scored, [*bytes_.values()], control, plain, opens_with_blank)
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} has an incomplete vocabulary; export or download the model again.") from error


def first(path: Path, keys: Mapping[str, Any]) -> int | None:
    """The id that begins every prompt, where llama.cpp puts it there although no template does.

    Raises `UserError` if the file wants one and does not say which.
    """
    model, wanted = keys.get("tokenizer.ggml.model"), keys.get("tokenizer.ggml.add_bos_token")
    if not isinstance(wanted, bool):
        wanted = model == "llama" or (model == "gpt2" and keys.get("tokenizer.ggml.pre") in _ADDS_BOS)
    if not wanted and model != "gemma4":
        return None
    number = keys.get("tokenizer.ggml.bos_token_id", 1 if model == "llama" else None)
    if not isinstance(number, int) or not 0 <= number < len(_list(keys, "tokens")):
        raise UserError(f"{path} does not say which token begins a prompt; export or download the model again.")
    return number


def _sorted(tokens: list[str], types: list[int]) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Ids by name of the control tokens, the added tokens that are text, and the ordinary tokens."""
    control, plain, normal = dict[str, int](), dict[str, int](), dict[str, int]()
    for number, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        # What fills the table up to the model's width is no token: type UNUSED, or in older files named [PADn].
        if not token or (kind != _NORMAL and token.startswith("[PAD") and token.endswith("]")):
            continue
        if kind == _USER_DEFINED and is_text(token):
            plain[token] = number
        elif kind in (_CONTROL, _UNKNOWN, _USER_DEFINED):
            control[token] = number
        elif kind == _NORMAL:
            normal[token] = number
    return control, plain, normal


def _list(keys: Mapping[str, Any], name: str) -> list[Any]:
    value = keys.get(f"tokenizer.ggml.{name}")
    return value if isinstance(value, list) else []
