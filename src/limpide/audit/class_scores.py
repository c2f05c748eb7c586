"""Scores of labels in which a rare class counts as much as a common one: functionals, as functionals.py has them."""

from collections.abc import Callable

import numpy as np

from limpide.audit.statistics import Floats


def balanced_accuracy(columns: Floats, weights: Floats) -> Floats:
    """Share of right answers in each class, averaged over the classes drawn. columns: correct, class (a number).

    Source: Brodersen et al. 2010, ICPR, p. 3121.
    """
    correct, label = columns
    inside = label[:, None] == np.unique(label)  # [items, classes]
    return _mean(weights * correct @ inside, weights @ inside)


def macro_f1(columns: Floats, weights: Floats) -> Floats:
    """2·right / (asked + said) of each class asked or said, averaged. columns: said, class (numbers; below 0: none).

    The mean of each class's F1, not the F1 of mean precision and recall. Source: Opitz and Burst 2019,
    arXiv:1911.03347, eq. 1.
    """
    said, label = columns
    names = np.unique(columns[columns >= 0])
    given, asked = said[:, None] == names, label[:, None] == names  # [items, classes]
    return _mean(2 * (weights @ (given & asked)), weights @ given + weights @ asked)


def _mean(above: Floats, below: Floats) -> Floats:
    """Mean of above / below over the classes where below is not 0. float[draws, classes] each."""
    shares: Floats = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    return np.asarray(shares.sum(axis=1) / (below > 0).sum(axis=1))


# name → (the functional, its columns)
SCORES: dict[str, tuple[Callable[[Floats, Floats], Floats], tuple[str, ...]]] = {
    "balanced_accuracy": (balanced_accuracy, ("correct", "class")),
    "macro_f1": (macro_f1, ("said", "class")),
}
