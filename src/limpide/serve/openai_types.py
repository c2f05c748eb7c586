"""The OpenAI API as Limpide speaks it: the requests, and the errors. No network here; answers are in `answers`.

A field that would change what the model says is obeyed or refused, never dropped: `tools`, `n` above 1 and so on give
a 400 that names them. `IGNORED` lists what is dropped because it changes nothing here. Sampling differs from OpenAI in
one default, `temperature` 0: what was measured in the release was measured greedily, so that is what is served unless
asked otherwise. No other sampler is active unless asked for.
Source: the OpenAI API reference, chat completions, completions and embeddings.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from limpide.core.errors import nearest

CHAT_ROUTE, COMPLETION_ROUTE, EMBEDDING_ROUTE = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
# Accepted and dropped: labels, billing and caching hints of OpenAI's own platform.
IGNORED = frozenset({"user", "metadata", "store", "service_tier", "safety_identifier", "parallel_tool_calls"}) | {
    "prompt_cache_key",
    "prompt_cache_retention",
}
# Accepted only with these values, which ask for what happens anyway. null always counts as one of them.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "echo": (False,),
    "suffix": ("",),
    "logit_bias": ({},),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "reasoning_effort": (),
    "verbosity": (),
    "web_search_options": (),
}
MESSAGE_IGNORED = frozenset({"name", "annotations", "refusal", "reasoning_content"})
MOST_STOPS = 16
LARGEST_SEED = 2**32 - 1  # llama.cpp reads this very number as 'random'
COMPLETION_DEFAULT = 16  # tokens, OpenAI's own default for /v1/completions
MOST_ALTERNATIVES = 20  # tokens listed beside each one of a chat answer
MOST_COMPLETION_ALTERNATIVES = 5  # OpenAI's own limit for /v1/completions
MOST_TEXTS = 2048  # of one request for embeddings, OpenAI's own limit
LARGEST_JSON_SCHEMA = 2**16  # characters: llama.cpp makes a grammar of it
# Members of one object or list in it: making the grammar takes more than the square of them, and nothing ends that.
MOST_MEMBERS = 500


class ApiError(Exception):
    """An answer that is an error, in OpenAI's shape. retry_after: seconds. facts: numbers added beside the message."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.facts = status, message, code, param, facts
        self.retry_after = retry_after

    def headers(self) -> dict[str, str]:
        asked = {"www-authenticate": "Bearer"} if self.status == 401 else {}
        wait = {} if self.retry_after is None else {"retry-after": str(max(1, math.ceil(self.retry_after)))}
        return {**asked, **wait}

    def record(self) -> dict[str, Any]:
        kinds = {
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
        }
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code, **self.facts}}


def _not_blank(values: list[str]) -> list[str]:
    if any(not value for value in values):
        raise ValueError("an empty text would stop every answer at once")
    return values


class TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    type: Literal["text"]
    text: str


class ChatMessage(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart]

    @property
    def text(self) -> str:
        return self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)

    def record(self) -> dict[str, str]:
        """As chat templates know it: OpenAI's 'developer' is what they call 'system'."""
        return {"role": "system" if self.role == "developer" else self.role, "content": self.text}


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)
    include_usage: bool = False


class JsonSchema(BaseModel):
    """An answer's form. strict makes no difference: the answer keeps to as much of the schema as the engine makes a
    grammar of (types, properties, enum, const, lengths, numbers of items; llama.cpp knows no `uniqueItems`, `not`,
    `if`, `multipleOf` or `patternProperties`). What llama.cpp would drop in silence is refused: `engines.schemas`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    name: str = Field(pattern=r"^[\w-]{1,64}$")
    description: str | None = None
    form: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


def _widest(form: dict[str, Any]) -> int:
    """Members of the largest object or list in a schema."""
    widest, waiting = 0, list[Any]([form])
    while waiting:
        one = waiting.pop()
        widest = max(widest, len(one))
        inner = one.values() if isinstance(one, dict) else one
        waiting += [value for value in inner if isinstance(value, dict | list)]
    return widest


class ResponseFormat(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _whole(self) -> "ResponseFormat":
        if (self.json_schema is not None) != (self.type == "json_schema"):
            raise ValueError("json_schema goes with the type 'json_schema', and only with it")
        if self.json_schema is not None and len(json.dumps(self.json_schema.form)) > LARGEST_JSON_SCHEMA:
            raise ValueError(f"the schema is longer than {LARGEST_JSON_SCHEMA} characters")
        if self.json_schema is not None and _widest(self.json_schema.form) > MOST_MEMBERS:
            raise ValueError(f"an object or a list in the schema has more than {MOST_MEMBERS} members")
        return self


class Asked(BaseModel):
    """What both kinds of request share. max_tokens None: up to the end of the answer or of the context."""

    model_config = ConfigDict(extra="ignore", strict=True)
    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    stop: str | Annotated[list[str], Field(max_length=MOST_STOPS), AfterValidator(_not_blank)] | None = None

    @property
    def streams(self) -> bool:
        return bool(self.stream)

    @property
    def limit(self) -> int | None:
        """Tokens the answer may have, None when the request does not say."""
        return self.max_tokens

    def sampling(self) -> dict[str, Any]:
        """In llama.cpp's names. Its own samplers (top_k 40, min_p 0.05) are off: OpenAI's API has none of them."""
        stop = [self.stop] if isinstance(self.stop, str) else self.stop
        return {
            "temperature": 0.0 if self.temperature is None else self.temperature,
            "top_p": 1.0 if self.top_p is None else self.top_p,
            "top_k": 0,
            "min_p": 0.0,
            **({} if self.limit is None else {"max_tokens": self.limit}),
            **self.extras(),
            **({} if self.seed is None else {"seed": self.seed % LARGEST_SEED}),
            **({"stop": stop} if stop else {}),
            **({"stream": True} if self.streams else {}),
            **({"stream_options": {"include_usage": True}} if self.streams else {}),
        }

    def extras(self) -> dict[str, Any]:
        """What one kind of request alone may ask for."""
        return {}

    @property
    def wants_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


class ChatRequest(Asked):
    messages: list[ChatMessage] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=MOST_ALTERNATIVES)
    response_format: ResponseFormat | None = None

    def extras(self) -> dict[str, Any]:
        form = self.response_format
        shaped = form is not None and form.type != "text"
        return {
            **({"logprobs": True, "top_logprobs": self.top_logprobs or 0} if self.logprobs else {}),
            **({"response_format": form.model_dump(by_alias=True, exclude_none=True)} if form and shaped else {}),
        }

    @property
    def limit(self) -> int | None:
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens


class CompletionRequest(Asked):
    prompt: str | list[int] | list[str]
    logprobs: int | None = Field(default=None, ge=0, le=MOST_COMPLETION_ALTERNATIVES)

    def extras(self) -> dict[str, Any]:
        return {} if self.logprobs is None else {"logprobs": self.logprobs}

    @property
    def limit(self) -> int | None:
        return COMPLETION_DEFAULT if self.max_tokens is None else self.max_tokens

    @property
    def single(self) -> str | list[int]:
        """The one prompt: text or token ids."""
        prompt = self.prompt
        if isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str):
            return prompt[0]
        if isinstance(prompt, str):
            return prompt
        ids = [item for item in prompt if isinstance(item, int)]
        if len(ids) != len(prompt):
            raise ApiError(400, "Send one prompt a request: this server answers each on its own.", param="prompt")
        return ids


class EmbeddingRequest(BaseModel):
    """input: one text, several, or the token ids of one or several."""

    model_config = ConfigDict(extra="ignore", strict=True)
    model: str | None = None
    input: str | list[str] | list[int] | list[list[int]] = Field(min_length=1)
    encoding_format: Literal["float", "base64"] | None = None

    @property
    def texts(self) -> list[str | list[int]]:
        given: Any = self.input
        texts = [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)
        if len(texts) > MOST_TEXTS:
            raise ApiError(400, f"Send at most {MOST_TEXTS} texts a request.", code="invalid_value", param="input")
        if not all(texts):
            raise ApiError(400, "A text is empty.", code="invalid_value", param="input")
        return texts


class VerifyRequest(BaseModel):
    """model: the one whose release is verified again, the first where it is absent."""

    model_config = ConfigDict(extra="ignore", strict=True)
    model: str | None = None


Parsed = TypeVar("Parsed", ChatRequest, CompletionRequest, EmbeddingRequest, VerifyRequest)


def parse(body: bytes, kind: type[Parsed]) -> Parsed:
    """Read a request. Raises ApiError (400) naming the field at fault; never quotes what the message says."""
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError) as error:
        place = f" at line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        raise ApiError(400, f"The body is not valid JSON{place}.", code="invalid_json") from None
    if not isinstance(fields, dict):
        raise ApiError(400, "The body must be a JSON object.", code="invalid_json")
    _refuse_unsupported(fields, kind)
    try:
        # Through JSON again, which refuses half characters that Python's strings may hold.
        request = kind.model_validate_json(
            json.dumps({name: fields[name] for name in fields.keys() & kind.model_fields})
        )
    except ValidationError as error:
        raise _invalid(error) from None
    if isinstance(request, ChatRequest):
        _check_chat(request)
    return request


def _refuse_unsupported(fields: Mapping[str, Any], kind: type[BaseModel]) -> None:
    ours = kind.model_fields
    for name, value in fields.items():
        if name in ours or name in IGNORED or value is None:
            continue
        if name not in NEUTRAL:
            known = [*ours, *NEUTRAL, *IGNORED]
            raise ApiError(400, f"Unknown field '{name}'.{nearest(name, known)}", code="unknown_field", param=name)
        # 0 == False in Python, but a request for 0 log-probabilities is one for log-probabilities.
        if not any(
            value == neutral and isinstance(value, bool) == isinstance(neutral, bool) for neutral in NEUTRAL[name]
        ):
            only = f"; leave it out or send {json.dumps(NEUTRAL[name][0])}" if NEUTRAL[name] else "; leave it out"
            raise ApiError(
                400,
                f"This value of '{name}' is not supported by this server{only}.",
                code="unsupported_parameter",
                param=name,
            )


def _check_chat(request: ChatRequest) -> None:
    if request.top_logprobs and not request.logprobs:
        raise ApiError(400, "top_logprobs goes with logprobs: true.", code="invalid_value", param="top_logprobs")
    both = (request.max_tokens, request.max_completion_tokens)
    if None not in both and both[0] != both[1]:
        raise ApiError(400, "max_tokens and max_completion_tokens differ; send one of them.", param="max_tokens")
    for index, message in enumerate(request.messages):
        for name, value in (message.model_extra or {}).items():
            if name not in MESSAGE_IGNORED and value not in (None, []):
                where = f"messages[{index}].{name}"
                raise ApiError(
                    400, f"'{where}' is not supported by this server.", code="unsupported_parameter", param=where
                )


def _invalid(error: ValidationError) -> ApiError:
    """The first fault, with the path to it; `input` is left out so that no prompt ends up in an error."""
    faults = error.errors(include_input=False, include_url=False, include_context=False)
    fault = faults[0]
    path = ""
    for part in fault["loc"]:
        if isinstance(part, int):
            path += f"[{part}]"
        elif part in ("str", "list[TextPart]", "list[int]", "list[str]") or "[" in part:
            break  # pydantic names the branch of a union it tried, which says nothing to a person
        else:
            path += f".{part}" if path else part
    if fault["type"] == "json_invalid":  # valid for Python, not for the standard: a lone surrogate, for example
        return ApiError(400, "The body is not valid JSON.", code="invalid_json")
    if fault["type"] == "missing" and path.count(".") == 0 and "[" not in path:
        return ApiError(400, f"The field '{path}' is missing.", code="missing_field", param=path)
    wanted = fault["msg"][0].lower() + fault["msg"][1:]
    if path.endswith(".content"):
        wanted = 'it must be text, or a list of {"type": "text", "text": ...} parts'
    return ApiError(400, f"'{path}' is not valid: {wanted}.", code="invalid_value", param=path)


def too_long(prompt_tokens: int, context: int, limit: int | None, param: str) -> ApiError:
    """The prompt, or the prompt with the answer asked for, does not fit. All numbers in tokens."""
    facts: dict[str, Any] = {"prompt_tokens": prompt_tokens, "context": context}
    if limit is None or prompt_tokens + 1 > context:
        message = (
            f"The prompt is {prompt_tokens} tokens long and the context of this model holds {context}, with at least "
            "one for the answer. Shorten the prompt: nothing is cut off here."
        )
    else:
        facts["max_tokens"] = limit
        message = (
            f"The prompt is {prompt_tokens} tokens long and max_tokens asks for {limit} more, but the context of this "
            f"model holds {context}. Ask for at most {context - prompt_tokens}, or shorten the prompt."
        )
    return ApiError(400, message, code="context_length_exceeded", param=param, **facts)
