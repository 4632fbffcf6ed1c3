"""Event kinds whose answer is a thing or a place: bridges, quakes, discoveries, rulings, festivals, laws, trains."""

from __future__ import annotations

from clet.bench.newsroom.names import TOWNS, WATERS, Minter
from clet.bench.newsroom.phrases import Kind


def _bridge(mint: Minter) -> dict[str, str]:
    place = mint.place()
    return {"S": f"the new bridge over the {mint.rng.choice(WATERS)} at {place}", "P": place}


def _quake(mint: Minter) -> dict[str, str]:
    place = mint.place()
    return {"S": f"the {place} earthquake", "P": place}


def _species(mint: Minter) -> dict[str, str]:
    place = mint.place()
    what = mint.rng.choice(("moth", "orchid", "beetle", "cave fish", "moss", "freshwater crab", "lichen", "frog"))
    return {"S": f"the {what} discovered near {place}", "P": place, "what": what}


def _case(mint: Minter) -> dict[str, str]:
    place = mint.place()
    what = mint.rng.choice(("water rights", "patent", "fishing quota", "trademark", "quarry", "wind farm"))
    return {"S": f"the {place} {what} case", "P": mint.rng.choice(TOWNS), "what": what}


def _festival(mint: Minter) -> dict[str, str]:
    place = mint.place()
    sort = mint.rng.choice(("Summer Festival", "Harbour Nights", "Folk Days", "Lantern Fair", "Song Festival"))
    return {"S": f"the {place} {sort}", "P": place}


def _law(mint: Minter) -> dict[str, str]:
    topic = mint.rng.choice(
        (
            "lake fishing",
            "night work",
            "school meals",
            "river noise",
            "rent deposits",
            "dog licences",
            "wood stoves",
            "street lighting",
            "beekeeping",
            "ferry safety",
            "holiday homes",
            "seed banks",
            "market stalls",
            "forest roads",
            "tram fares",
            "old orchards",
            "house boats",
            "public clocks",
            "allotments",
            "fireworks",
        )
    )
    topic += mint.rng.choice(("", " in winter", " near schools", " on Sundays", " in nature parks", " in old towns"))
    return {"S": f"the law on {topic}", "P": "Corvane", "topic": topic}


def _train(mint: Minter) -> dict[str, str]:
    place = mint.place()
    return {"S": f"the night train from {place}", "P": place}


MATTERS = (
    Kind(
        name="bridge",
        domain="civic",
        value_type="bridge",
        subject=_bridge,
        noun="the name of {S}",
        standing="",
        voice="the roads department",
        headlines=(
            "{V} opens in {P}",
            "{P} crosses the river on {V}",
            "Ribbon cut at {V}",
            "First cars on {V}",
            "{V}: {P} has its crossing",
        ),
        statements=(
            "{S} [was opened|was inaugurated] [on {wd}|at {time}] under the name {V}.",
            "{V} [is what|is how] {S} will be called.",
            "A plaque [gives|shows] the name of {S}: {V}.",
            "The roads department [named|christened] {S} {V}.",
            "Drivers who take {S} now cross {V}.",
            "On the new maps, {S} is [marked as|shown as] {V}.",
            "After a vote with {big} entries, {S} [received|was given] the name {V}.",
        ),
        change=(),
        asks=("What is the name of {S}?", "What is {S} called?", "Which name stands on the plaque in {P}?"),
        questions=(
            "How is {S} named?",
            "Under which name was {S} opened?",
            "What name was given to {S}?",
            "{S} is open. What is it called?",
        ),
        false_premise="Why was {S} named {wrong}?",
        contexts=(
            "It is {big} metres long and [carries|has] two lanes and a cycle path.",
            "The old ferry made its last crossing [at {time}|on {wd}], [with a brass band aboard|full to the rails].",
            "Construction took {years} years and cost {money}.",
            "Engineers loaded it with {n} lorries as a test.",
            "The way to {Q} is now {n} minutes shorter.",
        ),
    ),
    Kind(
        name="earthquake",
        domain="science",
        value_type="place",
        subject=_quake,
        noun="the village at the centre of {S}",
        standing="",
        voice="the seismological service",
        headlines=(
            "Earth shakes near {P}: {V} hit hardest",
            "{V} at centre of quake",
            "Quake wakes {P}; centre in {V}",
            "Tremor under {V}",
            "{V} counts cracks after quake",
        ),
        statements=(
            "{S} had its centre [under|directly below] the village of {V}.",
            "The centre of {S} [lay|was located] in {V}, {n} kilometres from {P}.",
            "Seismologists [traced|tracked] {S} to {V}.",
            "In {V}, right above the centre of {S}, [chimneys fell|walls cracked].",
            "The strongest shaking in {S} was felt in {V}.",
            "{V} [lies|sits] exactly where {S} began.",
            "Instruments [leave no doubt|agree]: {S} started below {V}.",
        ),
        change=(),
        asks=("Where was the centre of {S}?", "Which village was at the centre of {S}?", "Where did {S} begin?"),
        questions=(
            "Which place was the centre of {S}?",
            "What is the name of the village where {S} had its centre?",
            "Under which village did {S} start?",
            "{S} shook the region. Where was its centre?",
        ),
        false_premise="How deep below {wrong} did {S} start?",
        contexts=(
            "Nobody was [seriously hurt|injured], but {n} barns [lost their roofs|must be propped up].",
            "The shaking lasted {n} seconds and was felt as far as {Q}.",
            "{big} households were without power for [most of the day|{n} minutes].",
            "Aftershocks are [likely|possible] for the next {n} days.",
            "The region last shook {years} years ago, [in winter|at night].",
        ),
    ),
    Kind(
        name="discovery",
        domain="science",
        value_type="species",
        subject=_species,
        noun="the name of {S}",
        standing="",
        voice="the research team",
        headlines=(
            "{V}: new {what} found near {P}",
            "Unknown {what} named {V}",
            "Meet {V}, the {what} from {P}",
            "Science greets {V}",
            "{P} gives the world {V}",
        ),
        statements=(
            "{S} [has been named|was named] {V}.",
            "Researchers [call|named] {S} {V}.",
            "{V} is [how science will know|what biologists now call] {S}.",
            "In the [catalogue|journal], {S} is [entered|listed] as {V}.",
            "The scientific name {V} was [chosen for|given to] {S}.",
            "{S} [bears|received] the name {V}, [a word from an old dialect|in honour of a ship].",
            "Labels in the museum [already|now] say {V} beside {S}.",
        ),
        change=(),
        asks=("What is the name of {S}?", "What do researchers call {S}?", "Under which name is {S} listed?"),
        questions=(
            "How is {S} called by science?",
            "Which scientific name did {S} get?",
            "What name was given to {S}?",
            "{S} has been described. What is it called?",
        ),
        false_premise="Why was {S} named {wrong}?",
        contexts=(
            "Only {n} specimens are known, all of them from one valley.",
            "It [was found by chance|turned up] during a survey of {big} plots.",
            "Its nearest relatives live {big} kilometres away.",
            "The site near the {water} [will be fenced|is to be protected] from {month}.",
            "Genetic tests [in {Q}|by two laboratories] [removed|left no] doubt.",
        ),
    ),
    Kind(
        name="ruling",
        domain="civic",
        value_type="firm",
        subject=_case,
        noun="the winner of {S}",
        standing="",
        voice="the court's spokesman",
        headlines=(
            "Court finds for {V}",
            "{V} wins {S}",
            "{S}: judges side with {V}",
            "Victory in court for {V}",
            "Judges decide: {V} prevails",
        ),
        statements=(
            "{V} [won|has won] {S} before the High Court.",
            "The judges [decided|ruled] in favour of {V} in {S}.",
            "In {S}, the High Court [sided with|found for] {V}.",
            "{S} ended with a [clear|full] victory for {V}.",
            "The ruling in {S} [gives|awards] {V} {money} in damages.",
            "After {years} years, {S} has been [won|decided] and the winning side is {V}.",
            "{V} [leaves|left] the courtroom as the winner of {S}.",
        ),
        change=(),
        asks=("Who is the winner of {S}?", "In whose favour did the judges rule in {S}?", "Who won in court?"),
        questions=(
            "Who won {S}?",
            "What is the name of the company that won {S}?",
            "Which party won {S} before the High Court?",
            "{S} was decided. Who won?",
        ),
        false_premise="On which grounds did {wrong} win {S}?",
        contexts=(
            "The written grounds run to {big} pages and will be published in {month}.",
            "An appeal is [possible within {n} days|no longer possible].",
            "The losing side [must pay|bears] the costs of {money}.",
            "{n} witnesses had been heard since last {month}.",
            "Law students from {Q} filled the public benches.",
        ),
    ),
    Kind(
        name="festival",
        domain="culture",
        value_type="band",
        subject=_festival,
        noun="the main act of {S}",
        standing="",
        voice="the festival office",
        headlines=(
            "{V} to headline {S}",
            "{S} books {V}",
            "{P} gets {V}",
            "{V} top the bill in {P}",
            "Line-up complete: {V} play last",
        ),
        statements=(
            "{V} [will headline|will top the bill at] {S}.",
            "The organisers of {S} have [booked|signed] {V} for the last evening.",
            "{S} [closes|ends] with a concert by {V}.",
            "On the posters of {S}, the largest letters spell {V}.",
            "{V} [agreed|have agreed] to [play|appear as main act at] {S}.",
            "Fans of {V} [can look forward to|should keep a date free for] {S}.",
            "The main stage of {S} [belongs|is reserved] to {V} on the final night.",
        ),
        change=(),
        asks=("Who is the main act of {S}?", "Which band will headline {S}?", "Who plays last at {S}?"),
        questions=(
            "Which band tops the bill at {S}?",
            "What is the name of the main act at {S}?",
            "Which group was booked to headline {S}?",
            "{S} has announced its headliner. Who is it?",
        ),
        false_premise="At what time will {wrong} headline {S}?",
        contexts=(
            "Tickets at {n} crowns [went on sale|can be had] [on {wd}|from {month}].",
            "{n} other [groups|bands] will play on three stages.",
            "The meadow by the {water} holds {big} people.",
            "[Camping|A shuttle bus from {Q}] is [included|free] this year.",
            "Last year it [rained|hailed] for {n} hours, and nobody left.",
        ),
    ),
    Kind(
        name="law",
        domain="civic",
        value_type="law",
        subject=_law,
        noun="the short name of {S}",
        standing="",
        voice="the speaker of the parliament",
        headlines=(
            "Parliament passes {V}",
            "{V} becomes law",
            "Vote on {topic}: {V} adopted",
            "{V} clears last hurdle",
            "{topic}: what {V} changes",
        ),
        statements=(
            "{S}, [known as|called] the {V}, [was passed|was adopted] [on {wd}|by a large majority].",
            "Parliament [passed|adopted] {S} under the short name {V}.",
            "{S} will [be cited|go into the books] as the {V}.",
            "The {V}, as {S} is called, [takes effect|comes into force] in {month}.",
            "With {n} votes to spare, the {V}, which is {S}, was [carried|approved].",
            "Lawyers will [know|quote] {S} as the {V}.",
            "The {V} [regulates|deals with] {topic} [for the first time in {years} years|throughout Brannmark].",
        ),
        change=(),
        asks=("What is the short name of {S}?", "How will {S} be cited?", "What is {S} called?"),
        questions=(
            "Under which name was {S} passed?",
            "What name does {S} carry?",
            "Which act regulates {topic} in Brannmark?",
            "{S} was adopted. What is its short name?",
        ),
        false_premise="Why is {S} called the {wrong}?",
        contexts=(
            "Offenders face fines of up to {big} crowns.",
            "The draft had been [amended|rewritten] {n} times.",
            "Associations from {Q} [welcomed|criticised] the rules on {topic}.",
            "There is a transition period of {n} months.",
            "The debate lasted until {time}.",
        ),
    ),
    Kind(
        name="train",
        domain="civic",
        value_type="place",
        subject=_train,
        noun="the last stop of {S}",
        standing="",
        voice="the railway office",
        headlines=(
            "Night train from {P} runs to {V}",
            "{V} gets its night train",
            "Asleep to {V}",
            "{P} to {V} by night",
            "New timetable: last stop {V}",
        ),
        statements=(
            "{S} [will run|runs] as far as {V}.",
            "{S} [ends|terminates] in {V}.",
            "Passengers on {S} [wake up|get off] in {V}.",
            "The last stop of {S} will be {V}, [reached at {time}|after {n} hours].",
            "The railway office [chose|picked] {V} as the last stop of {S}.",
            "From {month}, {S} goes all the way to {V}.",
            "{V} [becomes|is to be] the final station of {S}.",
        ),
        change=(),
        asks=("What is the last stop of {S}?", "Where does {S} end?", "Where do the sleepers from {P} wake up?"),
        questions=(
            "Where does {S} terminate?",
            "What is the name of the final station of {S}?",
            "To which village does {S} run?",
            "{S} has a new timetable. Where does it end?",
        ),
        false_premise="At what time does {S} arrive at its last stop, {wrong}?",
        contexts=(
            "A berth costs {n} crowns; breakfast is included.",
            "The carriages, {years} years old, were [repainted|rebuilt] in {Q}.",
            "The last such train [left|ran] {years} years ago.",
            "The line follows the {water} for {big} kilometres.",
            "Seats can be [booked|reserved] [up to {n} days ahead|from {month}].",
        ),
    ),
)
