"""What a person can choose of each explanation. The command line, the recipe and the forms are derived from this."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from limpide.core.operation import Settings

AttributionMethod = Literal["integrated-gradients", "gradient-x-input", "occlusion"]


class AttributionSettings(Settings):
    """Which words of the prompt the answer rests on."""

    method: AttributionMethod = Field(
        "occlusion",
        description="how the share of each token is computed; occlusion beat chance where the others were tested",
    )
    steps: int = Field(16, ge=4, le=4096, description="points of the path at first (integrated gradients)")
    most_steps: int = Field(256, ge=4, le=4096, description="points at most, whether they are enough or not")
    tolerance: float = Field(
        0.05, gt=0, description="completeness gap at which no points are added, as a share of the change it explains"
    )
    each_token: bool = Field(False, description="also for each token of the answer alone (slower)")


class LensSettings(Settings):
    """What each layer would answer."""

    tuned: bool = Field(False, description="train a translator for each layer first (minutes, once a model; kept)")
    texts: Path | None = Field(
        None, description="a text file to train it on, an empty line between texts; default: Limpide's own short texts"
    )
    top: int = Field(5, ge=1, le=50, description="tokens shown a layer")


class PatchingSettings(Settings):
    """Which places inside the network carry the answer."""

    twin: str | None = Field(None, description="the prompt of the other run; default: a word that decides is swapped")
    screen: bool = Field(False, description="the fast approximation by gradients alone, instead of exact runs")
    most: int = Field(
        1_500_000,
        ge=1,
        description="places × layers of exact runs (a minute on two cores, for a model of 135 million weights); "
        "where there would be more, the fast one",
    )


class PartsSettings(Settings):
    """What each head, MLP and expert adds to the answer."""

    top: int = Field(50, ge=1, le=10_000, description="parts listed, the largest first; the others are one entry")


class InfluenceSettings(Settings):
    """Which training examples taught this answer (adapted models only)."""

    top: int = Field(10, ge=1, le=1000, description="examples shown on each side")
    normalised: bool = Field(
        True, description="compare the directions of gradients only, so that long examples are not favoured"
    )
    most: int = Field(2000, ge=2, description="examples looked at; of more, so many are drawn at random")
    check: int = Field(
        0, ge=0, le=1000, description="retrain without so many of the top examples and show the change (slow); 0: no"
    )
    draws: int = Field(3, ge=2, le=100, description="trainings without as many random examples, to compare with")
    adapter: Path | None = Field(
        None, description="the folder of the adapt step, .limpide/…/steps/adapt-…; default: that of the release"
    )
    examples: Path | None = Field(
        None, description="train.jsonl of the data step; default: looked for beside the adapt step"
    )


class FaithfulnessSettings(Settings):
    """Is the explanation true? Words are taken away in its order and in random ones."""

    random_orders: int = Field(
        20, ge=20, le=1000, description="random orders to compare with; fewer than 20 could not show p ≤ 0.05"
    )
    points: int = Field(10, ge=2, le=100, description="how many steps a curve has, at most one a token")
    sanity: bool = Field(
        True, description="also explain the same network with random weights (a second copy of them in memory)"
    )
    draws: int = Field(5, ge=3, le=100, description="times that random weights are drawn")
