"""Who lives in the example: tenants, personas, and the words that its events are made of."""

from dataclasses import dataclass
from typing import Literal

Plan = Literal["basic", "standard", "premium"]

BILLING_BOT = "billing-bot"
ARCHIVE_BOT = "archive-bot"
CONCIERGE_BOT = "concierge-bot"
ONBOARDING_BOT = "onboarding-bot"
JANITOR_BOT = "janitor-bot"
PERSONAS = (BILLING_BOT, ARCHIVE_BOT, CONCIERGE_BOT, ONBOARDING_BOT, JANITOR_BOT)

# Named by a few events, but never a customer.
UNKNOWN_TENANT = "torre-fantasma"


@dataclass(frozen=True, slots=True)
class Tenant:
    """A condominium that is our customer."""

    slug: str
    name: str
    plan: Plan
    units: int


TENANTS = (
    Tenant("aurora", "Residencial Aurora", "premium", 120),
    Tenant("bela-vista", "Condomínio Bela Vista", "standard", 64),
    Tenant("jardim-sul", "Jardim Sul", "standard", 48),
    Tenant("porto-alto", "Edifício Porto Alto", "premium", 200),
    Tenant("casa-verde", "Vila Casa Verde", "basic", 12),
)
# The one that leaves at the end of the story.
LEAVING_TENANT = "casa-verde"

RESIDENTS = (
    "Ana Souza", "Bruno Lima", "Carla Nunes", "Davi Rocha", "Elisa Prado", "Fábio Teles", "Gabriela Antunes",
    "Heitor Campos", "Iara Duarte", "João Batista", "Karina Melo", "Luís Fonseca", "Márcia Gonçalves",
    "Nuno Vieira", "Olívia Serra", "Paulo Araújo",
)  # fmt: skip
CHARGES = (
    ("Condominium fee", 42_000, 98_000),
    ("Water and sewage", 4_500, 16_000),
    ("Reserve fund", 2_500, 9_000),
    ("Elevator maintenance", 3_000, 7_500),
    ("Common area electricity", 1_200, 6_400),
    ("Extraordinary works: facade", 8_000, 30_000),
)
ROOMS = ("party room", "barbecue area", "gym", "meeting room")
PLACES = ("garage level -1", "elevator B", "roof", "lobby", "playground", "pump room")
PROBLEMS = ("water leak", "broken light", "door does not close", "strange noise", "mould on the wall")
NOTICES = (
    ("Water will be shut off", "On Tuesday from 9 to 11 the water tanks will be cleaned."),
    ("General assembly", "All owners are invited to the assembly in the party room, 19:30."),
    ("Elevator inspection", "Elevator A stands still on Thursday morning for its yearly inspection."),
)

# A question, and the text of the library in which its answer stands.
QUESTIONS = (
    ("Who must put a railing round the roof of a new house so that nobody falls?", "kjv/05-deuteronomy.txt"),
    ("What must be done about mould and greenish streaks in the walls of a house?", "kjv/03-leviticus.txt"),
    ("How thick were the foundations and walls when the temple was built?", "kjv/11-1-kings.txt"),
    ("Who repaired the gates and the wall of the city, each in front of his house?", "kjv/16-nehemiah.txt"),
    ("Why is an elevator controller a good example of an embedded system?", "jargon/e.txt"),
    ("What do you call a program that waits in the background until it is needed?", "jargon/d.txt"),
    ("Why does software that nobody has touched stop working after some time?", "jargon/b.txt"),
    ("Is it better to live with a quarrelsome wife or in a corner of the housetop?", "kjv/20-proverbs.txt"),
    ("What does it mean that a house was founded upon a rock?", "kjv/40-matthew.txt"),
    ("What is a heisenbug?", "jargon/h.txt"),
)
