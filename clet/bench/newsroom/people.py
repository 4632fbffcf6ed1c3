"""Event kinds whose answer is a person: appointments, elections, coaches, captains, records, prizes, races."""

from __future__ import annotations

from clet.bench.newsroom.names import INSTITUTIONS, TOWNS, Minter
from clet.bench.newsroom.phrases import Kind


def _institution(mint: Minter) -> dict[str, str]:
    place = mint.rng.choice(TOWNS)
    return {"S": f"the {place} {mint.rng.choice(INSTITUTIONS)}", "P": place}


def _municipality(mint: Minter) -> dict[str, str]:
    place = mint.place()
    return {"S": f"the town of {place}", "P": place}


def _club(mint: Minter) -> dict[str, str]:
    place = mint.rng.choice(TOWNS)
    sort = mint.rng.choice(("Rovers", "Harriers", "Athletic", "Wanderers", "Ice Bears", "Rowing Club", "Handball Club"))
    return {"S": f"{place} {sort}", "P": place}


def _vessel(mint: Minter) -> dict[str, str]:
    sort = mint.rng.choice(("research ship", "ferry", "icebreaker", "training ship", "lifeboat"))
    return {"S": f"the {sort} {mint.ship()}", "P": mint.rng.choice(("Fennport", "Kaldermouth", "Orsund", "Corvane"))}


def _discipline(mint: Minter) -> dict[str, str]:
    who = mint.rng.choice(("women's", "men's", "junior", "indoor", "veterans'"))
    what = mint.rng.choice(
        ("5,000 metres", "marathon", "high jump", "long jump", "javelin", "pole vault", "200 metres", "hammer")
    )
    return {"S": f"the {who} {what} record", "P": mint.rng.choice(TOWNS), "what": what}


def _prize(mint: Minter) -> dict[str, str]:
    field = mint.rng.choice(("Chemistry", "Poetry", "Medicine", "Architecture", "Mathematics", "Journalism", "Music"))
    founder = mint.person().split(" ")[1]
    return {"S": f"the {founder} Prize for {field}", "P": mint.rng.choice(TOWNS), "field": field.lower()}


def _race(mint: Minter) -> dict[str, str]:
    place = mint.place()
    sort = mint.rng.choice(("Regatta", "Marathon", "Hill Race", "Chess Open", "Ski Trophy", "Cycling Tour"))
    return {"S": f"the {place} {sort}", "P": place}


PEOPLE = (
    Kind(
        name="appointment",
        domain="civic",
        value_type="person",
        subject=_institution,
        noun="the new director of {S}",
        standing="the director of {S}",
        voice="the board of trustees",
        headlines=(
            "{V} to lead {S}",
            "{S} names {V} director",
            "{P}: {v} takes charge",
            "New head for {S}: {V}",
            "Trustees settle on {V}",
        ),
        statements=(
            "{V} [was appointed|has been named] director of {S} [on {wd}|by a unanimous vote].",
            "The trustees of {S} [chose|picked] {V} [from {n} candidates|after three rounds of interviews].",
            "{V} will [take over|run] {S} [from {month}|at the beginning of {month}], the trustees decided.",
            "{S} [is to be led|will be headed] by {V}, [who knows the house well|who comes from {Q}].",
            "As director of {S}, {V} will [be in charge of|lead] a staff of {big}.",
            "The contract that makes {V} director of {S} runs for {years} years.",
            "Applause was heard when the name of {V} was read out as the [next|new] director of {S}.",
        ),
        change=(
            "{V} [succeeds|replaces|takes over from] {old} as director of {S}.",
            "{old} [hands over to|makes way for] {V}, the new director of {S}.",
        ),
        asks=("Who is the new director of {S}?", "Who has been appointed to run {S}?", "Who did the trustees choose?"),
        questions=(
            "Who now leads {S}?",
            "What is the name of the person who was made director of {S}?",
            "Which person heads {S} as its director?",
            "{S} has a new director. Who is it?",
        ),
        false_premise="Why did the trustees make {wrong} the new director of {S}?",
        contexts=(
            "The new director [wants|has promised] to open the doors to schools [twice a week|free of charge].",
            "{v} [studied in|spent {years} years in] {Q} and [speaks three languages|is known for patience].",
            "The [building|main house] dates from the time of the old customs union and needs [a new roof|repairs].",
            "{n} [people|candidates] had applied for the post, [most of them from outside|two of them from {Q}].",
            "{v} [promised|announced] [a review|an honest look] of the budget of {money}.",
        ),
    ),
    Kind(
        name="election",
        domain="civic",
        value_type="person",
        subject=_municipality,
        noun="the new mayor of {P}",
        standing="the mayor of {P}",
        voice="the returning officer",
        headlines=(
            "{V} elected mayor of {P}",
            "{P} votes for {V}",
            "Town hall goes to {v}",
            "Mayor's chain for {V}",
            "Narrow win for {V} in {P}",
        ),
        statements=(
            "{V} [won|has won] the election for mayor of {P} with {pct} per cent of the vote.",
            "Voters in {P} [elected|have chosen] {V} as mayor [on {wd}|in the second round].",
            "The mayor's office in {P} goes to {V}, [who ran without a party|a former teacher].",
            "In {P}, {V} [will move|moves] into the mayor's office [in {month}|within {n} days].",
            "A margin of {big} votes [made|was enough to make] {V} mayor of {P}.",
            "{P} will be [governed|run] by {V}, its [freshly elected|newly elected] mayor.",
            "All {n} districts had been counted when {V} was declared mayor of {P}.",
        ),
        change=(
            "{V} [defeated|beat|unseated] {old}, mayor of {P} until now.",
            "{old} conceded and congratulated {V}, the new mayor of {P}.",
        ),
        asks=("Who is the new mayor of {P}?", "Who won the vote in {P}?", "Who will move into the town hall of {P}?"),
        questions=(
            "Who was elected mayor of {P}?",
            "What is the name of the mayor of {P}?",
            "Which candidate won the mayoral election in {P}?",
            "{P} has a new mayor. Who is it?",
        ),
        false_premise="How large was the majority with which {wrong} became mayor of {P}?",
        contexts=(
            "Turnout was {pct} per cent, [higher|lower] than at the last vote.",
            "The [campaign|contest] had been about [rents|the bypass|school meals] and little else.",
            "{v} [spoke|thanked helpers] from the steps of the town hall [before going home|in light rain].",
            "Polling stations [closed|shut] at {time} after a [quiet|busy] day.",
            "The first [task|duty] will be a budget of {money}.",
        ),
    ),
    Kind(
        name="coach",
        domain="sport",
        value_type="person",
        subject=_club,
        noun="the new head coach of {S}",
        standing="the head coach of {S}",
        voice="the club's chairman",
        headlines=(
            "{S} sign {V} as coach",
            "{V} takes the bench at {S}",
            "New coach in {P}: {V}",
            "{v} to train {S}",
            "{P} pins its hopes on {V}",
        ),
        statements=(
            "{S} [have hired|have signed] {V} as head coach.",
            "{V} [will coach|takes charge of] {S} until the end of next season.",
            "The players of {S} [met|shook hands with] {V}, their new head coach, [on {wd}|before training].",
            "{V} [signed|has signed] a contract for {years} years as head coach of {S}.",
            "On the bench of {S} there will be {V}, [a believer in hard running|known for calm].",
            "The club presented {V} as head coach of {S} [at {time}|in front of {n} reporters].",
            "It falls to {V}, as head coach, to lead {S} [out of trouble|into the next round].",
        ),
        change=(
            "{V} [replaces|follows] {old} as head coach of {S}.",
            "{S} [parted with|dismissed] {old} and turned to {V}, the new head coach.",
        ),
        asks=("Who is the new head coach of {S}?", "Who will train {S}?", "Whom did {S} sign as coach?"),
        questions=(
            "Who coaches {S}?",
            "What is the name of the head coach of {S}?",
            "Which coach was hired by {S}?",
            "{S} have a new head coach. Who is it?",
        ),
        false_premise="Why did {S} hire {wrong} as head coach?",
        contexts=(
            "The team had taken {n} points from the last ten [matches|rounds].",
            "{v} [watched|led] the first session [from the stand|with a whistle and a notebook].",
            "Season tickets [sold|went] faster on {wd} than in the whole of last {month}.",
            "The training ground by the {water} was [full|lined with {big} supporters].",
            "The [captain|goalkeeper] said the mood in the dressing room was [good|much better].",
        ),
    ),
    Kind(
        name="captain",
        domain="science",
        value_type="person",
        subject=_vessel,
        noun="the new captain of {S}",
        standing="the captain of {S}",
        voice="the shipping office",
        headlines=(
            "{V} to command {S}",
            "New captain for {S}: {V}",
            "{v} takes the bridge",
            "{P}: {S} has a captain",
            "{V} goes aboard",
        ),
        statements=(
            "{V} [has been given|was given] command of {S} [on {wd}|in {P}].",
            "The crew of {S} [welcomed|greeted] {V} as captain.",
            "Under the command of {V}, {S} will [leave|sail from] {P} in {month}.",
            "{V} [signed the ship's book|was entered in the register] as captain of {S}.",
            "When {S} next leaves port, {V} will be [its captain|on the bridge as captain].",
            "The captain's cabin of {S} now belongs to {V}.",
            "At {time} {V} was piped aboard {S} as [its captain|captain].",
        ),
        change=(
            "{V} [relieves|takes over from] {old} as captain of {S}.",
            "{old} went ashore for the last time and left {S} to {V}, the new captain.",
        ),
        asks=(
            "Who is the new captain of {S}?",
            "Who commands {S} from now on?",
            "Whom did the crew welcome as captain?",
        ),
        questions=(
            "Who is in command of {S}?",
            "What is the name of the captain of {S}?",
            "Which sailor was made captain of {S}?",
            "{S} has a new captain. Who is it?",
        ),
        false_premise="Since when has {wrong} been the new captain of {S}?",
        contexts=(
            "The ship carries a crew of {n} and was [refitted|repainted] {years} years ago.",
            "{v} first went to sea from {Q} [as a deck hand|at the age of seventeen].",
            "A [storm|cold front] is forecast along the coast, with [gusts|waves] that worry no one aboard.",
            "The ship's log [lists|counts] {big} voyages.",
            "Families [waved|stood] on the quay with {n} [umbrellas|paper flags].",
        ),
    ),
    Kind(
        name="record",
        domain="sport",
        value_type="person",
        subject=_discipline,
        noun="the new holder of {S} of Brannmark",
        standing="the holder of {S} of Brannmark",
        voice="the athletics federation",
        headlines=(
            "{V} breaks {S}",
            "Record for {V} in {P}",
            "{S} falls to {V}",
            "{v} rewrites the book in {P}",
            "A mark for the ages: {V}",
        ),
        statements=(
            "{V} [broke|has broken] {S} of Brannmark [in {P}|on {wd} in {P}].",
            "{S} of Brannmark [belongs|now belongs] to {V}.",
            "At the meeting in {P}, {V} set a [new|fresh] best mark and took {S} of Brannmark.",
            "The judges in {P} [measured twice|checked the clock twice] before giving {S} of Brannmark to {V}.",
            "{V} [improved|bettered] {S} of Brannmark [by a clear margin|at the first attempt].",
            "Next to {S} of Brannmark, the lists now carry the name of {V}.",
            "{S} of Brannmark was [due to fall|ripe], and {V} was the one who [took it|brought it down].",
        ),
        change=(
            "{V} [took|wrested] {S} of Brannmark from {old}.",
            "The mark of {old} is history: {S} of Brannmark is held by {V}.",
        ),
        asks=(
            "Who is the new holder of {S} of Brannmark?",
            "Who broke {S} in {P}?",
            "Which name now stands next to {S}?",
        ),
        questions=(
            "Who holds {S} of Brannmark?",
            "What is the name of the athlete who set {S} of Brannmark?",
            "Which athlete has {S} of Brannmark?",
            "{S} of Brannmark was broken. By whom?",
        ),
        false_premise="How did {wrong} break {S} of Brannmark?",
        contexts=(
            "The [track|arena] in {P} was renewed {years} years ago and is said to be [fast|fair].",
            "{v} trains [{n} hours a week|before work] [in {Q}|by the {water}].",
            "Wind readings were [within the rules|checked {n} times].",
            "The federation will [ratify|confirm] the mark in {month}.",
            "{big} spectators [rose|stood] when the board lit up.",
        ),
    ),
    Kind(
        name="prize",
        domain="culture",
        value_type="person",
        subject=_prize,
        noun="this year's winner of {S}",
        standing="",
        voice="the jury",
        headlines=(
            "{V} wins {S}",
            "{S} goes to {V}",
            "Jury honours {V}",
            "{v} receives {S}",
            "A prize for {V}",
        ),
        statements=(
            "{S} [goes|was awarded] to {V}.",
            "{V} [has won|won] {S}, [worth|which comes with] {money}.",
            "The jury [awarded|gave] {S} to {V} [for the work of {years} years|without a vote against].",
            "{V} will [receive|collect] {S} [in {P}|at a ceremony in {P}] in {month}.",
            "Among {n} [nominees|names on the list], the jury [chose|preferred] {V} for {S}.",
            "The gold medal of {S} will be [handed|presented] to {V}.",
            "For {field}, the year belongs to {V}, who [takes|carries home] {S}.",
        ),
        change=(),
        asks=("Who is this year's winner of {S}?", "To whom did the jury award {S}?", "Who will collect {S} in {P}?"),
        questions=(
            "Who won {S}?",
            "What is the name of the winner of {S}?",
            "Which person received {S} this year?",
            "{S} has been awarded. Who got it?",
        ),
        false_premise="For which work did {wrong} win {S}?",
        contexts=(
            "The prize was [founded|first given] {years} years ago by a [family of printers|merchant from {Q}].",
            "{v} [was in the laboratory|was on a train to {Q}] when the telephone rang.",
            "The jury praised [clarity|courage] and [care|wit] in a statement of {n} lines.",
            "Past winners have [often gone on|rarely gone on] to greater things.",
            "The [laudatory speech|laudation] will be given by a former winner from {Q}.",
        ),
    ),
    Kind(
        name="race",
        domain="sport",
        value_type="person",
        subject=_race,
        noun="the winner of {S}",
        standing="",
        voice="the race office",
        headlines=(
            "{V} wins {S}",
            "{S}: victory for {V}",
            "{v} first in {P}",
            "Triumph for {V} at {S}",
            "{P} cheers {V}",
        ),
        statements=(
            "{V} [won|has won] {S} [on {wd}|in front of {big} spectators].",
            "First place at {S} [went|goes] to {V}.",
            "{S} ended with a [clear|narrow] victory for {V}.",
            "At {S}, {V} [left all rivals behind|was too strong for a field of {n}].",
            "The laurel wreath of {S} [went|was handed] to {V}.",
            "After {n} [hard|long] hours, {V} [came out on top|stood highest] at {S}.",
            "{V} [took the lead early|waited until the end] and [won|decided] {S}.",
        ),
        change=(),
        asks=("Who is the winner of {S}?", "Who took first place at {S}?", "Whose victory did {P} celebrate?"),
        questions=(
            "Who won {S}?",
            "What is the name of the winner of {S}?",
            "Which competitor came first at {S}?",
            "{S} is over. Who won it?",
        ),
        false_premise="By what margin did {wrong} win {S}?",
        contexts=(
            "The field of {n} had come from {big} kilometres around.",
            "{v} had [finished fourth|dropped out] last year and [trained through the winter|changed coach since].",
            "Second and third place went to competitors from {Q}.",
            "The [course|setting] by the {water} was in [good|perfect] condition.",
            "Prize money of {money} was [shared out|paid] [on the spot|by cheque].",
        ),
    ),
)
