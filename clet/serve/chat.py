"""Messages to a prompt: the model's own chat template, as transformers renders it, without letting users forge turns.

Templates are Jinja2 programs that come with a model, so they run in the immutable sandbox, with transformers' settings
(trim_blocks, lstrip_blocks, loop controls, `raise_exception`, `tojson`). There is no clock in them: `strftime_now`
stays undefined, templates that ask for it carry a fallback.

A special token that a *message* spells (`<|im_end|>`) is text, not a turn: it is replaced by a mark before rendering
and encoded as ordinary text afterwards. Everything else is encoded exactly as transformers does it.

A model without a template gets `PLAIN`: one paragraph a message, `Role: text`, ending in `Assistant:`; an answer then
also ends where the model begins the next `User:` paragraph.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from clet.exits import InputError
from clet.serve.pieces import Pieces
from clet.tokens import Tokenizer

PLAIN = (
    "{% for message in messages %}{{ message['role'] | capitalize }}: {{ message['content'] }}\n\n{% endfor %}"
    "Assistant:"
)
PLAIN_STOPS = ("\n\nUser:",)
MAX_TEMPLATE_BYTES = 1 << 20
MAX_CONFIG_BYTES = 16 << 20  # tokenizer_config.json of a large vocabulary lists its added tokens
MAX_RENDERED_CHARS = 64 << 20
# Private-use characters that no text needs; a message that has them loses them.
_OPEN, _CLOSE = "\U0010fff0", "\U0010fff1"


class TemplateRefused(ValueError):
    """The template does not accept these messages; the text says why."""


class ChatTemplate:
    """A model's way of writing conversations. `stops` are strings that end an answer by convention."""

    def __init__(self, source: str | None, names: dict[str, str] = {}) -> None:
        """Compile `source` (None: the fallback); `names` are texts like `bos_token`. InputError if it is broken."""
        import jinja2
        from jinja2.ext import loopcontrols
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        self.is_plain = source is None
        self.stops = PLAIN_STOPS if source is None else ()
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _refuse
        try:
            self._template = environment.from_string(PLAIN if source is None else source)
        except jinja2.TemplateError as error:
            raise InputError(f"the chat template does not compile: {error}") from None
        self._names = names

    @staticmethod
    def load(directory: Path) -> ChatTemplate:
        """That of a model directory: `chat_template.jinja`, else in `tokenizer_config.json`, else the fallback."""
        config = _read(directory / "tokenizer_config.json", MAX_CONFIG_BYTES)
        source = _read(directory / "chat_template.jinja", MAX_TEMPLATE_BYTES)
        try:
            settings = orjson.loads(config) if config else {}
            if source is None:
                source = settings.get("chat_template")
            if isinstance(source, list):  # several by name, as in tool-using models
                source = next((entry["template"] for entry in source if entry.get("name") == "default"), None)
            named = {name: settings.get(name) for name in ("bos_token", "eos_token", "pad_token", "unk_token")}
            texts = {name: v.get("content") if isinstance(v, dict) else v for name, v in named.items()}
        except (ValueError, AttributeError, KeyError, TypeError):
            raise InputError(f"{directory / 'tokenizer_config.json'}: not a tokenizer's configuration") from None
        return ChatTemplate(source, {name: text for name, text in texts.items() if isinstance(text, str)})

    def render(self, messages: Sequence[dict[str, str]]) -> str:
        """The prompt's text, ready for the assistant's answer. Raises TemplateRefused."""
        import jinja2

        try:
            text = self._template.render(messages=list(messages), add_generation_prompt=True, tools=None, **self._names)
        except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, LookupError, RecursionError) as error:
            raise TemplateRefused(f"the model's chat template refuses these messages: {error}") from None
        if len(text) > MAX_RENDERED_CHARS:
            raise TemplateRefused(f"the rendered conversation has {len(text)} characters")
        return text

    def prompt_ids(self, messages: Sequence[dict[str, str]], tokenizer: Tokenizer, pieces: Pieces) -> list[int]:
        """The conversation as token ids; special tokens of the template are ids, those in messages are text."""
        spelled = sorted(pieces.special, key=len, reverse=True)
        quiet = [message | {"content": _mask(message["content"], spelled)} for message in messages]
        text = self.render(quiet)
        ids: list[int] = []
        if not spelled:
            return tokenizer.encode([text])[0].tolist()
        parts = re.split(f"({'|'.join(map(re.escape, spelled))}|{_OPEN}[0-9]+{_CLOSE})", text)
        plain = tokenizer.encode([_unmask(part, spelled) for part in parts])
        for i, part in enumerate(parts):
            ids.extend([pieces.special[part]] if part in pieces.special else plain[i].tolist())
        return ids


def _mask(text: str, spelled: Sequence[str]) -> str:
    text = text.replace(_OPEN, "").replace(_CLOSE, "")
    for number, name in enumerate(spelled):
        text = text.replace(name, f"{_OPEN}{number}{_CLOSE}")
    return text


def _unmask(part: str, spelled: Sequence[str]) -> str:
    return spelled[int(part[1:-1])] if part.startswith(_OPEN) and part.endswith(_CLOSE) else part


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    # Jinja's own filter escapes for HTML; transformers replaces it for the same reason.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


def _refuse(message: str) -> None:
    import jinja2

    raise jinja2.TemplateError(message)


def _read(path: Path, limit: int) -> str | None:
    try:
        with path.open("rb") as file:
            body = file.read(limit + 1)
        if len(body) > limit:
            raise InputError(f"{path}: over {limit} bytes")
        return body.decode()
    except OSError:
        return None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8") from None
