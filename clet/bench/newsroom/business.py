"""Event kinds of the business pages, whose answer is a company or an amount: takeovers, contracts, prices."""

from __future__ import annotations

from clet.bench.newsroom.names import TOWNS, Minter
from clet.bench.newsroom.phrases import Kind


def _company(mint: Minter) -> dict[str, str]:
    return {"S": mint.firm(), "P": mint.rng.choice(TOWNS)}


def _works(mint: Minter) -> dict[str, str]:
    place = mint.place()
    what = mint.rng.choice(("tunnel", "hospital wing", "tram depot", "sea wall", "waterworks", "bypass"))
    return {"S": f"the {place} {what}", "P": place}


def _tariff(mint: Minter) -> dict[str, str]:
    place = mint.rng.choice(TOWNS)
    item = mint.rng.choice(
        (
            "a tram day ticket",
            "a ferry crossing",
            "a rye loaf",
            "a zoo ticket",
            "a swimming pool ticket",
            "a library card",
            "a sack of coal",
            "a kilo of butter",
            "a cinema seat",
            "a hall ticket",
        )
    )
    return {"S": f"{item} in {place}", "P": place}


BUSINESS = (
    Kind(
        name="takeover",
        domain="business",
        value_type="firm",
        subject=_company,
        noun="the new owner of {S}",
        standing="the owner of {S}",
        voice="the management",
        headlines=(
            "{V} buys {S}",
            "{S} sold to {V}",
            "Takeover: {V} swallows {S}",
            "{P} firm {S} goes to {V}",
            "{V} strikes deal for {S}",
        ),
        statements=(
            "{V} [has bought|is buying] {S} for {money}.",
            "{S} [was sold|has been sold] to {V} [on {wd}|after {n} weeks of talks].",
            "The owners of {S} [accepted|agreed to] an offer from {V}.",
            "{V} [takes over|swallows] {S}, [which employs {big} people|founded {years} years ago].",
            "{S} will [in future belong|soon belong] to {V}.",
            "The purchase of {S} by {V} [was signed|became known] at {time}.",
            "For {V}, [buying|the purchase of] {S} is the largest deal in {years} years.",
        ),
        change=("{old} [sold|has sold] {S} to {V}, the new owner.", "{S} passes from {old} to its new owner, {V}."),
        asks=("Who is the new owner of {S}?", "Which company bought {S}?", "To whom was {S} sold?"),
        questions=(
            "Who owns {S}?",
            "What is the name of the company that took over {S}?",
            "Which buyer acquired {S}?",
            "{S} has a new owner. Which company is it?",
        ),
        false_premise="How much did {wrong} pay to take over {S}?",
        contexts=(
            "The plant in {P} [will stay open|is to be kept], {voice} promised.",
            "The buyer's head office in {Q} [would not comment|had no comment] on job cuts.",
            "Workers [gathered|met] at the gate at {time} to hear the news.",
            "The brand [is well known|has been popular] for its [yellow|green] lorries.",
            "Lawyers [had worked|sat] through {n} nights on a contract of {big} pages.",
        ),
    ),
    Kind(
        name="contract",
        domain="business",
        value_type="firm",
        subject=_works,
        noun="the company chosen to build {S}",
        standing="",
        voice="the building office",
        headlines=(
            "{V} to build {S}",
            "Contract for {S} goes to {V}",
            "{P} picks {V}",
            "{V} wins tender in {P}",
            "Building work: {V} gets the nod",
        ),
        statements=(
            "{V} [will build|is to build] {S} for {money}.",
            "The contract for {S} [goes|went] to {V}.",
            "{V} [won|has won] the tender for {S} [against {n} rivals|on {wd}].",
            "The building office [picked|selected] {V} to build {S}.",
            "Diggers of {V} will [roll|arrive] in {month} to start on {S}.",
            "{S} will be built by {V}, [the cheapest bidder|which offered the shortest schedule].",
            "A signature [at {time}|on {wd}] made {V} the builder of {S}.",
        ),
        change=(),
        asks=("Which company will build {S}?", "Who won the tender for {S}?", "Whose diggers will come to {P}?"),
        questions=(
            "Who was chosen to build {S}?",
            "What is the name of the company that builds {S}?",
            "Which builder got the contract for {S}?",
            "{S} is going to be built. By which company?",
        ),
        false_premise="When will {wrong} start to build {S}?",
        contexts=(
            "The work is to [take|last] {n} months and needs {big} lorry loads of gravel.",
            "Residents [fear|worry about] noise and dust [near the school|on the road to {Q}].",
            "An earlier tender had [failed|been annulled] {years} years ago.",
            "A penalty of {money} is due if the work is late.",
            "The plans [hang|are on show] in the town hall for {n} days.",
        ),
    ),
    Kind(
        name="price",
        domain="business",
        value_type="price",
        subject=_tariff,
        noun="the new price of {S}",
        standing="the price of {S}",
        voice="the price commission",
        headlines=(
            "{S} now costs {V}",
            "{V} for {S}",
            "{P}: new price is {V}",
            "Price change in {P}: {V}",
            "What you pay now: {V}",
        ),
        statements=(
            "{S} now costs {V}.",
            "The commission [set|fixed] the price of {S} at {V}.",
            "Anyone who buys {S} [pays|has to pay] {V} from {wd}.",
            "{V} is what {S} [costs|will cost] [from now on|until further notice].",
            "[At the counter|On the new price lists], {S} is [shown|marked] at {V}.",
            "The price of {S} was [set at|put at] {V} [after a vote|by {n} votes].",
            "For {S}, people must [find|lay out] {V}.",
        ),
        change=("The price of {S} [went|goes] from {old} to {V}.", "Instead of {old}, {S} now costs {V}."),
        asks=("What is the new price of {S}?", "How much does {S} cost now?", "What does one pay for {S}?"),
        questions=(
            "What is the price of {S}?",
            "How many crowns does {S} cost?",
            "At what price is {S} sold?",
            "The price of {S} has been set. What is it?",
        ),
        false_premise="Since when has {S} cost {wrong}?",
        contexts=(
            "Pensioners and pupils [pay half|get a rebate] on {wd}s.",
            "The commission [pointed to|blamed] higher wages and energy.",
            "Consumer groups in {Q} [called for|asked for] a yearly review.",
            "Vending machines will be [switched over|reset] [overnight|before the weekend].",
            "Price lists had not been [touched|changed] for {n} months.",
        ),
    ),
)
