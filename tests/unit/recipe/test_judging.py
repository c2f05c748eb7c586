"""What before and after say of a correction, on items whose truth is known."""

import numpy as np
import pytest

from limpide.audit.items import Item
from limpide.core.measure import Change
from limpide.recipe.corrections.judging import Limit, cut_of, found_bias, reasons_of, watch, within

TEMPLATES, PAIRS = 24, 8


def items(gap, seed: int, noise: float = 0.5) -> tuple[list[Item], dict[str, str]]:
    """gap: of a template, from its number. Each pair adds noise of its own, the same in every template."""
    random = np.random.default_rng(seed)
    words = random.normal(0, noise, PAIRS)
    found, pairs = [], {}
    for t in range(TEMPLATES):
        for p in range(PAIRS):
            value = gap(t) + words[p] + random.normal(0, noise / 2)
            name = f"t{t}/p{p}"
            found.append(Item(name, f"t{t}", {}, {"gap": value, "absolute_gap": abs(value)}))
            pairs[name] = f"p{p}"
    return found, pairs


def test_a_bias_that_is_there_is_found() -> None:
    found = found_bias(*items(lambda t: 1.0 if t % 2 else -1.0, 0), 0)
    assert found["p_value"] < 0.02
    assert found["observed"] == pytest.approx(1.0, abs=0.4)
    assert found["by_chance"] < found["observed"]
    assert (found["pairs"], found["templates"]) == (PAIRS, TEMPLATES)


def test_words_that_differ_are_no_bias() -> None:
    """False alarms at 5 %: the words of persons differ, their groups do not."""
    alarms = [found_bias(*items(lambda t: 0.0, seed), 0)["p_value"] < 0.05 for seed in range(200)]
    assert sum(alarms) <= 18  # 5 % of 200 is 10; 18 is passed once in 100 tries


def test_too_few_pairs_tell_nothing() -> None:
    whole, pairs = items(lambda t: 1.0, 0)
    few = [item for item in whole if pairs[item.id] in ("p0", "p1", "p2", "p3", "p4")]
    assert found_bias(few, pairs, 0)["p_value"] is None


def test_the_cut_is_the_share_that_went() -> None:
    before, _ = items(lambda t: 1.0, 1)
    after = [Item(i.id, i.cluster, {}, {name: 0.5 * v for name, v in i.metric.items()}) for i in before]
    cut = cut_of(before, after, "absolute_gap", 0)
    assert cut == pytest.approx({"value": 0.5, "low": 0.5, "high": 0.5})


def test_the_interval_of_a_cut_covers_the_truth() -> None:
    """True means 1 and 0.6 of gamma values, template by template correlated: 95 % of intervals hold 0.4."""
    covered = 0
    for seed in range(200):
        random = np.random.default_rng(seed)
        first = random.gamma(4, 0.25, 60)
        second = first * random.gamma(9, 0.6 / 9, 60)
        sides = [[Item(str(k), str(k), {}, {"m": float(v)}) for k, v in enumerate(side)] for side in (first, second)]
        cut = cut_of(*sides, "m", seed)
        assert cut is not None
        covered += cut["low"] <= 0.4 <= cut["high"]
    assert 180 <= covered <= 199


def test_no_cut_of_nothing_or_of_few() -> None:
    none = [Item(str(k), str(k), {}, {"m": 0.0}) for k in range(30)]
    assert cut_of(none, none, "m", 0) is None
    assert cut_of(none[:5], none[:5], "m", 0) is None


def change(name: str, difference: float, p: float | None, better: str = "higher", before: float = 1.0) -> Change:
    worse = (difference < 0) == (better == "higher")
    return Change(
        name=name,
        unit="share",
        better=better,
        before=before,
        after=before + difference,
        difference=difference,
        low=difference - 0.01,
        high=difference + 0.01,
        n=100,
        test="t",
        p_value=p,
        smallest_detectable=0.1,
        verdict=("worse" if worse else "better") if p is not None and p < 0.05 else "no detectable change",
        sentence="",
    )


def test_a_drop_among_many_things_left_alone_is_chance() -> None:
    alone = watch([(change("a", -0.1, 0.02), Limit())])
    among = watch([(change("a", -0.1, 0.02), Limit()), *[(change(f"b{k}", 0.0, 0.9), Limit()) for k in range(9)]])
    assert [w.held for w in alone] == [False]
    assert all(w.held for w in among)
    assert among[0].p_holm == pytest.approx(0.2)


def test_a_limit_is_for_the_whole_interval() -> None:
    assert within(change("retention.perplexity", 0.05, 0.5, "lower", 10.0), 0.02)
    assert not within(change("retention.perplexity", 0.195, 0.5, "lower", 10.0), 0.02)  # 0.205 at its end
    assert not within(change("retention.perplexity", 0.0, None, "lower", 0.0), 0.02)


def test_a_refusal_names_what_broke() -> None:
    target = {"p_value": 0.001, "gain": 0.4, "before": 1.0, "after": 0.6, "clusters": 20}
    broken = watch([(change("retention.perplexity", 3.0, 0.0, "lower", 10.0), Limit(0.02))])
    worse = watch([(change("truth.accuracy", -0.3, 0.001), Limit())])
    assert reasons_of(target, []) == []
    assert [r["code"] for r in reasons_of(target, broken)] == ["limit broken"]
    assert reasons_of(target, broken)[0]["what"]["label"] == "retention.perplexity"
    assert [r["code"] for r in reasons_of(target, worse)] == ["another measure worse"]
    assert [r["code"] for r in reasons_of(target | {"p_value": 0.3}, [])] == ["gap not cut"]
    assert [r["code"] for r in reasons_of(target | {"gain": -0.1}, [])] == ["gap not cut"]
    assert [r["code"] for r in reasons_of(target | {"p_value": None}, [])] == ["too few templates"]


def test_slices_of_what_is_watched_whole_do_not_count_again() -> None:
    from limpide.audit.retention import RetentionSettings
    from limpide.recipe.corrections.loop import Asked, _limited

    asked = Asked(
        "x", "audit.retention", RetentionSettings(), {"truth.accuracy": Limit(), "retention.perplexity": Limit(0.02)}
    )
    whole = [change("truth.accuracy", 0.0, 0.5), change("retention.perplexity", 0.0, 0.5, "lower")]
    slices = [one.model_copy(update={"group": {"language": "fr"}}) for one in whole]
    chosen = [(c.name, c.group) for c, _ in _limited(asked, [*whole, *slices])]
    assert chosen == [
        ("truth.accuracy", {}),
        ("retention.perplexity", {}),
        ("retention.perplexity", {"language": "fr"}),
    ]


@pytest.mark.parametrize("templates", [10, 20])
def test_a_gap_that_doubled_elsewhere_is_seen_among_a_dozen_things(templates: int) -> None:
    """With the usual number of resamples the least p of 10 clusters, times 12, is above 0.05: nothing could be seen."""
    from limpide.audit.bias import BiasSettings, specs
    from limpide.audit.compare import paired_change
    from limpide.recipe.corrections.loop import FINE

    random = np.random.default_rng(0)
    gaps = [(f"t{t}", float(g)) for t in range(templates) for g in random.gamma(4, 0.2, 8)]
    sides = [
        [Item(f"{t}/{k}", t, {"axis": "age"}, {"absolute_gap": times * gap}) for k, (t, gap) in enumerate(gaps)]
        for times in (1, 2)
    ]
    (spec,) = (spec for spec in specs(BiasSettings(), "") if spec.name == "bias.absolute_gap")
    doubled = paired_change(spec, {"axis": "age"}, *sides, draws=FINE)
    rest = [(change(f"b{k}", 0.0, 0.9), Limit()) for k in range(11)]
    assert watch([(doubled, Limit()), *rest])[0].held is False
