"""English 'I' made 'we', where it is certain that a person speaks: a switch turned to I is none.

'I' is a pronoun for certain before 'm, 've, 'll or 'd; where it begins a clause and a verb of the list follows; and
after an auxiliary that begins a question. All else is uncertain, and the text is then left as it is.
"""

import re

from limpide.data import writing

_AUXILIARIES = "am was have had do did can could will would shall should may might must"
_VERBS = frozenset(
    f"""
    {_AUXILIARIES} ca wo accept add advise agree allow answer apologise apologize appreciate arrive ask assume
    become became begin began believe bring brought build built buy bought call came care carry change check choose
    chose come confirm consider contact continue count cut decide deliver describe disagree doubt draw drew eat enjoy
    ensure expect explain fear feel felt find found fix follow forget forgot gave get give go got guess guarantee handle
    hear heard help hope imagine include inform install intend invite keep kept knew know learn leave left let like
    live look lose lost love made make mean meant measure meet met mention move need note notice offer open order owe
    pay paid plan prefer prepare promise propose provide put ran read realise realize receive recommend refer regret
    remain remember remind remove repair repeat replace reply report require return run said sat saw say see seem send
    sent serve set share show showed sit sold sell speak spent spoke stand start stay stood stop suggest support suppose
    take talk teach tell thank think thought told took travel try turn understand understood use wait want warn went
    wish wonder work worry write wrote
""".split()
)  # first person, present or past; what ends in -ed counts too
_BETWEEN = r"(?:also|always|just|only|still|never|really|already|then|now|often|usually|once|would|[a-z]+ly)"
_FOLLOWED = re.compile(rf"\s+(?:{_BETWEEN}\s+){{0,2}}(?P<verb>[a-z]+?)(?:n['’]t)?\b(?!['’])")
_SHORT = re.compile(r"(['’])(m|ve|ll|d)\b")
_CLAUSE = """
    after although and as because before but for here hopefully how however if nor now once or since so sure than that
    then there though today unless until what when where whether which while who whom why yes yesterday yet think
    believe know said hope fear sorry afraid
"""  # words before a pronoun; a noun ('switch I', 'the part I like') may go with either
_BEGINS = rf"(?:^|[.!?…,;:(\n–—•]['\"”»)*_]*\s*|(?:^|\n)\s*[-*]\s+|\b(?:{'|'.join(_CLAUSE.split())})\s+)[*_]*"
_CLAUSE_BEGINS = re.compile(_BEGINS + r"$", re.IGNORECASE)
_ASKED = re.compile(_BEGINS + rf"\b({_AUXILIARIES.replace(' ', '|')})(?=\s+$)", re.IGNORECASE)
_BESIDE_A_MARK = re.compile(r"\b(?:[A-Z]|\d+|[IVX]{2,})[*_\"'”]*\s*(?:,|\band|\bor)\s+[*_]*$")  # 'O and I'
_SENTENCE_BEGINS = re.compile(r"(?:^|[.!?…]['\"”»)*_]*\s+|\n)\s*(?:(?:[-*•]|\d+[.)])\s+)?[\s*_(]*$")
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»|`[^`]*`|(?<!\w)['‘][^'’\n]*['’](?!\w)")
_ONE_PERSON = re.compile(r"['’\s]\s*(?:m|am|was)\s+an?\b")  # 'I am a doctor'
_SAME_SUBJECT = re.compile(r"\b(?:and|but|or|nor|then)\s+(?:also\s+|then\s+|[a-z]+ly\s+)?(?:am|was)\b(?!\s+I\b)")
_MANY = {"am": "are", "was": "were"}
_OTHERS = {"me": "us", "my": "our", "myself": "ourselves"}
_FIRST = re.compile(r"\b(?:I|[Mm](?:e|y|yself))\b")

Edit = tuple[int, int, str]  # start, end, what stands there


def we_for_i(text: str) -> str | None:
    """None where one word of the first person is not one for certain, or is quoted, or would be left ('mine')."""
    marks = [met.span() for met in writing.MARK_I.finditer(text)]
    quoted = [met.span() for met in _QUOTED.finditer(text)]
    edits: list[Edit] = []
    for met in _FIRST.finditer(text):
        if _within(met, marks):
            continue
        found = None if _within(met, quoted) else _pronoun(text, met) if met[0] == "I" else _other(text, met)
        if found is None:
            return None
        edits += found
    turned = text
    for start, end, word in sorted(edits, reverse=True):
        turned = turned[:start] + word + turned[end:]
    left = _SAME_SUBJECT.search(text) or re.search(r"\bmine\b", text, re.IGNORECASE)
    return None if not edits or left or writing.other_persons(turned, "en", "we") else turned


def _within(met: re.Match[str], spans: list[tuple[int, int]]) -> bool:
    return any(start <= met.start() < end for start, end in spans)


def _other(text: str, met: re.Match[str]) -> list[Edit] | None:
    """me, my, myself; 'My Account' in the middle of a sentence is a name."""
    begins = bool(_SENTENCE_BEGINS.search(text[: met.start()]))
    if text[met.end() :][:1] in ("'", "’") or (met[0][0] == "M" and not begins):
        return None
    word = _OTHERS[met[0].casefold()]
    return [(*met.span(), word.capitalize() if met[0][0] == "M" else word)]


def _pronoun(text: str, met: re.Match[str]) -> list[Edit] | None:
    before, after = text[: met.start()], text[met.end() :]
    we = "We" if _SENTENCE_BEGINS.search(before) else "we"
    if _ONE_PERSON.match(after):
        return None
    short = _SHORT.match(after)
    if short:
        cut = (met.end() + short.start(2), met.end() + short.end(2), "re" if short[2] == "m" else short[2])
        return [(*met.span(), we), cut]
    asked = _ASKED.search(before)
    if asked and re.match(r"\s+[a-z]|\?", after):
        verb = asked[1]
        turned = _MANY.get(verb.casefold(), verb)
        return [(*asked.span(1), turned.capitalize() if verb[0].isupper() else turned), (*met.span(), "we")]
    verb_after = _FOLLOWED.match(after)
    if verb_after is None or not _CLAUSE_BEGINS.search(before) or _BESIDE_A_MARK.search(before):
        return None
    verb = verb_after["verb"]
    if verb not in _VERBS and not verb.endswith("ed"):
        return None
    place = met.end() + verb_after.start("verb")
    return [(*met.span(), we), (place, place + len(verb), _MANY.get(verb, verb))]
