"""robots.txt: the rules of RFC 9309, the cache, and the fetcher that obeys them."""

import httpx
import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.interruption import Interruption
from clet.sources.web import robots
from clet.sources.web.fetch import Fetcher
from clet.sources.web.page import Manners
from clet.sources.web.politeness import Turns
from clet.sources.web.robots import Robots, parse_rules, product_token


@pytest.mark.parametrize(
    ("agent", "token"),
    [
        ("clet/0.1.0", "clet"),
        ("News-Bot (bot@example.org)", "news-bot"),
        ("Jo Doe jo@example.org", "jo"),
        ("", ""),
        ("1", ""),
    ],
)
def test_the_product_token_is_the_name_that_the_user_agent_begins_with(agent, token):
    assert product_token(agent) == token


@pytest.mark.parametrize(
    ("text", "path", "allowed"),
    [
        ("", "/x", True),
        ("User-agent: *\nDisallow: /", "/x", False),
        ("User-agent: *\nDisallow:", "/x", True),
        ("User-agent: *\nDisallow: /\nAllow: /x", "/x/y", True),
        ("User-agent: *\nAllow: /x\nDisallow: /x/y", "/x/y", False),  # the longest match wins
        ("User-agent: *\nDisallow: /x\nAllow: /x", "/x", True),  # of equals the one that allows
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf", False),
        ("User-agent: *\nDisallow: /*.pdf$", "/a/b.pdf?x", True),
        ("User-agent: *\nDisallow: /a%3Cb", "/a<b", False),
        ("User-agent: *\nDisallow: /", "/robots.txt", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: clet\nDisallow: /y", "/x", True),  # the own group alone counts
        ("User-agent: CLET\nDisallow: /x", "/x", False),
        ("User-agent: clet/2.0\nDisallow: /x", "/x", False),
        ("User-agent: cletter\nDisallow: /x", "/x", True),
        ("User-agent: cl\nDisallow: /x", "/x", True),
        ("User-agent: clet\nDisallow: /x\n\nUser-agent: o\nDisallow:\n\nUser-agent: clet\nDisallow: /y", "/x", False),
        ("User-agent: clet\nDisallow: /x\n\nUser-agent: o\nDisallow:\n\nUser-agent: clet\nDisallow: /y", "/y", False),
        ("User-agent: other\nUser-agent: clet\nUser-agent: third\nDisallow: /x", "/x", False),
        ("User-agent: clet\nSitemap: http://x/\nUser-agent: other\nDisallow: /x", "/x", False),
        ("User-agent: other\nDisallow: /x", "/x", True),
        ("\ufeffUser-agent: *\r\nDisallow: /x # why\r\n", "/x", False),
        ("user agent *\ndissallow /x", "/x", False),
        ("Disallow: /", "/x", True),  # of no group
        ("<html><body>User-agent: *<br>Disallow: /</body></html>", "/x", True),
    ],
)
def test_rules_are_read_as_the_standard_says(text, path, allowed):
    rules, _ = parse_rules(text, "clet")
    assert rules.can_fetch(f"http://a.example{path}", "clet") is allowed


def test_crawl_delays_are_those_of_the_own_group():
    rules, _ = parse_rules("User-agent: *\nCrawl-delay: 9\n\nUser-agent: clet\nCrawl-delay: 2.5", "clet")
    assert rules.crawl_delay("clet") == 2.5


def test_a_file_of_many_robots_and_many_rules_does_not_make_their_product():
    agents = "".join(f"User-agent: bot{number}\n" for number in range(15_000))
    paths = "".join(f"Disallow: /{number}\n" for number in range(15_000))
    rules, number = parse_rules(f"{agents}{paths}\nUser-agent: clet\nDisallow: /x", "clet")
    assert number == 1
    assert not rules.can_fetch("http://a.example/x", "clet")
    assert len(rules._user_agents) == 1


# ---- the cache


class Files:
    """What hosts have as robots.txt; a SourceFailed is raised. `asked` lists the URLs."""

    def __init__(self):
        self.texts, self.asked, self.now = {}, [], 0.0
        self.robots = Robots("clet", self.fetch, Turns(1, Interruption()), lambda: self.now)

    def fetch(self, url):
        self.asked.append(url)
        text = self.texts.get(url)
        if isinstance(text, SourceFailed):
            raise text
        return text

    def check(self, url):
        return self.robots.check(httpx.URL(url))


@pytest.fixture
def files():
    return Files()


def test_a_file_is_asked_for_once_a_day_for_each_scheme_host_and_port(files):
    files.texts["http://a.example:80/robots.txt"] = "User-agent: *\nDisallow: /x\nCrawl-delay: 3"
    for _ in range(3):
        assert files.check("http://a.example/y") == 3.0
        with pytest.raises(SourceFailed, match=r"robots.txt of a.example disallows it; --ignore-robots, or robots ="):
            files.check("http://a.example:80/x")
    assert files.check("https://a.example/x") is None
    assert files.check("http://a.example:8080/x") is None
    assert files.asked == [
        "http://a.example:80/robots.txt",
        "https://a.example:443/robots.txt",
        "http://a.example:8080/robots.txt",
    ]
    files.now = robots.KEPT_S + 1
    files.texts.clear()
    assert files.check("http://a.example/x") is None
    assert len(files.asked) == 4


def test_where_the_file_cannot_be_had_nothing_is_allowed_and_it_is_asked_for_again_soon(files):
    files.texts["http://a.example:80/robots.txt"] = SourceFailed("why", unreachable=True, retry_s=5.0)
    for _ in range(2):
        with pytest.raises(SourceFailed, match="why") as failure:
            files.check("http://a.example/x")
        assert (failure.value.unreachable, failure.value.retry_s) == (True, 5.0)
    assert len(files.asked) == 1
    files.now = robots.RETRY_S + 1
    files.texts.clear()
    assert files.check("http://a.example/x") is None


def test_an_old_copy_holds_while_no_new_one_can_be_had(files):
    files.texts["http://a.example:80/robots.txt"] = "User-agent: *\nDisallow: /x"
    assert files.check("http://a.example/y") is None
    files.texts["http://a.example:80/robots.txt"] = SourceFailed("why", unreachable=True)
    files.now = robots.KEPT_S + 1
    assert files.check("http://a.example/y") is None
    with pytest.raises(SourceFailed, match="disallows it"):
        files.check("http://a.example/x")
    assert len(files.asked) == 2


def test_the_cache_is_bounded_in_hosts_and_in_rules(files, monkeypatch):
    monkeypatch.setattr(robots, "MAX_ORIGINS", 5)
    for number in range(9):
        files.check(f"http://host{number}.example/")
    assert len(files.robots._known) == 5
    monkeypatch.setattr(robots, "MAX_RULES", 10)
    for number in range(9):
        files.texts[f"http://more{number}.example:80/robots.txt"] = "User-agent: *\n" + "Disallow: /x\n" * 4
        files.check(f"http://more{number}.example/")
    assert len(files.robots._known) == 2
    assert files.robots._num_rules == 8


# ---- the fetcher


def test_what_is_disallowed_is_not_asked_for(web, fetcher):
    web.routes["/robots.txt"] = 200, {}, b"User-agent: *\nDisallow: /private\n\nUser-agent: tests\nDisallow: /x?"
    web.routes["/private"] = 200, {}, b"y"
    with pytest.raises(SourceFailed, match=r"robots.txt of 127.0.0.1 disallows it") as failure:
        fetcher().get(f"{web.url}/x?y=1", {})
    assert not failure.value.unreachable
    assert web.requests == []
    assert web.robots[0][1]["User-Agent"] == "tests"
    assert fetcher().get(f"{web.url}/private", {}).body == b"y"


def test_every_hop_of_a_redirect_is_looked_up(web, fetcher):
    web.routes |= {
        "/robots.txt": lambda handler: (
            200,
            {},
            b"User-agent: *\nDisallow: /"
            if "localhost" in handler.headers["Host"]
            else b"User-agent: *\nDisallow: /no",
        ),
        "/there": (302, {"Location": f"http://localhost:{web.port}/x"}, b""),
        "/here": (302, {"Location": "/no"}, b""),
    }
    for path, host in (("/there", "localhost"), ("/here", "127.0.0.1")):
        with pytest.raises(SourceFailed, match=f"robots.txt of {host} disallows it"):
            fetcher().get(web.url + path, {})
    assert [path for path, _ in web.requests] == ["/there", "/here"]


def test_it_can_be_overridden(web, fetcher):
    web.routes |= {"/robots.txt": (200, {}, b"User-agent: *\nDisallow: /"), "/": (200, {}, b"x")}
    assert fetcher().get(web.url, {}, Manners(robots=False)).body == b"x"
    assert web.robots == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
def test_a_client_error_means_that_there_are_no_rules(web, fetcher, status):
    web.routes |= {"/robots.txt": (status, {}, b"User-agent: *\nDisallow: /"), "/": (200, {}, b"x")}
    assert fetcher().get(web.url, {}).body == b"x"


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_error_means_that_nothing_is_allowed(web, fetcher, status):
    web.routes |= {"/robots.txt": (status, {}, b""), "/": (200, {}, b"x")}
    with pytest.raises(SourceFailed, match=rf"robots.txt of 127.0.0.1 cannot be read \(HTTP {status}\)") as failure:
        fetcher(tries=2).get(web.url, {})
    assert failure.value.unreachable
    assert web.requests == []


def test_a_connection_that_breaks_means_that_nothing_is_allowed(web, fetcher):
    web.routes |= {"/robots.txt": lambda handler: None, "/": (200, {}, b"x")}
    with pytest.raises(SourceFailed, match=r"robots.txt: Server disconnected") as failure:
        fetcher(tries=2).get(web.url, {})
    assert failure.value.unreachable
    assert web.requests == []


def test_redirects_of_the_file_are_followed_and_too_many_mean_no_rules(web, fetcher):
    web.routes |= {
        "/robots.txt": (301, {"Location": f"http://localhost:{web.port}/elsewhere"}, b""),
        "/elsewhere": (200, {}, b"User-agent: *\nDisallow: /"),
        "/": (200, {}, b"x"),
    }
    with pytest.raises(SourceFailed, match=r"robots.txt of 127.0.0.1 disallows it"):
        fetcher().get(web.url, {})
    web.routes["/robots.txt"] = 301, {"Location": "/robots.txt"}, b""
    assert fetcher().get(web.url, {}).body == b"x"


def test_only_the_first_500_kib_of_the_file_count(web, fetcher):
    rules = b"User-agent: *\nDisallow: /no\n"
    body = rules + b"#" * (robots.MAX_BYTES - len(rules) - 12) + b"\nDisallow: /yes\n" + b"x" * 3_000_000
    assert body[: robots.MAX_BYTES].endswith(b"Disallow: /")
    web.routes |= {"/robots.txt": (200, {}, body), "/yes": (200, {}, b"x")}
    asking = fetcher()
    assert asking.get(f"{web.url}/yes", {}).body == b"x"
    with pytest.raises(SourceFailed, match="disallows it"):
        asking.get(f"{web.url}/no", {})


def test_a_crawl_delay_is_kept(web, fetcher, patience):
    web.routes |= {"/robots.txt": (200, {}, b"User-agent: *\nCrawl-delay: 7"), "/": (200, {}, b"x")}
    asking = fetcher()
    asking.get(web.url, {})
    asking.get(web.url, {})
    assert patience.slept == pytest.approx([7.0, 7.0], abs=0.5)


def test_an_own_name_is_obeyed_under(web, patience):
    web.routes |= {"/robots.txt": (200, {}, b"User-agent: News-Bot\nDisallow: /"), "/": (200, {}, b"x")}
    with pytest.raises(SourceFailed, match="disallows it"):
        Fetcher("News-Bot/2 (bot@example.org)", allow_private=True, interruption=patience).get(web.url, {})
