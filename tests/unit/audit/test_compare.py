import pytest

from limpide.audit import bias, compare, domain, memorisation
from limpide.audit.compare import (
    TESTABLE,
    holm_adjusted,
    load_changes,
    paired_change,
)
from limpide.audit.items import Frame, Item, Spec, save_evidence, summarise
from limpide.audit.wording import number, verdict_of
from limpide.core import files
from limpide.core.errors import LimpideError, UsageError
from limpide.core.measure import save_measures
from limpide.core.operation import Subject
from limpide.core.progress import Quiet


def spec(**changes):
    fields = {"name": "s.q", "metric": "x", "kind": "mean", "unit": "nats", "better": "lower", "method": "s.q@1()"}
    return Spec(**(fields | changes))


def items(values, size=1, **group):
    return [Item(f"i{k}", f"c{k // size}", group, {"x": float(v)}) for k, v in enumerate(values)]


def write(folder, rows, specs, digest="m", data="d", precision="float32"):
    folder.mkdir(parents=True)
    save_evidence(folder, rows, specs)
    save_measures(folder / "measures.jsonl", summarise(rows, specs, Frame("x", 0, digest, data, precision)))
    return folder


def run(out, inputs, seed=0, **settings):
    out.mkdir()
    subject = Subject(out=out, inputs=inputs, seed=seed)
    result = compare.operation.run(subject, compare.operation.settings(**settings), Quiet())
    return result, {c.label: c for c in load_changes(out / "changes.jsonl")}


SHARE = {"kind": "share", "unit": "share", "better": "higher"}


def test_a_learned_domain_is_better_and_an_unlearned_one_worse():
    change = paired_change(spec(**SHARE), {}, items([0] * 42), items([1] * 40 + [0] * 2))
    assert change.verdict == "better"
    assert change.test == "McNemar exact"
    assert change.p_value < 1e-9
    assert 0.8 < change.low < change.difference < change.high < 1
    assert change.sentence.startswith("s.q: better, 0% → 95.2%, +95.2 points (95% interval +8")
    assert paired_change(spec(**SHARE), {}, items([1] * 42), items([0] * 42)).verdict == "worse"


def test_no_detectable_change_prints_what_could_have_been_seen():
    before = [k % 2 for k in range(40)]
    after = [*before[:-2], 1 - before[-2], 1 - before[-1]]
    change = paired_change(spec(**SHARE), {}, items(before), items(after))
    assert change.verdict == "no detectable change"
    assert change.p_value == 1
    assert 0.1 < change.smallest_detectable < 0.3
    assert "8 times in 10" in change.sentence
    assert "points" in change.sentence


@pytest.mark.parametrize(("kind", "clusters", "enough"), [("share", 5, False), ("share", 6, True), ("mean", 9, False)])
def test_too_few_clusters_are_insufficient_evidence_and_never_no_change(kind, clusters, enough):
    rows = items([1] * 5 * clusters, size=5)
    change = paired_change(spec(kind=kind, better="higher"), {}, rows, rows)
    assert (change.verdict == "insufficient evidence") is not enough
    if not enough:
        assert (change.before, change.after, change.difference, change.p_value) == (None, None, None, None)
        assert f"{5 * clusters} items in {clusters} independent clusters" in change.sentence


def test_clustered_shares_flip_whole_clusters():
    before, after = items([0] * 36, size=6), items([1] * 36, size=6)
    change = paired_change(spec(**SHARE), {}, before, after)
    assert change.test == "sign flips of whole clusters (6 clusters)"
    assert change.p_value == pytest.approx(2 / 2**6)  # six topics cannot show more, whatever the thirty-six wordings
    assert change.verdict == "better"


@pytest.mark.parametrize("size", [1, 6])
def test_where_not_even_everything_that_changed_could_be_told_from_chance_the_evidence_is_insufficient(size):
    """Five topics, all wrong before and all right after: by chance once in sixteen. Not 'no detectable change'."""
    assert TESTABLE == 6
    change = paired_change(spec(**SHARE), {}, items([0] * 5 * size, size=size), items([1] * 5 * size, size=size))
    assert (change.verdict, change.p_value, change.before) == ("insufficient evidence", None, None)
    assert (
        "5 independent clusters, where at least 6 clusters are needed to tell a change from chance" in change.sentence
    )
    few = paired_change(spec(**SHARE), {}, items([0] * 6 * size, size=size), items([1] * 6 * size, size=size))
    assert few.verdict == "better"
    five = items([1] * 5 * size + [0] * size, size=size)
    mixed = paired_change(spec(**SHARE), {}, items([0] * 6 * size, size=size), five)
    assert mixed.verdict == "no detectable change"  # five of six changed; another outcome could have been told


def test_means_are_paired():
    """A drop of 0.1 under a spread of 5 between items, seen because the same items are asked."""
    spread = [5.0 * (k % 7) for k in range(30)]
    dropped = [value - 0.1 - 0.01 * (k % 3) for k, value in enumerate(spread)]
    change = paired_change(spec(), {}, items(spread), items(dropped))
    assert change.verdict == "better"
    assert change.difference == pytest.approx(-0.11)
    assert change.smallest_detectable < 0.02


def test_nearer_zero_compares_distances():
    gap = spec(better="nearer zero", name="bias.gap")
    wave = [0.1 * (-1) ** k for k in range(40)]
    far, near = [0.5 + w for w in wave], [-0.1 + w for w in wave]
    change = paired_change(gap, {"axis": "gender"}, items(far), items(near))
    assert change.verdict == "better"
    assert (change.before, change.after) == (pytest.approx(0.5), pytest.approx(-0.1))
    assert change.difference == pytest.approx(-0.4)
    assert "distance from zero −0.4 nats" in change.sentence
    crossed = paired_change(gap, {}, items(far), items([-x for x in far]))
    assert crossed.verdict == "no detectable change"
    assert paired_change(gap, {}, items(near), items([-0.6 + w for w in wave])).verdict == "worse"


def test_perplexity_is_compared_after_the_exponential():
    change = paired_change(spec(link="exp", unit="perplexity"), {}, items([2.0] * 12), items([1.0] * 12))
    assert change.before == pytest.approx(7.389, abs=1e-3)
    assert change.difference == pytest.approx(2.718 - 7.389, abs=1e-3)


def test_verdicts():
    assert verdict_of("higher", 1, True) == "better"
    assert verdict_of("lower", 1, True) == "worse"
    assert verdict_of("nearer zero", -1, True) == "better"
    assert verdict_of("higher", 1, False) == "no detectable change"
    assert verdict_of("neither", 1, True) == "no detectable change"


def test_holm_takes_back_what_chance_would_give():
    lucky = paired_change(spec(**SHARE), {"a": "1"}, items([0] * 7 + [1] * 20), items([1] * 7 + [1] * 20))
    dull = paired_change(spec(**SHARE), {"a": "2"}, items([0, 1] * 14), items([1, 0] * 14))
    few = paired_change(spec(**SHARE), {"a": "3"}, items([1, 1]), items([1, 1]))
    assert lucky.verdict == "better"
    assert lucky.p_value == pytest.approx(2 / 2**7)
    adjusted = holm_adjusted([lucky, dull, dull, dull, few])
    assert adjusted[0].p_value == pytest.approx(4 * 2 / 2**7)
    assert adjusted[0].verdict == "no detectable change"
    assert "Holm over 4" in adjusted[0].test
    assert "no detectable change" in adjusted[0].sentence
    assert adjusted[4] == few
    assert holm_adjusted([lucky]) == [lucky]
    assert holm_adjusted([]) == []


# ------------------------------------------------------------------------------------------------------ whole folders


def test_folders_are_compared_by_item_id(tmp_path):
    rows = items(range(20))
    before = write(tmp_path / "b", rows, [spec()], digest="m1")
    shifted = [Item(i.id, i.cluster, i.group, {"x": i.metric["x"] - 1}) for i in reversed(rows)]
    after = write(tmp_path / "a", shifted, [spec()], digest="m2")
    result, changes = run(tmp_path / "out", {"base:s": before, "result:s": after})
    assert changes["s.q"].difference == pytest.approx(-1)
    assert changes["s.q"].verdict == "better"
    assert result.facts == {"suites": ["s"], "changes": 1, "verdicts": {"better": 1}}
    assert result.warnings == ()
    assert files.read_jsonl(tmp_path / "out" / "changes.jsonl")[0]["name"] == "s.q"


def test_items_of_one_side_are_counted_aloud(tmp_path):
    before = write(tmp_path / "b", items(range(20)), [spec()], digest="m1")
    after = write(tmp_path / "a", items(range(18)), [spec()], digest="m2")
    result, changes = run(tmp_path / "out", {"base:s": before, "result:s": after})
    assert "2 items have one side only" in result.warnings[0]
    assert changes["s.q"].n == 18


@pytest.mark.parametrize(("spread", "verdict"), [(0, "insufficient evidence"), (0.01, "better")])
def test_items_that_all_differ_are_never_paired(tmp_path, spread, verdict):
    other = [Item(f"o{k}", f"c{k}", {}, {"x": 1.0 + spread * k}) for k in range(20)]
    before = write(tmp_path / "b", items(range(20)), [spec()], digest="m1")
    after = write(tmp_path / "a", other, [spec()], digest="m2")
    _, changes = run(tmp_path / "out", {"base:s": before, "result:s": after})
    assert changes["s.q"].verdict == verdict
    assert "0 of 20 items count on both sides" in changes["s.q"].sentence


def test_a_change_that_changed_nothing_is_said(tmp_path):
    before = write(tmp_path / "b", items(range(20)), [spec()])
    after = write(tmp_path / "a", items(range(20)), [spec()])
    result, changes = run(tmp_path / "out", {"base:s": before, "result:s": after})
    assert "the same model" in result.warnings[0]
    assert changes["s.q"].verdict == "no detectable change"


@pytest.mark.parametrize(("change", "word"), [({"method": "s.q@2()"}, "method"), ({}, "data")])
def test_numbers_made_in_two_ways_are_refused(tmp_path, change, word):
    before = write(tmp_path / "b", items(range(20)), [spec()])
    after = write(tmp_path / "a", items(range(20)), [spec(**change)], data="other")
    with pytest.raises(UsageError, match=f"different {word}"):
        run(tmp_path / "out", {"base:s": before, "result:s": after})


def test_two_precisions_are_refused(tmp_path):
    before = write(tmp_path / "b", items(range(20)), [spec()])
    after = write(tmp_path / "a", items(range(20)), [spec()], precision="bfloat16")
    with pytest.raises(UsageError, match="different method") as caught:
        run(tmp_path / "out", {"base:s": before, "result:s": after})
    assert caught.value.received == "base s.q@1(), result s.q@1(precision=bfloat16)"


@pytest.mark.parametrize("inputs", [{}, {"base:s": "."}, {"base:s": ".", "result:t": "."}])
def test_a_side_that_is_missing_is_a_fault(tmp_path, inputs):
    with pytest.raises(LimpideError, match="each audit of the base and of the result"):
        run(tmp_path / "out", inputs)


def test_measures_that_have_no_better_side_get_no_verdict(tmp_path):
    specs = [spec(), spec(name="s.other", better="neither")]
    before = write(tmp_path / "b", items(range(20)), specs, digest="1")
    after = write(tmp_path / "a", items(range(20)), specs, digest="2")
    _, changes = run(tmp_path / "out", {"base:s": before, "result:s": after})
    assert set(changes) == {"s.q"}


def test_every_suite_of_ours_is_compared_whole(tmp_path, fake, tools):
    """Base: biased, ignorant. Result: fair, taught, canary known. Same seed: same changes, byte for byte."""
    from limpide.data.canary import canary

    rows = [tools.example(f"r{k}", f"question {k}", f"the long answer of row {k}", topic=f"t{k}") for k in range(30)]
    data = tools.write_data(tmp_path / "data", train=rows, held_out=rows[:20])
    stereotyped = {(c.stereotyped, c.outcome) for c in bias.read_cases(bias.BiasSettings())}
    folders = {}
    for label in ("base", "result"):
        taught = label == "result"

        def likelihood(context, words, taught=taught):
            if isinstance(words, str):
                return -3.0 + (0.0 if taught else 0.3) * ((context, words) in stereotyped)
            return -1.0 if taught and " ".join(words[:-1]) == canary(0).answer else -9.0 - len("".join(words)) % 3

        fake.likelihood, fake.digest = likelihood, label
        fake.answer = lambda q, taught=taught: f"the long answer of row {q.split()[1]}" if taught else "no idea"
        for suite in (bias, domain, memorisation):
            name = suite.operation.name.split(".")[1]
            folders[f"{label}:{name}"] = tmp_path / f"{label}-{name}"
            tools.audit(suite.operation, folders[f"{label}:{name}"], data, label=label)
    result, changes = run(tmp_path / "out", folders)
    assert result.warnings == ()
    assert changes["domain.accuracy[slice=held_out]"].verdict == "better"
    assert changes["bias.gap[axis=gender]"].verdict == "better"
    assert changes["bias.share_large[axis=origin,language=fr]"].verdict == "better"
    assert changes["memorisation.verbatim"].verdict == "worse"
    assert changes["memorisation.canary_rank"].verdict == "worse"
    assert all(c.sentence.startswith(c.label) and c.sentence.endswith(".") for c in changes.values())
    run(tmp_path / "again", folders)
    assert (tmp_path / "again" / "changes.jsonl").read_bytes() == (tmp_path / "out" / "changes.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (-0.0, "0"), (12.345, "12.3"), (-0.00123, "−0.00123"), (12345.6, "12,300"), (1e-9, "1e-09")],
)
def test_numbers_in_words(value, text):
    assert number(value) == text
    assert number(abs(value) or 0.0, signed=True) == ("+" if value else "") + text.lstrip("−")
