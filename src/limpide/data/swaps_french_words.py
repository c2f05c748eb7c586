"""Words of French grammar that twins go by (swaps_french.py). Nouns and adjectives are in probes/swaps/fr.tsv."""

# determiner: (gender it shows, its masculine, feminine, masculine before a vowel, feminine before a vowel)
_THE, _A, _THIS = ("le", "la", "l'", "l'"), ("un", "une", "un", "une"), ("ce", "cette", "cet", "cette")
_OF, _TO = ("du", "de la", "de l'", "de l'"), ("au", "à la", "à l'", "à l'")
_MY, _YOUR, _THEIRS = (("mon", "ma", "mon", "mon"), ("ton", "ta", "ton", "ton"), ("son", "sa", "son", "son"))
_WHICH, _NO = ("quel", "quelle", "quel", "quelle"), ("aucun", "aucune", "aucun", "aucune")
_SUCH, _SOME = ("tel", "telle", "tel", "telle"), ("certain", "certaine", "certain", "certaine")

DETERMINERS: dict[str, tuple[str, tuple[str, str, str, str]]] = {
    "l'": ("?", _THE),
    "du": ("m", _OF),
    "au": ("m", _TO),
    "cet": ("m", _THIS),
    **{forms[0]: ("m", forms) for forms in (_THE, _A, _THIS, _MY, _YOUR, _THEIRS, _WHICH, _NO)},
    **{forms[1]: ("f", forms) for forms in (_THE, _A, _THIS, _MY, _YOUR, _THEIRS, _WHICH, _NO)},
}

PLURALS = frozenset(
    [
        *(
            "les",
            "des",
            "ces",
            "mes",
            "tes",
            "ses",
            "nos",
            "vos",
            "leurs",
            "aux",
            "deux",
            "trois",
            "quatre",
            "plusieurs",
        ),
        *("quelques", "cinq", "six", "dix", "cent", "mille", "notre", "votre", "leur", "chaque"),
    ]
)
COPULAS = frozenset(
    [
        *("suis", "es", "est", "sommes", "êtes", "sont", "étais", "était", "étions", "étiez", "étaient", "fus", "fut"),
        *("furent", "serai", "sera", "serons", "serez", "seront", "serais", "serait", "seraient", "soit", "soient"),
        *("été", "être", "étant", "devient", "devenait", "devint", "deviendra", "deviennent", "devenir", "semble"),
        *("semblait", "semblent", "paraît", "paraissait", "paraissent", "reste", "restait", "restent", "demeure"),
    ]
)
NAMED = frozenset(  # participles after which a noun says what somebody has become
    [f"{word}{end}" for word in ("devenu", "nommé", "élu", "né", "surnommé") for end in ("", "e", "s", "es")]
)
PLURAL_COPULAS = frozenset(
    [
        *(
            "sont",
            "étaient",
            "furent",
            "seront",
            "seraient",
            "soient",
            "deviennent",
            "semblent",
            "paraissent",
            "restent",
        ),
    ]
)
PREPOSITIONS = frozenset(
    [
        *(
            "à",
            "de",
            "d'",
            "dans",
            "sur",
            "sous",
            "avec",
            "sans",
            "pour",
            "par",
            "chez",
            "contre",
            "vers",
            "entre",
            "en",
        ),
        *("devant", "derrière", "depuis", "pendant", "selon", "parmi", "malgré", "envers", "aux", "des", "du", "au"),
        *("près", "loin", "hors", "dès", "jusque", "sauf", "outre"),
    ]
)
BOUNDARIES = frozenset(
    [
        *(
            "et",
            "ou",
            "mais",
            "ni",
            "car",
            "donc",
            "or",
            "puis",
            "que",
            "qu'",
            "quand",
            "lorsque",
            "lorsqu'",
            "puisque",
        ),
        *("puisqu'", "parce", "si", "s", "comme", "où", "dont", "qui", "alors"),
    ]
)
PRONOUNS = frozenset(
    ["je", "j'", "tu", "il", "elle", "on", "nous", "vous", "ils", "elles", "qui", "ne", "n'", "me", "te"]
)
ADVERBS = frozenset(
    [
        *("pas", "plus", "jamais", "rien", "très", "trop", "si", "aussi", "moins", "assez", "bien", "mal", "déjà"),
        *("encore", "toujours", "souvent", "parfois", "fort", "tout", "vraiment", "enfin", "presque", "peu", "là"),
        *("aujourd'hui", "hier", "demain", "ensuite", "même", "longtemps", "bientôt", "tellement", "plutôt"),
    ]
)
IMPERSONAL = frozenset(
    [
        *("faut", "fallait", "faudra", "faudrait", "fallut", "pleut", "pleuvait", "neige", "neigeait", "suffit"),
        *("suffisait", "convient", "convenait", "existe", "existait", "importe", "vaut", "arrive", "manque", "paraît"),
        *("semble", "reste", "restait", "fait", "faisait"),
    ]
)
IMPERSONAL_ADJECTIVES = frozenset(
    [
        *(
            "temps",
            "possible",
            "impossible",
            "important",
            "nécessaire",
            "vrai",
            "faux",
            "clair",
            "probable",
            "difficile",
        ),
        *("facile", "interdit", "évident", "rare", "tard", "tôt", "midi", "minuit", "une", "deux", "trois", "quatre"),
        *("cinq", "six", "sept", "huit", "neuf", "dix", "onze", "utile", "inutile", "certain", "permis", "question"),
    ]
)
# words that stand for a person or a thing, and which no list can tell apart
UNPLACED = frozenset(
    [
        *("celle", "celui", "celles", "ceux", "lequel", "laquelle", "lesquels", "lesquelles", "duquel", "auquel"),
        *("chacun", "chacune", "certaines", "certains", "l'une", "l'un", "auxquelles", "auxquels", "desquelles"),
    ]
)
# (feminine, masculine): endings that tell the other form, the longest first
ENDINGS = (
    ("trice", "teur"),
    ("ienne", "ien"),
    ("euse", "eux"),
    ("ante", "ant"),
    ("ente", "ent"),
    ("ive", "if"),
    ("ée", "é"),
    ("ite", "it"),
    ("ue", "u"),
    ("ie", "i"),
)
SAME_ENDINGS = ("iste", "istes", "aire", "aires", "ique", "iques", "able", "ables", "ible", "ibles", "aste", "ogue")
H_ASPIRE = (
    "haut",
    "héros",
    "hollandais",
    "hongrois",
    "honteu",
    "hardi",
    "handicap",
    "hargneu",
    "huit",
    "hasard",
    "haine",
)
# adjectives that are verbs too: 'la femme présente', 'la femme présente ses plans'
VERBS_TOO = frozenset(
    [
        *("présente", "prête", "complète", "sèche", "inquiète", "patiente", "active", "fausse", "contente", "absente"),
        *(
            "écrit",
            "conduit",
            "instruit",
            "séduit",
            "inscrit",
            "craint",
            "joint",
            "atteint",
            "distrait",
            "plaint",
            "suit",
        ),
        *("ferme", "calme", "double", "sort", "rare", "vide", "étrange", "borgne", "louche", "couche", "dirige"),
    ]
)
