"""How many tokens of a prefix tree are computed at once: what processors multiply well, and what memory holds.

More tokens at once use a processor better up to a point; beyond it they only add attention between branches that do
not see each other. docs/log.md has the sweep; docs/decisions/0008 says why it is not measured in every run.
"""

from typing import TYPE_CHECKING

import psutil

from limpide.models.families.registry import plain

if TYPE_CHECKING:
    from limpide.models.model import Model

BEST = 256  # the fastest, or within 2 % of it, in the sweep
SMALLEST = 32
SHARE_OF_MEMORY = 0.1  # of what is free, for the activations of one pack
COPIES = 24  # activations of a layer's inner width held at once for a token, generously


def tree_budget(model: "Model") -> int:
    """Tokens a pack: BEST, halved until its activations fit the memory."""
    config = plain(model.network).config
    inner = int(getattr(config, "intermediate_size", None) or 4 * config.hidden_size)
    experts = int(getattr(config, "num_experts_per_tok", None) or 1)
    return largest_that_fits(COPIES * inner * experts * 4, psutil.virtual_memory().available)


def largest_that_fits(bytes_a_token: int, free: int) -> int:
    budget = BEST
    while budget > SMALLEST and budget * bytes_a_token > SHARE_OF_MEMORY * free:
        budget //= 2
    return budget
