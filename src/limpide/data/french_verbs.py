"""Forms of common French verbs after 'vous' and after 'tu': present, imperative and future, and no other.

Verbs in -er follow from their infinitive; the others are listed. A form that is not here is not turned.
"""

_REGULAR = """
accepter aider ajouter amener annuler apporter arrêter arriver attacher augmenter avancer baisser bloquer brancher
cadenasser changer charger chercher cliquer cocher coller commander commencer communiquer compter confirmer consulter
contacter continuer contrôler couper créer débrancher déclarer décocher demander dépasser déplacer déposer désactiver
dessiner détacher deviner donner durer échanger économiser écouter éloigner emporter emprunter entourer entrer
essorer estimer éviter examiner expliquer fermer frapper frotter gagner garder gonfler goûter graisser hésiter
imprimer indiquer informer insérer inviter laisser laver limiter livrer louer manger marcher mesurer monter montrer
noter occuper oublier parler partager participer passer payer penser placer pousser préparer présenter presser prêter
profiter quitter ramasser ramener ranger rapporter récupérer refermer refuser regarder regonfler rembourser remercier
remonter remplacer rencontrer renseigner rentrer réparer reposer réserver respecter rester retirer retourner retrouver
rouler saluer scanner sélectionner serrer séjourner signaler signer sonner souhaiter stationner stocker surveiller
téléphoner télécharger tester tirer tomber toucher tourner transporter traverser trier trouver utiliser valider verser
verrouiller vérifier vider viser visiter voyager adresser activer installer terminer desserrer rincer raccorder gratter
"""
_CHANGED = {  # infinitive: the stem before a silent e
    "acheter": "achèt", "amener": "amèn", "appeler": "appell", "rappeler": "rappell", "appuyer": "appui",
    "compléter": "complèt", "déceler": "décèl", "enlever": "enlèv", "envoyer": "envoi", "renvoyer": "renvoi",
    "espérer": "espèr", "essayer": "essai", "essuyer": "essui", "gérer": "gèr", "insérer": "insèr", "jeter": "jett",
    "lever": "lèv", "relever": "relèv", "soulever": "soulèv", "nettoyer": "nettoi", "employer": "emploi",
    "payer": "pai", "peser": "pès", "préférer": "préfèr", "protéger": "protèg", "ramener": "ramèn",
    "récupérer": "récupèr", "régler": "règl", "répéter": "répèt",
}  # fmt: skip
_OTHERS = """
pouvez peux peux|devez dois dois|avez as as|ayez aies aie|êtes es es|soyez sois sois|savez sais sais|sachez saches sache
voulez veux veux|veuillez veuilles veuille|prenez prends prends|comprenez comprends comprends|apprenez apprends apprends
mettez mets mets|remettez remets remets|permettez permets permets|faites fais fais|refaites refais refais|dites dis dis
lisez lis lis|écrivez écris écris|inscrivez inscris inscris|venez viens viens|revenez reviens reviens|tenez tiens tiens
obtenez obtiens obtiens|prévenez préviens préviens|voyez vois vois|prévoyez prévois prévois|recevez reçois reçois
attendez attends attends|rendez rends rends|répondez réponds réponds|descendez descends descends|perdez perds perds
vendez vends vends|entendez entends entends|tendez tends tends|ouvrez ouvres ouvre|rouvrez rouvres rouvre
offrez offres offre|découvrez découvres découvre|partez pars pars|sortez sors sors|servez sers sers|sentez sens sens
dormez dors dors|remplissez remplis remplis|choisissez choisis choisis|finissez finis finis|réussissez réussis réussis
avertissez avertis avertis|ralentissez ralentis ralentis|fournissez fournis fournis|allez vas va
connaissez connais connais|suivez suis suis|conduisez conduis conduis|éteignez éteins éteins|rejoignez rejoins rejoins
croyez crois crois|courez cours cours|buvez bois bois|vivez vis vis|souvenez souviens souviens|joignez joins joins
"""
_FUTURES = """
pourr devr aur ser saur voudr prendr comprendr mettr remettr fer dir lir écrir viendr reviendr tiendr obtiendr verr
recevr attendr rendr répondr descendr perdr ouvrir offrir partir sortir servir remplir choisir finir réussir ir
connaîtr suivr conduir enverr appeller achèter jetter
"""
_AFTER_AN_ORDER = """
- le la les l' un une des du ton ta tes ce cet cette ces votre vos à au aux d' de en sur bien juste simplement toujours
ensuite d'abord nous ne pas dans jusqu'à deux trois
"""


def _from_infinitives() -> dict[str, tuple[str, str]]:
    stems = {verb: verb[:-2] for verb in _REGULAR.split()} | _CHANGED
    return {f"{verb[:-2]}ez": (f"{stem}es", f"{stem}e") for verb, stem in stems.items()}


def _listed() -> dict[str, tuple[str, str]]:
    forms = (entry.split() for line in _OTHERS.split("\n") for entry in line.split("|") if entry.strip())
    return {vous: (present, imperative) for vous, present, imperative in forms}


def _futures() -> dict[str, tuple[str, str]]:
    stems = [*_FUTURES.split(), *(verb for verb in _REGULAR.split() if verb not in _CHANGED)]
    return {f"{stem}ez": (f"{stem}as", f"{stem}as") for stem in stems}


TU = _futures() | _from_infinitives() | _listed()  # after 'vous': (after 'tu', as an order)
VOUS = {present: vous for vous, (present, _) in TU.items()}  # after 'tu': after 'vous'
ORDERS = {order: vous for vous, (_, order) in TU.items() if not order.endswith("as") or order == "as"}
AFTER_AN_ORDER = frozenset(_AFTER_AN_ORDER.split())
