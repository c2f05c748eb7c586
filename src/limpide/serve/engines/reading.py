"""What a request asks of a model opened here: token ids, and how the answer is to be written. Else a refusal."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from limpide.core.errors import LimpideError, nearest
from limpide.data.examples import Message
from limpide.models.generation import question_ids
from limpide.models.model import Model
from limpide.models.stream import Drawing
from limpide.serve.engines.forms import alternatives
from limpide.serve.openai_types import CHAT_ROUTE, ApiError, too_long

OF_THE_PROMPT = frozenset({"messages", "prompt", "adapter", "max_tokens"})
OF_THE_ANSWER = frozenset({"temperature", "top_p", "top_k", "min_p", "seed", "stop", "logprobs", "top_logprobs"})
OF_THE_GATEWAY = frozenset({"model", "stream", "stream_options"})
OBEYED = OF_THE_PROMPT | OF_THE_ANSWER | OF_THE_GATEWAY
CHANGE_NOTHING = (None, {"type": "text"})


@dataclass(frozen=True)
class Wanted:
    """A request, read. prompt: token ids. most: tokens of the answer. alternatives: listed beside each token, None
    where no log-probabilities are asked for. adapter: None for the base."""

    prompt: tuple[int, ...]
    most: int
    drawing: Drawing
    stops: tuple[str, ...]
    alternatives: int | None
    adapter: str | None


@dataclass(frozen=True)
class Reader:
    """Every method raises ApiError for what this model cannot do, and never quotes a text."""

    model: Model
    adapters: Collection[str]

    def read(self, route: str, body: Mapping[str, Any]) -> Wanted:
        """body: OpenAI's fields, already of the right types."""
        for name in body.keys() - OBEYED:
            if body[name] not in CHANGE_NOTHING:
                raise ApiError(400, f"This engine does not support '{name}'.", code="unsupported", param=name)
        chat = route == CHAT_ROUTE
        prompt = self.chat_ids(body["messages"]) if chat else self.text_ids(body["prompt"])
        wanted = Wanted(
            prompt=tuple(prompt),
            most=self._most(len(prompt), body.get("max_tokens"), "messages" if chat else "prompt"),
            drawing=_drawing(body),
            stops=_stops(body.get("stop")),
            alternatives=alternatives(body),
            adapter=self._adapter(body.get("adapter")),
        )
        if self.model.kind == "encoder":
            self._check_filling(wanted)
        return wanted

    def chat_ids(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        """A conversation as the model was taught to read it."""
        if self.model.kind == "encoder":
            raise ApiError(400, "This model fills masks and holds no conversation.", code="unsupported")
        try:
            return question_ids(self.model, [Message.model_validate(dict(turn)) for turn in messages])
        except LimpideError as error:  # its other lines could quote the conversation
            raise ApiError(400, error.what, code="template_refused", param="messages") from error
        except ValidationError as error:
            message = "Each message needs a role (system, user or assistant) and its text."
            raise ApiError(400, message, code="invalid_value", param="messages") from error

    def text_ids(self, text: str | Sequence[int]) -> list[int]:
        """A raw text, in which control tokens are meant; or its token ids."""
        if isinstance(text, str):
            return list(self.model.tokenizer(text)["input_ids"])
        known = int(self.model.network.config.vocab_size)
        if any(not 0 <= token < known for token in text):
            raise ApiError(400, f"A token id is not one of this model's, 0 to {known - 1}.", code="invalid_value")
        return list(text)

    def texts_ids(self, texts: Sequence[str | Sequence[int]]) -> list[list[int]]:
        found = [self.text_ids(text) for text in texts]
        if not all(found):
            raise ApiError(400, "A text is empty.", code="invalid_value", param="input")
        longest = max(map(len, found), default=0)
        if longest > self.model.context:
            raise too_long(longest, self.model.context, None, "input")
        return found

    def _adapter(self, name: str | None) -> str | None:
        if name is not None and name not in self.adapters:
            message = f"There is no adapter '{name}' here.{nearest(name, list(self.adapters))}"
            raise ApiError(404, message, code="adapter_not_found", param="adapter")
        return name

    def _most(self, prompt: int, asked: int | None, param: str) -> int:
        """Tokens the answer may have. An encoder's answer stands where the masks of its prompt are."""
        if prompt == 0:
            raise ApiError(400, "The prompt is empty.", code="invalid_value", param=param)
        fills = self.model.kind == "encoder"
        if prompt + (0 if fills else asked or 1) > self.model.context:
            raise too_long(prompt, self.model.context, asked, param)
        return asked or (self.model.context if fills else self.model.context - prompt)

    def _check_filling(self, wanted: Wanted) -> None:
        mask = self.model.tokenizer.mask_token
        if self.model.tokenizer.mask_token_id not in wanted.prompt:
            message = f"This model fills masks: write {mask} where a word is missing."
            raise ApiError(400, message, code="no_mask", param="prompt")
        if wanted.stops or wanted.drawing.temperature > 0:
            param = "stop" if wanted.stops else "temperature"
            message = f"This model gives the likeliest token for each {mask}: leave '{param}' out."
            raise ApiError(400, message, code="unsupported", param=param)


def _stops(asked: str | Sequence[str] | None) -> tuple[str, ...]:
    return (asked,) if isinstance(asked, str) else tuple(asked or ())


def _drawing(body: Mapping[str, Any]) -> Drawing:
    asked = {name: body[name] for name in ("temperature", "top_p", "top_k", "min_p") if body.get(name) is not None}
    return Drawing(**asked, seed=body.get("seed"))
