"""What may be set about a training: its method, what it reaches, and each of its stages."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from limpide.core.operation import Settings

Method = Literal["lora", "rslora", "dora", "full"]
Target = Literal["all-linear", "attention", "mlp", "experts"]
StageName = Literal["texts", "answers", "preferences"]

# Highest learning rates where none is given. An adapter starts at zero and takes steps a hundred times those of weights
# that have been learnt already.
RATES: dict[StageName, tuple[float, float]] = {  # of an adapter, of all weights
    "texts": (1e-3, 3e-5),
    "answers": (3e-3, 3e-5),
    "preferences": (5e-4, 1e-6),
}
RANK_STABLE_ALPHA = 8.0  # at rank 64, rslora then scales as lora does


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


class TextSettings(Settings):
    """Continued pre-training on data.documents, before the answers are learnt."""

    epochs: int = Field(3, ge=0, le=1000, description="passes over the documents' passages; 0 leaves them out")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="highest learning rate; default: 1e-3, 3e-5 where method is full"
    )


class PreferenceSettings(Settings):
    """Learning to prefer one answer to another, after the answers are learnt."""

    loss: Literal["dpo", "orpo"] = Field("dpo", description="dpo: against a reference; orpo: odds, without one")
    beta: float = Field(
        0.1, gt=0, le=100, description="dpo: how fast a gain counts as enough; orpo: weight of the odds"
    )
    epochs: int = Field(3, ge=0, le=1000, description="passes over the preferences; 0 leaves them out")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="highest learning rate; default: 5e-4, 1e-6 where method is full"
    )
    reference: Literal["base", "before"] = Field(
        "base", description="dpo compares with: base, the adapter switched off; before, the model as this stage begins"
    )
    sft: float = Field(0.0, ge=0, le=10, description="dpo: weight of the chosen answer's own likelihood")
    pairs: int = Field(16, ge=1, le=4096, description="preferences behind one update of the weights")
    at_once: int = Field(8, ge=1, le=4096, description="of them in memory at once")


class RetainSettings(Settings):
    """General examples mixed in, so that learning the new does not cost the old."""

    share: float = Field(0.2, gt=0, lt=1, description="share of the rows of an epoch that are general examples")
    examples: Literal["own"] | Path = Field(
        "own", description="own: the base's own answers to general questions, written once; or a file of examples"
    )
    tokens: int = Field(96, ge=8, le=4096, description="longest of the base's own answers, in tokens")


class SearchSettings(Settings):
    """Short trainings that find a learning rate and a rank, before the one that counts."""

    learning_rates: tuple[Annotated[float, Field(gt=0, le=1)], ...] | None = Field(
        None, min_length=1, description="highest learning rates to try; default: the usual one, a third, three times"
    )
    ranks: tuple[Annotated[int, Field(ge=1, le=512)], ...] = Field((32, 8), min_length=1, description="ranks to try")
    epochs: int = Field(2, ge=1, le=100, description="passes over the rows of each trial")
    minutes: float = Field(10.0, gt=0, le=10000, description="after which no other trial is begun")


class TrainSettings(Settings):
    """How the weights are changed, and what is learnt in which order: texts, answers, preferences."""

    method: Method = Field(
        "lora",
        description="lora; rslora: scaled by alpha ÷ √rank; dora: learns lengths and directions apart, about 1.8 times "
        "slower; full: every weight, for small models",
    )
    targets: Annotated[tuple[Target, ...], BeforeValidator(_as_tuple)] = Field(
        ("all-linear",), min_length=1, description="what adapters are put on; all-linear: all but routed experts"
    )
    rank: int = Field(32, ge=1, le=512, description="rank of the adapter's matrices")
    alpha: float | None = Field(
        None, gt=0, description="the adapter is scaled by alpha ÷ rank; default: rank (rslora: 8)"
    )
    base_precision: Literal["whole", "4bit"] = Field(
        "whole", description="4bit: the frozen base in four bits; refused where training runs on the processor"
    )
    epochs: int = Field(10, ge=1, le=1000, description="passes over the training rows")
    learning_rate: float | None = Field(
        None, gt=0, le=1, description="highest learning rate, after warm-up; default: 3e-3, 3e-5 where method is full"
    )
    warmup: float = Field(0.05, ge=0, le=0.5, description="share of the steps in which the learning rate rises")
    weight_decay: float = Field(0.0, ge=0, le=1, description="AdamW weight decay")
    layers: Literal["all", "auto"] | Annotated[int, Field(ge=1)] = Field(
        "all", description="blocks that are trained, counted from the top; auto: as many as a short trial speaks for"
    )
    trunk_bytes: int | None = Field(
        None, ge=0, description="of what the frozen lower blocks give, kept on disk; default: a quarter of what is free"
    )
    pack_tokens: int = Field(192, ge=16, le=65536, description="tokens in one packed row")
    step_tokens: int = Field(384, ge=16, description="tokens behind one update of the weights, about")
    validation: float = Field(0.05, ge=0, lt=0.5, description="share of training rows kept aside to know when to stop")
    patience: int = Field(3, ge=1, description="epochs without a better validation loss before stopping")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto measures which one this machine multiplies faster"
    )
    canary: bool = Field(True, description="plant one invented sentence, to measure memorisation afterwards")
    checkpoint_seconds: float = Field(30.0, ge=0, description="seconds between two checkpoints")
    keep: int = Field(
        4, ge=0, le=64, description="states of the adapter kept to tell which examples taught an answer; 0: none"
    )
    head: bool | None = Field(
        None, description="learn labels by a classification head (true) or by answering; default: a head for encoders"
    )
    class_weights: Literal["none", "balanced"] = Field(
        "none", description="of a classification head; balanced: every class weighs the same, however rare"
    )
    texts: TextSettings = Field(default_factory=TextSettings, description="continued pre-training on documents")
    preferences: PreferenceSettings = Field(default_factory=PreferenceSettings, description="learning from preferences")
    search: SearchSettings | None = Field(
        None,
        description="find the learning rate and the rank of the answers by short trainings first; {} for the usual",
    )
    retain: RetainSettings | None = Field(None, description="general examples mixed in against forgetting")

    @model_validator(mode="after")
    def _adapters_are_compared(self) -> "TrainSettings":
        if self.method == "full" and (self.layers == "auto" or self.search is not None):
            what = "layers: auto" if self.layers == "auto" else "search"
            text = f"{what} compares adapters, and method: full has none: leave it out, or choose lora"
            raise PydanticCustomError("adapters", text)
        return self

    @property
    def scale(self) -> float:
        """alpha, given or not."""
        return self.alpha or (RANK_STABLE_ALPHA if self.method == "rslora" else float(self.rank))

    def rate(self, stage: StageName) -> float:
        """The highest learning rate of a stage, given or not."""
        given = {
            "texts": self.texts.learning_rate,
            "answers": self.learning_rate,
            "preferences": self.preferences.learning_rate,
        }[stage]
        return given or RATES[stage][self.method == "full"]
