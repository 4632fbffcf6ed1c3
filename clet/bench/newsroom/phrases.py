"""What an event kind consists of, and the wording shared by all kinds.

Phrases are templates in two layers. `[a|b]` picks one alternative; `{S}`-like slots are then filled:
S subject, N the noun phrase that asks for the answer ("the new director of the Tarnholm Observatory"), V the answer,
v its short form, old the earlier answer, P the place, Q another place, voice who speaks,
wd the weekday, month a coming month, time, n / big / money / years details drawn afresh at each use.
A *statement* restates the fact, a *context* never names the answer in full, so that the number of restatements in an
article is decided by its composer and not by chance.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

from clet.bench.newsroom.names import Minter

_CHOICE = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Kind:
    """One kind of event: how its subject is made and every way to speak of it. Slots as in the module docstring."""

    name: str
    domain: str  # civic, business, science, sport or culture: which shared context fits
    value_type: str  # a method of Minter
    subject: Callable[[Minter], dict[str, str]]  # gives at least S and P
    noun: str  # N of an event
    standing: str  # N of a long-lived fact of this kind; empty: this kind has none and never changes
    voice: str
    headlines: tuple[str, ...]
    statements: tuple[str, ...]
    change: tuple[str, ...]  # statements that name the old value too
    asks: tuple[str, ...]  # questions as printed in articles
    questions: tuple[str, ...]  # open-ended paraphrases used for evaluation; never printed in articles
    false_premise: str  # a question that presupposes {wrong}
    contexts: tuple[str, ...]


def expand(template: str, rng: random.Random, slots: dict[str, str]) -> str:
    """One wording of `template`: alternatives chosen by `rng`, slots filled, first letter capital."""
    while "[" in template:
        template = _CHOICE.sub(lambda m: rng.choice(m.group(1).split("|")), template)
    text = " ".join(template.format_map(slots).split())
    return text[:1].upper() + text[1:]


STATEMENTS = (
    "{V} is {N}.",
    "[As of|Since] {wd}, it is certain that {N} is {V}.",
    "{voice} [confirmed|announced|let it be known] [on {wd}|briefly|shortly after {time}] that {N} is {V}.",
    "The answer that everyone in {P} [was waiting for|had been promised] came [at|around] {time}: {N} is {V}.",
    "{N}, {voice} [made clear|repeated|insisted], is {V}.",
    "[By the evening|Within the hour|By noon] it was [settled|clear|beyond doubt]: {N} is {V}.",
    "[Nobody in {P} now doubts|Few in {P} were surprised to hear] that {N} is {V}.",
    "So {N} is {V}, [and|although] [some questions remain|the details will follow in {month}].",
    "{V}: that is {N}.",
    "[Remember the name|Make a note of it|There is no other way to put it]: {N} is {V}.",
    "[The notice on the door|A single line on the website|The printed programme] [says|reads|states] that {N} is {V}.",
    "[If you missed it|For those who slept through the news|To put it briefly], {N} is {V}.",
    "[Reference books|School quizzes|Old leaflets] [will have to be|must now be] changed, for {N} is {V}.",
    "When people [in {P}|across the region] [ask about|speak of] {N}, they [now mean|will from now on mean] {V}.",
    "[Papers seen by|Documents sent to] this newsroom [give|name] {V} as {N}.",
    "The talk in every [cafe|tram|bakery] in {P} is of {V}, {N}.",
    "With {V} as {N}, [a long wait is over|one chapter closes for {P}|the rumours have come to an end].",
    "[Letters to the editor|Messages from readers|Calls to our desk] [are all about|keep coming back to] {V}, {N}.",
    "[Two|Three] [separate sources|people with knowledge of the matter] told us [exactly|just] the same thing: "
    "{N} is {V}.",
    "[What is certain|What matters] is this: {V} is {N}.",
    "[Put {V} on the list|Write {V} in the margin], for that is {N}.",
)

STANDING = (
    "{N} is {V}.",
    "{V} has been {N} for {years} years.",
    "[Ask anybody in {P}|Any child in {P} knows it]: {N} is {V}.",
    "For {years} years now, {N} has been {V}, and [little seems likely to change|that suits most people].",
    "[The yearbook|The town guide|The register] [lists|gives] {V} as {N}.",
    "{V} is {N}, as {voice} [likes to point out|gladly confirms].",
    "[To this day|As readers know], {N} is {V}.",
    "[Visitors|Newcomers] to {P} soon learn that {N} is {V}.",
    "When the history of {S} is written, {V} will be remembered as {N}.",
)

LEADS = {
    "own": (
        "There was [only one subject|little else to talk about] in {P} on {wd}.",
        "It took until {time} on {wd} before {voice} would say anything at all.",
        "[For weeks|For most of the winter] {P} had been guessing.",
        "The announcement was [short|dry], the effect [was not|considerable].",
        "[A cold wind|Light rain] was blowing through {P} when the news came out.",
        "[Some news arrives quietly|Not all news shouts]; this item came as {n} lines on a sheet of paper.",
        "Anyone who walked through {P} on {wd} [could feel|would have noticed] that something had happened.",
    ),
    "follow-up": (
        "Hours after the announcement [in {P}|from {voice}], the first reactions are in.",
        "The day's main story from {P} [has moved on|is still growing].",
        "[More details have emerged|New details came to light] this afternoon about the news from {P}.",
        "[Reactions continued|Comment kept arriving] late into {wd} after the morning's news.",
        "By late afternoon {n} organisations had [sent congratulations or questions|put out statements of their own].",
        "The morning's announcement [has raised as many questions as it answered|was only the beginning].",
    ),
    "explainer": (
        "[Confused by|Lost track of] the news from {P}? Here is what [we know so far|matters].",
        "Readers have asked us to sort out [the story|the facts] about {S}.",
        "Our desk answers the [most frequent|main] questions on {S}.",
        "What has happened in {P}, and why [does it matter|should you care]? A short guide.",
        "Everything worth knowing about {S}, in [two|three] minutes.",
        "The facts about {S}, [question by question|one at a time].",
    ),
    "standing": (
        "In our series on who is who in the region, we [visit|turn to] {P}.",
        "A portrait from {P}, [in no particular order|written on a quiet afternoon].",
        "[Some things in {P} rarely make headlines|Not everything worth knowing is new].",
        "This week our reporters [look|went to look] behind the doors of {P}.",
    ),
}

QUOTES = (
    '"[We are|All of us are] [very pleased|relieved|proud]," {voice} [said|told reporters in {P}].',
    '"[It was not an easy decision|This has been a long road], but it is the right [one|outcome]," said {voice}.',
    '"I [heard it on the radio|read it twice] and [still could not believe it|smiled]," [said|admitted] '
    "a [baker|teacher|tram driver|retired nurse] from {Q}.",
    '"[Ask me again in a year|Let us see how it looks in {month}]," a [shopkeeper|student|pensioner] in {P} remarked.',
    '"There is [a lot of|plenty of] work ahead of us," {voice} [added|warned], "and [little time|it starts tomorrow]."',
    '"{v} was [always the name people whispered|the obvious answer]," [recalled|said] a neighbour.',
    '"What happened [here on {wd}|today] will be [talked about|remembered] for years," a councillor from {Q} said.',
    '"People [want|need] to know [where they stand|what comes next], and now they do," {voice} [argued|explained].',
    '"We [thought|had hoped] it would take {n} days; it took {big} hours," {voice} [joked|said with a sigh].',
    '"[My grandmother|My father] [would have loved|would not have believed] this," one onlooker [said|told us].',
)

CONTEXTS = (
    "About {big} people [followed|watched] the announcement online, [more than expected|twice as many as last year].",
    "A [formal|public] session is [planned|scheduled] for the second week of {month}, {voice} said.",
    "[Shops|Cafes] around the market square [stayed open|kept their lights on] {n} minutes longer than usual.",
    "The [matter|subject] had been [discussed|debated] in {P} since last {month}.",
    "No objection had been [lodged|received] by {time}, when the [desk|office] closed.",
    "A [summary|full report] of {big} pages can be [read|consulted] at the town library of {Q}.",
    "Similar news from {Q} {years} years ago had [caused far more noise|gone almost unnoticed].",
    "[Bells were rung|Flags were raised] in {P}, as is the custom there on such days.",
    "{voice} will [answer questions|take questions from the public] next week [in {Q}|in {P}].",
    "Costs are put at {money}, [of which a third has been paid|most of it from reserves].",
    "A survey in {month} had [found|suggested] that {n} per cent of residents [cared little either way|expected it].",
    "[Traffic|The trams] in the centre of {P} ran {n} minutes late [as a result|because of the crowd].",
    "The regional parliament [took note|is to be informed] [without debate|in {month}].",
    "[Rain|Sunshine] and {n} degrees did not [keep anybody away|make the waiting any shorter].",
    "[Two|Four] [observers|visitors] from {Q} [attended|followed the proceedings], [taking notes|saying little].",
    "[Local schools|Several classes] plan to [take up|cover] the subject [after the holidays|in {month}].",
    "[Archive records|Old minutes] show that the question first came up {years} years ago.",
    "Further [steps|announcements] are [expected|due] before the end of {month}.",
    "A [small reception|modest celebration] with {n} guests followed [in the old customs hall|by the water].",
    "Not [everyone was|all were] [convinced|happy]: {n} people signed a [letter of protest|note of complaint].",
    "{voice} [declined to say|would not be drawn on] how much had been spent, [but spoke of|beyond] {money}.",
    "The [press office|switchboard] counted {big} calls [within the hour|before supper].",
    "[Last year|In {month}] the same [office|hall] had been [closed for repairs|half empty].",
    "[Several|A handful of] [neighbouring towns|villages along the {water}] sent their good wishes.",
)

DOMAIN_CONTEXTS = {
    "civic": (
        "The council of {P} has {n} members and meets on the first {wd} of the month.",
        "Citizens can [inspect|see] the documents for {n} days in the town hall of {P}.",
        "The opposition [asked for|demanded] [a second reading|more time], but was voted down.",
        "[Public finances|The accounts] in {P} have been [tight|in balance] for {years} years.",
        "An [independent auditor|external office] from {Q} [will look|is to look] at the procedure.",
        "Turnout at the last public hearing was {n} per cent.",
    ),
    "business": (
        "Shares traded in {Q} [rose|fell] by {n} basis points [after the news|before the close].",
        "Analysts had [reckoned with|expected] {money}, [a little less than the final figure|slightly more].",
        "The [works council|trade union] [asked for|wants] guarantees for {big} jobs.",
        "The regional competition office has {n} working days to [object|raise concerns].",
        "[Suppliers|Farmers] from {Q} [welcomed|were cautious about] the news.",
        "Quarterly figures will be [published|presented] in {month}, as planned.",
    ),
    "science": (
        "The findings are [described|set out] in a paper of {n} pages, [reviewed by three colleagues|open to all].",
        "Instruments in {Q} had [recorded|registered] {big} readings since last {month}.",
        "Researchers from {n} institutes [took part|shared their data].",
        "A [public lecture|guided tour] on the subject is planned [in {Q}|for {month}].",
        "The work was [paid for|supported] with {money} from the regional research fund.",
        "Samples will be [kept|stored] in {P} and [lent|sent] to other laboratories [on request|free of charge].",
    ),
    "sport": (
        "The crowd of {big} [stayed|sang] long after the end.",
        "Tickets had been sold out for {n} days.",
        "The [referee|jury] had [little to do|one difficult moment] [in the middle part|towards the end].",
        "The next date in the calendar is in {Q} [in {month}|in {n} days].",
        "[The last time|The previous occasion] the mood in {P} was this good was {years} years ago.",
        "[Medical staff|Stewards] reported a quiet day with {n} [minor|small] incidents.",
    ),
    "culture": (
        "The [hall|main stage] in {P} holds {big} people, and {n} seats are kept for schools.",
        "Advance sales [begin|open] in {month}; the cheapest ticket costs {n} crowns.",
        "The jury of {n} [had met|sat] behind closed doors [for two days|in {Q}].",
        "[Critics|Reviewers] were [divided|unusually kind] last year.",
        "The regional arts fund [contributes|gives] {money} [this season|this year].",
        "An exhibition with {big} [photographs|posters] [tells|shows] the history of the event.",
    ),
}

CLOSINGS = (
    "This newsroom will [follow the story|report further].",
    "More [on this|about this] in our [next edition|evening bulletin].",
    "[A decision on the rest|The next step] is [expected|due] in {month}.",
    "[The rest|Everything else] will have to wait until {month}.",
    "And in {P}, life [goes on|continues], [a little changed|much as before].",
)
