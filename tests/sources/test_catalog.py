"""The sources file: what it may say, from where paths are meant, and how a mistake is told."""

import pytest

from clet.exits import ConfigError
from clet.sources.adapter import Options
from clet.sources.catalog import duration, read_catalog


@pytest.fixture
def catalog(tmp_path):
    def make(text, **options):
        path = tmp_path / "sources.toml"
        path.write_text(text)
        return read_catalog(path, Options(**options))

    return make


def test_a_source_takes_what_is_said_of_it_the_defaults_and_the_flags(catalog):
    first, second = catalog(
        """
        [defaults]
        interval = "15m"
        scrub = ["pii"]
        [[source]]
        name = "lwn"
        url = "feed:https://lwn.net/headlines/rss"
        trust = 0.8
        license = "CC-BY-SA-4.0"
        tags = ["linux", "news"]
        interval = 90
        full-text = true
        [[source]]
        adapter = "arxiv"
        url = "https://oaipmh.arxiv.org/oai?set=cs"
        delay = "5s"
        robots = false
        """,
        extract="precise",
    )
    assert (first.adapter, first.locator, first.name) == ("feed", "https://lwn.net/headlines/rss", "lwn")
    assert first.interval_s == 90
    assert first.options == Options(
        label="lwn",
        trust=0.8,
        license="CC-BY-SA-4.0",
        tags=("linux", "news"),
        full_text=True,
        extract="precise",
        scrub=frozenset({"pii"}),
    )
    assert (second.name, second.interval_s) == ("arxiv:https://oaipmh.arxiv.org/oai?set=cs", 900)
    assert (second.options.delay_s, second.options.robots) == (5.0, False)


def test_paths_are_meant_from_the_folder_of_the_file(catalog, tmp_path):
    (source,) = catalog('[[source]]\nurl = "jsonl:news/*.jsonl"')
    assert source.locator == str(tmp_path / "news/*.jsonl")
    (source,) = catalog('[[source]]\nurl = "jsonl:/abs/x.jsonl"')
    assert source.locator == "/abs/x.jsonl"
    (source,) = catalog('[[source]]\nurl = "git:git@host:path/repo"')
    assert source.locator == "git@host:path/repo"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[source]]\nurl = "feed:http://x"\nintervall = 5', "intervall: is unknown; known are"),
        ('[[source]]\nname = "a"\nurl = "feed:http://x"\ninterval = "soon"', "source 'a': interval: write seconds"),
        ('[[source]]\nurl = "feed:http://x"\ninterval = 0', "interval"),
        ('[[source]]\nurl = "feed:http://x"\ntrust = 2', "trust: write a number from 0 to 1"),
        ('[[source]]\nurl = "feed:http://x"\ntags = "a"', "tags: write a list"),
        ('[[source]]\nurl = "feed:http://x"\nscrub = ["all"]', "'all' is unknown"),
        ('[[source]]\nurl = "feed:http://x"\nextract = "best"', "fast, precise"),
        ('[[source]]\nurl = "feed:http://x"\nrobots = "no"', "true or false"),
        ('[[source]]\nurl = "http://x"', "not a source"),
        ('[[source]]\nurl = "nosuch:http://x"', "is no adapter"),
        ('[[source]]\nname = "a"', "needs url"),
        ('[[source]]\nurl = "jsonl:-"', "stdin"),
        ('[[source]]\nurl = "feed:http://x"\n[[source]]\nurl = "feed:http://x"', "named twice"),
        ('[[source]]\nname="a"\nurl = "feed:http://x"\n[[source]]\nname="a"\nurl = "feed:http://y"', "has this name"),
        ('[sources]\nurl = "feed:http://x"', "[sources] is unknown"),
        ('[defaults]\nurl = "feed:http://x"', "[defaults] cannot hold"),
        ("[[source]\n", "sources.toml"),
    ],
)
def test_a_mistake_is_told_with_its_place(catalog, text, words):
    with pytest.raises(ConfigError) as error:
        catalog(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_durations():
    assert [duration(value) for value in (90, 1.5, "90", "90s", "15m", "2h", "1d")] == [
        90,
        1.5,
        90,
        90,
        900,
        7200,
        86400,
    ]
    for wrong in ("", "x", -1, 0, True, None, "1w", "inf", "9999d", []):
        with pytest.raises(ValueError):
            duration(wrong)
