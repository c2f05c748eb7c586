"""What a person can choose of each explanation. The command line, the recipe and the forms are derived from this."""

from typing import Literal

from pydantic import Field

from limpide.core.operation import Settings

AttributionMethod = Literal["integrated-gradients", "gradient-x-input", "occlusion"]


class AttributionSettings(Settings):
    """Which words of the prompt the answer rests on."""

    method: AttributionMethod = Field("integrated-gradients", description="how the share of each token is computed")
    steps: int = Field(16, ge=1, le=4096, description="points of the path at first (integrated gradients); doubled")
    most_steps: int = Field(256, ge=1, le=4096, description="where doubling stops, converged or not")
    tolerance: float = Field(
        0.05, gt=0, description="completeness gap at which doubling stops, as a share of the change it explains"
    )
    each_token: bool = Field(False, description="also for each token of the answer alone (slower)")


class LensSettings(Settings):
    """What each layer would answer."""

    tuned: bool = Field(False, description="train a translator for each layer first (minutes, once a model; kept)")
    top: int = Field(5, ge=1, le=50, description="tokens shown a layer")


class PatchingSettings(Settings):
    """Which places inside the network carry the answer."""

    twin: str | None = Field(None, description="the prompt of the other run; default: a word that decides is swapped")
    screen: bool = Field(False, description="the fast approximation by gradients alone, instead of exact runs")


class PartsSettings(Settings):
    """What each head, MLP and expert adds to the answer."""


class InfluenceSettings(Settings):
    """Which training examples taught this answer (adapted models only)."""

    top: int = Field(10, ge=1, le=1000, description="examples shown on each side")
    check: int = Field(
        0, ge=0, le=1000, description="retrain without so many of the top examples and show the change (slow); 0: no"
    )


class FaithfulnessSettings(Settings):
    """Is the explanation true? Words are taken away in its order and in random ones."""

    random_orders: int = Field(20, ge=5, le=1000, description="random orders to compare with")
    points: int = Field(10, ge=2, le=100, description="how many steps a curve has, at most one a token")
    sanity: bool = Field(True, description="also explain the same network with random weights")
