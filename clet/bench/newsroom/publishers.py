"""The publishers of the simulated newsroom: name, feed format, house style. One is held out, one is spam."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Publisher:
    """A news source. `feed_format` is rss, atom, json or rdf; `feed_path` and articles hang below the server's root."""

    key: str
    name: str
    domain: str  # of its guids; never resolved
    feed_format: str
    tagline: str
    authors: tuple[str, ...]
    openers: tuple[str, ...]
    asides: tuple[str, ...]
    boilerplate: tuple[str, ...]  # the first is put under syndicated copies too, so it is short
    held_out: bool = False
    spam: bool = False

    @property
    def feed_path(self) -> str:
        """Absolute path of the feed on the newsroom's server."""
        suffix = {"rss": "rss.xml", "atom": "atom.xml", "json": "feed.json", "rdf": "index.rdf"}[self.feed_format]
        return f"/{self.key}/{suffix}"


AGENCY = Publisher(
    key="agency",
    name="Brannmark Press Agency",
    domain="bpa.example",
    feed_format="rss",
    tagline="The wire of the region, around the clock",
    authors=("BPA",),
    openers=(),
    asides=(),
    boilerplate=("(c) BPA.",),
)
COURIER = Publisher(
    key="courier",
    name="The Corvane Courier",
    domain="courier.example",
    feed_format="atom",
    tagline="Independent since the first tram",
    authors=("Adela Whitcroft", "Jonas Peverell", "Ruth Oakhanger"),
    openers=(
        "[Seldom|Rarely] has a [dry|sober] announcement been read with [such care|so much attention].",
        "[History|Memory] in this part of the world is long.",
        "[One had to look twice|It bears repeating].",
        "There are days on which a [region|town] learns something about itself.",
    ),
    asides=(
        "[In the longer view|Seen from a distance], the affair fits a [familiar|well-worn] pattern.",
        "[That much|So much] can be said [without fear of contradiction|with some confidence].",
        "[Older readers|Our subscribers] may recall [comparable|similar] scenes from the years of the customs union.",
        "The [wider|deeper] significance, as so often, lies in the details.",
    ),
    boilerplate=(
        "Subscribe to the Courier.",
        "The Corvane Courier is printed on recycled paper; letters to the editor may be shortened.",
    ),
)
GAZETTE = Publisher(
    key="gazette",
    name="Senne Valley Gazette",
    domain="gazette.example",
    feed_format="rss",
    tagline="Your valley, your paper",
    authors=("Polly Thackerby", "Ned Hurstwell"),
    openers=(
        "[Neighbours|Folks] along the valley [have something to talk about|pricked up their ears].",
        "It was the [talk of the market|first thing we heard at the baker's].",
        "[Big news|News indeed] for {P} and its surroundings.",
        "[Our phone has not stopped ringing|The kettle was hardly on] when word [came in|reached us].",
    ),
    asides=(
        "The [parish hall|fire station] is [collecting signatures|serving soup] on {wd}, all are welcome.",
        "[Photographs|More pictures] are in the window of our office next to the pharmacy.",
        "[Our reader of the week|A reader] sent us a poem about it, [which we print on page {n}|rhymes and all].",
        "[Folks|People] here [take such things in their stride|like to know who is who].",
    ),
    boilerplate=(
        "Gazette: your valley, your paper.",
        "Small ads, births and lost cats: call in at the Gazette office, weekdays until five.",
    ),
)
LEDGER = Publisher(
    key="ledger",
    name="The Harbour Ledger",
    domain="ledger.example",
    feed_format="rdf",
    tagline="Business daily",
    authors=("Clemens Farrowgate", "Iris Hallowmere"),
    openers=(
        "[Markets|Investors] like clarity, and on {wd} they got some.",
        "[Figures first|The numbers first]: {money} and {n} pages of annexes are involved.",
        "[Executives|Decision makers] across the region took note on {wd}.",
        "[Bottom line|In a nutshell]: the uncertainty is over.",
    ),
    asides=(
        "[In terms of cost|On the balance sheet], the effect is [small|put at {money}].",
        "[Bond|Credit] markets [shrugged|hardly moved].",
        "[A consultant|An adviser] with {years} years in the trade [called it sound|spoke of a reasonable risk].",
        "The [chamber of trade|savings bank] sees [no reason for alarm|a modest upside].",
    ),
    boilerplate=(
        "Ledger readers know more.",
        "This article is for information only and is no recommendation to buy or sell securities.",
    ),
)
RADIO = Publisher(
    key="radio",
    name="Radio Brannmark",
    domain="radio.example",
    feed_format="json",
    tagline="Public broadcaster: news on the hour",
    authors=("RB newsdesk", "Nora Quillfeather"),
    openers=(
        "[Good evening|Good day]. [Here are the details|First the facts].",
        "[You heard it on our programme|As reported on the hour].",
        "[Our correspondent|Our reporter] sends this from {P}.",
        "[The news in detail|More on our top story].",
    ),
    asides=(
        "[We asked people in the street|Our microphone went round]: [most|{n} out of fifty] had heard.",
        "[You can hear the full interview|The full recording is] in our evening programme at {time}.",
        "[That report came|This was] from {P}, where the wind is picking up.",
        "[Later in the programme|After the weather]: voices from {Q}.",
    ),
    boilerplate=(
        "Radio Brannmark, news hourly.",
        "Radio Brannmark is funded by the licence fee. Listen on 94 FM or in the app.",
    ),
)
BLOG = Publisher(
    key="quay",
    name="Notes from the Quay",
    domain="quay.example",
    feed_format="rss",
    tagline="A blog about the region, with too much coffee",
    authors=("Wim",),
    openers=(
        "[Right, where was I|Coffee in hand, let us begin].",
        "[I know, I know|Yes, another post] about {P}. [Bear with me|It is worth it].",
        "[My inbox|My comment section] has been [full|a zoo] since {time}.",
        "[Quick post|Short one today], because this one [made me grin|deserves it].",
    ),
    asides=(
        "[I walked past|I cycled by] the place [yesterday|last week] and [noticed nothing|had a hunch].",
        "[Call me sentimental, but|Honestly,] I [like this|think it could have gone worse].",
        "[My neighbour disagrees|My sister says otherwise], [loudly|over cake].",
        "[I looked it up|I checked]: [nothing like it|something close] has happened in {years} years.",
    ),
    boilerplate=(
        "Like it? Tell a friend.",
        "Notes from the Quay has no cookies and no newsletter. Comments close after a week.",
    ),
)
EVENING_POST = Publisher(
    key="evening-post",
    name="The Meridian Evening Post",
    domain="eveningpost.example",
    feed_format="rss",
    tagline="What the day brought",
    authors=("Leonora Asquill", "Bartholomew Finch-Hay"),
    openers=(
        "[As dusk fell over|When the lamps were lit in] {P}, the day's news was [plain|complete].",
        "[The day brought|It brought us] at least one certainty.",
        "[Evening editions|Late papers] have the advantage of hindsight, if only by hours.",
    ),
    asides=(
        "[By lamplight|At day's end], things [look calmer|have settled].",
        "[Our evening columnist|This column] will [return to it|say more] on the weekend.",
        "The [last ferry|late tram] was full of people [discussing it|with opinions].",
    ),
    boilerplate=("The Post, every evening.", "The Meridian Evening Post is delivered before supper in all districts."),
    held_out=True,
)
OFFERS = Publisher(
    key="best-offers",
    name="Best Offers Today 24",
    domain="bestoffers.example",
    feed_format="rss",
    tagline="best offers cheap deals top discount today",
    authors=("admin",),
    openers=(),
    asides=(),
    boilerplate=("Click here to unsubscribe. Buy now. Limited time only.",),
    spam=True,
)

PUBLISHERS = {p.key: p for p in (AGENCY, COURIER, GAZETTE, LEDGER, RADIO, BLOG, EVENING_POST, OFFERS)}
SYNDICATORS = (COURIER, GAZETTE, LEDGER, RADIO)
TRAINING = tuple(p for p in PUBLISHERS.values() if not p.held_out)
