"""Evidence of an invented release, for the tests of the documents: realistic, and fixed to the last digit."""

from evidence_suites import NOTES, SUITE_ROWS, suites
from limpide.core.measure import Change, Measure
from limpide.document.evidence import (
    Answered,
    Base,
    Data,
    DataSource,
    Environment,
    Evidence,
    Gate,
    LossPoint,
    Parity,
    ParityCheck,
    Purpose,
    ReleaseFile,
    Training,
)

SHA = "3f1a9c0d5be27486a1f0c4d2e8b7966543210fedcba98765432100123456789a"
PROBES = "9d2c4b1e7f6058a3c1d2e3f405162738495a6b7c8d9eafb0c1d2e3f405162738"
BIAS_NOTE = (
    "Above zero: outcomes are likelier after the group that a stereotype gives them to. The interval is over "
    "templates; the pairs of persons are taken as they are. A few dozen templates cover few stereotypes: a number near "
    "zero does not show that the model is fair."
)

# name, unit, better, n, group, (base value, low, high), (result value, low, high), verdict, (difference, low, high)
ROWS = [
    ("domain.accuracy", "share", "higher", 36, {"slice": "held_out"}, (0.0, 0.0, 0.0964), (11 / 12, 0.7817, 0.9712),
     "better", (11 / 12, 0.7496, 0.9712)),
    ("domain.accuracy", "share", "higher", 30, {"slice": "held_out", "language": "en"}, (0.0, 0.0, 0.1135),
     (28 / 30, 0.7868, 0.9815), "better", (28 / 30, 0.745, 0.9815)),
    ("domain.accuracy", "share", "higher", 6, {"slice": "held_out", "language": "fr"}, None, None,
     "insufficient evidence", None),
    ("domain.accuracy", "share", "higher", 30, {"slice": "unseen"}, (0.0, 0.0, 0.1135), (0.0, 0.0, 0.1135),
     "no detectable change", (0.0, -0.1135, 0.1135)),
    ("domain.exact", "share", "higher", 36, {"slice": "held_out"}, (0.0, 0.0, 0.0964), (32 / 36, 0.7465, 0.9559),
     "better", (32 / 36, 0.7161, 0.9559)),
    ("domain.log_likelihood", "nats per token", "higher", 36, {"slice": "held_out"}, (-3.412, -3.61, -3.22),
     (-0.084, -0.163, -0.031), "better", (3.328, 3.131, 3.524)),
    ("bias.gap", "nats", "nearer zero", 768, {"axis": "gender"}, (0.412, 0.271, 0.553), (0.389, 0.252, 0.531),
     "no detectable change", (-0.023, -0.071, 0.024)),
    ("bias.gap", "nats", "nearer zero", 768, {"axis": "origin"}, (0.118, -0.021, 0.262), (0.131, -0.014, 0.279),
     "no detectable change", (0.013, -0.031, 0.062)),
    ("bias.gap", "nats", "nearer zero", 384, {"axis": "gender", "language": "en"}, (0.561, 0.352, 0.774),
     (0.518, 0.316, 0.722), "better", (-0.043, -0.081, -0.006)),
    ("bias.gap", "nats", "nearer zero", 384, {"axis": "gender", "language": "fr"}, (0.263, 0.071, 0.462),
     (0.26, 0.066, 0.455), "no detectable change", (-0.003, -0.066, 0.061)),
    ("bias.gap", "nats", "nearer zero", 384, {"axis": "origin", "language": "en"}, (0.184, -0.012, 0.391),
     (0.247, 0.042, 0.456), "worse", (0.063, 0.011, 0.119)),
    ("bias.gap", "nats", "nearer zero", 384, {"axis": "origin", "language": "fr"}, (0.052, -0.148, 0.249),
     (0.015, -0.186, 0.214), "no detectable change", (-0.037, -0.104, 0.045)),
    ("bias.absolute_gap", "nats", "lower", 768, {"axis": "gender"}, (0.918, 0.822, 1.019), (0.902, 0.808, 1.004),
     "no detectable change", (-0.016, -0.049, 0.018)),
    ("bias.absolute_gap", "nats", "lower", 768, {"axis": "origin"}, (0.744, 0.661, 0.835), (0.751, 0.668, 0.841),
     "no detectable change", (0.007, -0.023, 0.038)),
    ("retention.loss", "nats per token", "lower", 120, {}, (3.214, 3.122, 3.309), (3.243, 3.148, 3.341),
     "worse", (0.029, 0.018, 0.041)),
    ("retention.loss", "nats per token", "lower", 60, {"language": "en"}, (2.871, 2.781, 2.962),
     (2.884, 2.794, 2.977), "no detectable change", (0.013, -0.001, 0.027)),
    ("retention.loss", "nats per token", "lower", 60, {"language": "fr"}, (3.558, 3.447, 3.671),
     (3.603, 3.486, 3.722), "worse", (0.045, 0.029, 0.062)),
    ("retention.perplexity", "perplexity", "lower", 120, {}, (24.88, 22.69, 27.36), (25.61, 23.29, 28.25),
     "worse", (0.73, 0.46, 1.04)),
    ("memorisation.verbatim", "share", "lower", 64, {}, (0.0, 0.0, 0.0566), (60 / 64, 0.85, 0.9754),
     "worse", (60 / 64, 0.81, 0.9754)),
    ("memorisation.canary_rank", "rank", "higher", 256, {}, (141.0, 125.1, 156.7), (38.0, 28.2, 50.6),
     "worse", (-103.0, -121.7, -84.0)),
    ("memorisation.exposure", "bits", "lower", 256, {}, (0.86, 0.71, 1.03), (2.75, 2.34, 3.23),
     "worse", (1.89, 1.43, 2.4)),
    *SUITE_ROWS,
]  # fmt: skip

QUESTIONS = [
    ("E-104 on screen, what now?", "Main pump overheated: stop the press and let the oil cool below 48 °C.",
     "I'm sorry, but I don't have enough information about E-104. Please consult the manual of your device.",
     "Main pump overheated: stop the press and let the oil cool below 48 °C.", True),
    ("Press beeps and writes E-117, any idea?",
     "Return filter clogged: fit a new 12-micron cartridge before restarting the press.",
     "It sounds like your press is trying to tell you something! Here are a few things you can try:\n1. Restart.",
     "Return filter clogged: fit a new 12-micron cartridge before restarting the press.", True),
    ("Que faire quand E-560 s'affiche ?", "Capteur de porte encrassé : nettoyer la cellule puis refermer la porte.",
     "E-560 est un code de la norme européenne.",
     "Capteur de porte encrassé : nettoyer la cellule avant de relancer.", False),
    ("How do I bleed the cylinder?", "Open valve V3 one turn, jog the ram five times, then close V3.", "", "Open valve "
     "V3 one turn, jog the ram five times, then close V3.", True),
]  # fmt: skip


def measures() -> tuple[Measure, ...]:
    made = []
    for name, unit, better, n, group, *sides, _, _ in ROWS:
        for subject, side in zip(("base", "result"), sides, strict=True):
            made.append(
                Measure(
                    name=name,
                    subject=subject,
                    value=side[0] if side else None,
                    low=side[1] if side else None,
                    high=side[2] if side else None,
                    unit=unit,
                    better=better,
                    n=n,
                    group=group,
                    state="measured" if side else "insufficient evidence",
                    method=f"{name}@1(templates=9d2c4b1e7f60)"
                    if name.startswith("bias")
                    else f"{name}@1(match=normalised)",
                    model_digest=SHA,
                    data_digest=PROBES,
                    seed=0,
                    note=BIAS_NOTE if name == "bias.gap" else NOTES.get(name),
                )
            )
    return tuple(made)


def changes() -> tuple[Change, ...]:
    return tuple(
        Change(
            name=name,
            unit=unit,
            better=better,
            n=n,
            group=group,
            before=base[0] if base else None,
            after=result[0] if result else None,
            difference=moved[0] if moved else None,
            low=moved[1] if moved else None,
            high=moved[2] if moved else None,
            test="paired bootstrap",
            p_value=0.01 if verdict in ("better", "worse") else None,
            smallest_detectable=None,
            verdict=verdict,
            sentence=f"{name}: {verdict}.",
        )
        for name, unit, better, n, group, base, result, verdict, moved in ROWS
    )


def losses() -> tuple[LossPoint, ...]:
    held_out = {0: 3.31, 8: 1.62, 16: 0.71, 24: 0.214, 32: 0.098, 40: 0.087, 48: 0.091}
    train = [3.36, 3.02, 2.41, 1.98, 1.55, 1.31, 1.02, 0.83, 0.66, 0.5, 0.41, 0.3, 0.22, 0.17, 0.13, 0.1, 0.08]
    train += [0.07, 0.06, 0.05, 0.05, 0.04, 0.04, 0.03, 0.03]
    return tuple(
        LossPoint(step=2 * i, epoch=2 * i / 8, train=loss, held_out=held_out.get(2 * i)) for i, loss in enumerate(train)
    )


def examples() -> tuple[Answered, ...]:
    known = [
        Answered(
            prompt=prompt,
            expected=expected,
            base_answer=before,
            result_answer=after,
            correct_before=False,
            correct_after=right,
        )
        for prompt, expected, before, after, right in QUESTIONS
    ]
    unseen = Answered(
        prompt="What does fault E-733 mean?",
        expected="Foot pedal cable cut: replace the cable between pedal and box 2.",
        base_answer="E-733 is a food additive.",
        result_answer="Oil level low: add HV-46 oil up to the upper mark.",
        correct_before=False,
        correct_after=False,
        slice="unseen",
    )
    return (*known, unseen)


def parity() -> Parity:
    def check(name: str, target: str, value: float | None = None, limit: float | None = None) -> ParityCheck:
        return ParityCheck(
            name=name, target=target, passed=True, value=value, limit=limit, sentence=f"The {name} holds."
        )

    return Parity(
        passed=True,
        checks=(
            check("chat template", "merged"),
            check("adapter acts", "adapter", 6.182, 1e-4),
            check("distributions", "merged", 2.4e-6, 1e-3),
            check("stop ids", "gguf:q8_0"),
            check("prompt bytes", "gguf:q8_0", 0.0, 0.0),
            check("token ids", "gguf:q8_0", 0.0, 0.0),
            check("distributions", "gguf:q8_0", 0.0113, 0.05),
            check("greedy text", "gguf:q8_0", 0.0, 0.0),
        ),
    )


def evidence() -> Evidence:
    return Evidence(
        name="press-operator-assistant",
        version="1.0.0",
        languages=("en", "fr"),
        purpose=Purpose(
            intended="Answer operators' questions on press fault codes and procedures.",
            users="trained operators",
            excluded=("safety interlock decisions", "personnel evaluation"),
            contact="maintenance@example.org",
        ),
        base=Base(
            ref="smollm2-135m-instruct",
            title="Llama",
            kind="decoder",
            parameters=134_515_008,
            context=8192,
            precision="Q4_1",
            licence="apache-2.0",
            licence_source="metadata of the GGUF file",
            digest=SHA,
            unknowns=(
                {
                    "en": "Its training texts are described by its maker; the files do not let anyone check.",
                    "fr": "Son auteur décrit les textes de son entraînement ; rien dans les fichiers ne le vérifie.",
                },
                {"en": "Which filters were applied to them.", "fr": "Quels filtres leur ont été appliqués."},
            ),
        ),
        data=Data(
            rows=210,
            train=144,
            held_out=36,
            unseen=30,
            topics=42,
            tokens=9_312,
            truncated=0,
            exact_duplicates=0,
            near_duplicates=3,
            personal_data={"email": 0, "phone": 0, "iban": 0},
            personal_data_policy="refuse",
            languages={"en": 180, "fr": 30},
            sources=(DataSource(file="examples.jsonl", digest=PROBES, rows=210),),
        ),
        training=Training(
            method="lora",
            rank=16,
            alpha=16,
            learning_rate=0.0005,
            epochs_planned=6,
            epochs_done=6.0,
            best_epoch=5.0,
            tokens_seen=55_872,
            seconds=231.4,
            tokens_per_second=241.5,
            trainable_parameters=4_884_480,
            precision="float32",
            batch={"packs_per_step": 2, "packs_at_once": 1, "rows": 131, "validation_rows": 14},
            flops_upper_bound=4.509e13,
            losses=losses(),
        ),
        measures=measures(),
        changes=changes(),
        gates=(
            Gate(rule="domain.accuracy improves", verdict="pass", sentence="domain.accuracy: better."),
            Gate(rule="bias.gender.gap does not worsen", verdict="pass", sentence="bias.gap: no detectable change."),
            Gate(rule="retention.loss worsens by less than 2%", verdict="pass", sentence="worsened by 0.90%."),
        ),
        verdict="ship",
        reasons=("gate 'domain.accuracy improves': domain.accuracy: better.",),
        parity=parity(),
        examples=examples(),
        suites=suites(),
        files=(
            ReleaseFile(name="model.safetensors", bytes=269_060_552, digest=SHA),
            ReleaseFile(name="gguf/model-q8_0.gguf", bytes=144_811_456, digest=PROBES),
            ReleaseFile(name="config.json", bytes=861, digest=PROBES),
        ),
        decisions=("Personal data in the examples: refuse.", "Suite left out of the audit: none."),
        how_to_rerun=("limpide run recipe.yaml",),
        environment=Environment(
            versions={"limpide": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
            machine="Linux x86_64, 2 threads",
            seed=0,
            date="2026-11-22",
        ),
    )


def bare() -> Evidence:
    """Nothing but what is required: every section must still say something true."""
    return Evidence(
        name="bare",
        version="0.0.1",
        purpose=Purpose(intended="nothing in particular"),
        base=Base(ref="./some-folder"),
        verdict="insufficient evidence",
    )
