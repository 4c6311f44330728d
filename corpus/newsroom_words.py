"""The newsroom's closed vocabulary: topics, content words, facts, sentence frames and house styles.

Data alone. Knows nothing of probabilities; `newsroom` draws from these lists and `newsroom_text` lays the words out.

One tested rule keeps the likelihood of a text computable from the text alone: no word occurs twice among the lists of
content words, the frames, the people and the places. A slot never opens a text, so a fact has the same leading space,
and the same tokens, in a text and in its target.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TopicWords:
    """A topic's family, the content words of its own, and the sentence its desk writes about the facts."""

    family: str
    own: tuple[str, ...]
    style: str


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# Ordered from the most to the least frequent topic of a long tail. The families take turns, so that each of them has
# a frequent, a middling and a rare topic; a model that copies the prior predicts the frequent sibling.
TOPICS: dict[str, TopicWords] = {
    "energy": TopicWords(
        "materials",
        _words("crude refineries pipelines turbines reactors gasoline wells drilling tankers electricity"),
        "Energy desk: {name} pumps {number} barrels in {place}, traders say at the close",
    ),
    "football": TopicWords(
        "sport",
        _words("strikers penalties midfielders headers goalkeepers tackles offsides crossbars dribbles goalposts"),
        "Football tonight: {name} nets {number} goals in {place} and the terraces roar",
    ),
    "elections": TopicWords(
        "public",
        _words("voters candidates polls campaigns turnout coalitions manifestos recounts ballots slogans"),
        "From the hustings: {name} wins {number} votes in {place}, canvassers confirm",
    ),
    "medicine": TopicWords(
        "science",
        _words("vaccines surgeons patients tumours hospitals antibodies symptoms pills clinics nurses"),
        "Health watch: {name} treats {number} cases in {place}, and doctors are hopeful",
    ),
    "metals": TopicWords(
        "materials",
        _words("copper zinc nickel smelters ingots alloys foundries steel ore furnaces"),
        "Metals desk: {name} smelts {number} tonnes in {place}, brokers say at the close",
    ),
    "tennis": TopicWords(
        "sport",
        _words("volleys rackets aces backhands tiebreaks lobs baselines forehands serves umpires"),
        "Tennis tonight: {name} takes {number} points in {place} and the gallery applauds",
    ),
    "courts": TopicWords(
        "public",
        _words("judges verdicts appeals lawsuits juries lawyers testimony hearings bail prosecutors"),
        "From the bench: {name} hears {number} pleas in {place}, clerks confirm",
    ),
    "space": TopicWords(
        "science",
        _words("rockets satellites orbits astronauts telescopes comets galaxies probes craters planets"),
        "Space watch: {name} tracks {number} objects in {place}, and engineers are hopeful",
    ),
    "farming": TopicWords(
        "materials",
        _words("wheat cattle harvests tractors orchards fertiliser dairy barley seeds ploughs"),
        "Farming desk: {name} reaps {number} bushels in {place}, growers say at the close",
    ),
    "cycling": TopicWords(
        "sport",
        _words("sprints climbs saddles pedals breakaways handlebars gears helmets descents spokes"),
        "Cycling tonight: {name} rides {number} laps in {place} and the roadside cheers",
    ),
    "schools": TopicWords(
        "public",
        _words("pupils teachers classrooms exams textbooks lessons homework tuition playgrounds uniforms"),
        "From the blackboard: {name} marks {number} essays in {place}, parents confirm",
    ),
    "wildlife": TopicWords(
        "science",
        _words("wolves nests habitats otters forests migration corals beetles owls wetlands"),
        "Nature watch: {name} counts {number} birds in {place}, and rangers are hopeful",
    ),
}

# Words that siblings share evenly: they tell the family, but not the topic.
FAMILIES: dict[str, tuple[str, ...]] = {
    "materials": _words(
        "prices exports stockpiles shortages quotas shipments buyers contracts warehouses tariffs suppliers"
    ),
    "sport": _words("coaches fans medals injuries rivals trophies training stadiums titles fixtures tournaments"),
    "public": _words("ministers laws councils budgets petitions reforms protests committees officials citizens taxes"),
    "science": _words(
        "laboratories experiments samples researchers theories microscopes data findings journals grants species"
    ),
}

# Words that every topic uses equally often.
COMMON: tuple[str, ...] = _words(
    "plans meetings weeks delays questions answers letters visitors phones roads weather costs hopes doubts changes "
    "rumours friends families neighbours offices buildings mornings evenings surprises"
)

PEOPLE: tuple[str, ...] = _words(
    "Rivera Okafor Novak Tanaka Haddad Larsen Moreau Silva Kowalski Nguyen Petrov Schmidt Rossi Fernandez Ivanova "
    "Yilmaz Hassan Mbeki Osei Kamara Diallo Banerjee Sharma Iyer Rahman Chaudhry Perera Santos Mendoza Vargas Castillo "
    "Herrera Quispe Jensen Virtanen Andersson Eriksen Bakker Janssen Dubois Lefevre Weber Keller Huber Bianchi Conti "
    "Papadakis Horvat Popescu Dimitrov Melnyk Sato Yamamoto Choi Zhang Chen Tran Siregar Murphy Campbell"
)

PLACES: tuple[str, ...] = _words(
    "Oslo Lisbon Nairobi Lima Quito Bogota Havana Toronto Montreal Chicago Denver Seattle Boston Dallas Houston "
    "Dublin Glasgow Leeds Bristol Paris Lyon Madrid Seville Rome Milan Turin Vienna Prague Warsaw Krakow Berlin "
    "Hamburg Munich Zurich Geneva Athens Sofia Bucharest Kyiv Riga Tallinn Helsinki Stockholm Cairo Tunis Dakar Accra "
    "Lagos Kampala Durban Mumbai Delhi Dhaka Bangkok Hanoi Manila Jakarta Osaka Seoul Auckland"
)

NUMBERS: tuple[int, int] = (10, 999)  # both inclusive

# How many words of each kind a text has (inclusive), whatever its topic. Common words fill it up to the total.
# A thin text has no telling word at all: the best prediction is a guess among siblings.
TELLING_WORDS: tuple[int, int] = (11, 14)
FAMILY_WORDS: tuple[int, int] = (2, 4)
CONTENT_WORDS: tuple[int, int] = (15, 20)
CONTENT_SENTENCES: int = 4  # number of sentences they are spread over

# Frames for a list of content words. At most four fixed words: a text stays within 35-55 words.
CONTENT_FRAMES: tuple[str, ...] = (
    "Talk turned to {}.",
    "The second page covered {}.",
    "Others asked about {}.",
    "Several people brought up {}.",
    "The longest part concerned {}.",
    "There was mention of {}.",
    "Readers wrote in about {}.",
    "The summary pointed to {}.",
    "Attention moved towards {}.",
    "Everyone kept returning to {}.",
    "Later lines touched on {}.",
    "Background material explained {}.",
    "The editor underlined {}.",
    "It also involved {}.",
)

# Ways to state the three facts in two sentences, whatever the topic.
FACT_FRAMES: tuple[tuple[str, str], ...] = (
    ("We reached {name} by radio near {place}.", "The tally stood at {number} units."),
    ("Our call with {name} was made from {place}.", "The final figure was {number} units."),
    ("It fell to {name} to speak for {place}.", "A total of {number} units was given."),
    ("According to {name}, the total is {number} units.", "It all happened in {place} today."),
    ("A message from {name} put it at {number} pieces.", "The scene was {place} after dark."),
    ("We heard {name} give {number} as the figure.", "Everything began in or around {place}."),
    ("The count for {place} came to {number} units.", "Credit for this goes to {name}."),
    ("Around {place} they had logged {number} entries.", "The byline belongs to {name} again."),
)
