"""The OpenAI API as a client sees it, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser

import httpx
import pytest

CHAT = "/v1/chat/completions"
MESSAGES = [{"role": "user", "content": "the quick brown fox"}]


def events(server, body: dict, path: str = "/v1/completions") -> list[dict]:
    """The chunks of a stream, which must end in [DONE]."""
    with server.client.stream("POST", path, json={"stream": True} | body) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line.removeprefix("data: ") for line in response.iter_lines() if line]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def test_completion_has_the_shape_and_exact_counts(server):
    answer = server.complete("the quick", max_tokens=9)
    served = server.deck.current.served
    assert answer["object"] == "text_completion" and answer["model"] == "tiny"
    assert answer["choices"][0]["finish_reason"] == "length"
    num_prompt = len(served.tokenizer.encode(["the quick"])[0])
    assert answer["usage"] == {
        "prompt_tokens": num_prompt,
        "completion_tokens": 9,
        "total_tokens": num_prompt + 9,
    }
    assert answer["system_fingerprint"] == served.mark


def test_streamed_chunks_concatenate_to_the_whole_answer(server):
    whole = server.complete(max_tokens=40)
    chunks = events(
        server,
        {"prompt": "the quick", "temperature": 0, "max_tokens": 40, "stream_options": {"include_usage": True}},
    )
    assert "".join(c["choices"][0]["text"] for c in chunks[:-1]) == whole["choices"][0]["text"]
    assert [c["choices"][0]["finish_reason"] for c in chunks[:-1]] == [None] * (len(chunks) - 2) + ["length"]
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"] == whole["usage"]
    assert all(c["usage"] is None for c in chunks[:-1])


def test_a_stream_without_the_option_has_no_usage(server):
    assert all("usage" not in chunk for chunk in events(server, {"prompt": "x", "max_tokens": 3}))


def test_chat_answers_whole_and_streamed_alike(server):
    body = {"messages": MESSAGES, "temperature": 0, "max_tokens": 20}
    whole = server.post(body, CHAT).json()
    chunks = events(server, body, CHAT)
    assert whole["object"] == "chat.completion" and chunks[0]["object"] == "chat.completion.chunk"
    assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
    streamed = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks)
    assert streamed == whole["choices"][0]["message"]["content"] != ""
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "length"


def test_a_chat_without_max_tokens_may_fill_the_context(server):
    usage = server.post({"messages": MESSAGES, "temperature": 0}, CHAT).json()["usage"]
    assert usage["total_tokens"] == 128


def test_characters_cut_by_token_borders_arrive_whole(server):
    # Only the bytes of one character may be chosen; each is a token of its own.
    tokenizer = server.deck.current.served.tokenizer
    allowed = tokenizer.encode(["\u0416"])[0].tolist()
    body = {"prompt": "x", "max_tokens": 60, "seed": 5, "logit_bias": {str(token): 100 for token in allowed}}
    parts = [chunk["choices"][0]["text"] for chunk in events(server, body)]
    whole = server.complete(**(body | {"temperature": 1.0}))["choices"][0]["text"]
    assert "".join(parts) == whole
    assert "\u0416" in whole and any("\u0416" in part for part in parts)


def test_a_stop_string_across_token_borders_ends_the_text_before_it(server):
    text = server.text(max_tokens=60)
    stop = text[9:16]
    for chunks in (None, events(server, {"prompt": "the quick", "temperature": 0, "max_tokens": 60, "stop": [stop]})):
        if chunks is None:
            choice = server.complete(max_tokens=60, stop=stop)["choices"][0]
            found, reason = choice["text"], choice["finish_reason"]
        else:
            found = "".join(c["choices"][0]["text"] for c in chunks)
            reason = chunks[-1]["choices"][0]["finish_reason"]
        assert found == text[: text.index(stop)] and reason == "stop"


def test_the_end_token_ends_the_answer_unless_ignored(server):
    body = {"prompt": "the", "logit_bias": {"0": 100}, "temperature": 0, "max_tokens": 4}
    ended = server.complete(**body)
    assert ended["choices"][0] == {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}
    assert ended["usage"]["completion_tokens"] == 1
    assert server.complete(ignore_eos=True, **body)["usage"]["completion_tokens"] == 4


def test_concurrent_requests_get_the_answers_they_get_alone(server):
    prompts = [f"the quick {word}" for word in ("fox", "dog", "news", "prices", "away", "today", "lazy", "over")]
    alone = [server.text(prompt) for prompt in prompts]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(server.text, prompts)) == alone


def test_prompts_in_a_batch_answer_in_order(server):
    prompts = ["the quick", "news of", "x"]
    answer = server.complete(prompts)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2]
    assert [choice["text"] for choice in answer["choices"]] == [server.text(prompt) for prompt in prompts]
    assert answer["usage"]["completion_tokens"] == 72


def test_token_ids_are_prompts_too(server):
    ids = server.deck.current.served.text_ids(["the quick", "news of"])
    assert server.text(ids[0]) == server.text("the quick")
    assert [c["text"] for c in server.complete(ids)["choices"]] == [server.text("the quick"), server.text("news of")]


def test_n_choices_differ_and_count_their_prompt_once(server):
    answer = server.complete("the quick", n=3, temperature=1.0, seed=11)
    assert len({choice["text"] for choice in answer["choices"]}) == 3
    assert answer["usage"]["prompt_tokens"] == server.complete("the quick")["usage"]["prompt_tokens"]
    streamed = {0: "", 1: "", 2: ""}
    for chunk in events(server, {"prompt": "the quick", "n": 3, "seed": 11, "max_tokens": 24}):
        streamed[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert streamed == {choice["index"]: choice["text"] for choice in answer["choices"]}


def test_a_seed_reproduces_and_without_one_answers_vary(server):
    settings = {"temperature": 1.0, "top_p": 0.95}
    assert server.text(seed=3, **settings) == server.text(seed=3, **settings) != server.text(seed=4, **settings)
    assert len({server.text(**settings) for _ in range(4)}) > 1


def test_echo_with_logprobs_scores_prompts_as_lm_eval_reads_them(server):
    ids = server.deck.current.served.text_ids(["the quick brown fox", "news of today"])
    body = {"prompt": ids, "max_tokens": 1, "logprobs": 1, "echo": True, "seed": 1234, "temperature": 0}
    answer = server.complete(**body)
    for choice, row in zip(answer["choices"], ids, strict=True):
        table = choice["logprobs"]
        values, tops = table["token_logprobs"], table["top_logprobs"]
        assert len(table["tokens"]) == len(values) == len(tops) == len(table["text_offset"]) == len(row) + 1
        assert values[0] is None and tops[0] is None
        assert all(name in top for name, top in zip(table["tokens"][1:], tops[1:], strict=True))
        assert all(value <= max(top.values()) for value, top in zip(values[1:], tops[1:], strict=True))
        assert values[-1] == max(tops[-1].values())  # the generated one was chosen greedily
        assert "".join(table["tokens"]) == choice["text"]
        parts = [choice["text"][at:] for at in table["text_offset"]]
        assert all(part.startswith(name) for part, name in zip(parts, table["tokens"], strict=True))


def test_echo_alone_repeats_the_prompt(server):
    assert server.text("the quick", echo=True, max_tokens=0) == "the quick"
    only = server.complete("the quick", echo=True, max_tokens=0, logprobs=0)
    assert len(only["choices"][0]["logprobs"]["tokens"]) == only["usage"]["prompt_tokens"]
    chunks = events(server, {"prompt": "the quick", "echo": True, "max_tokens": 5, "temperature": 0})
    streamed = "".join(chunk["choices"][0]["text"] for chunk in chunks)
    assert streamed == "the quick" + server.text("the quick", max_tokens=5)


def test_logprobs_of_an_answer_do_not_depend_on_streaming(server):
    body = {"prompt": "the quick", "max_tokens": 12, "logprobs": 2, "temperature": 0}
    whole = server.complete(**body)["choices"][0]["logprobs"]
    chunks = [chunk["choices"][0]["logprobs"] for chunk in events(server, body)]
    for name in whole:
        assert [item for chunk in chunks for item in chunk[name]] == whole[name]
    assert len(whole["tokens"]) == 12


def test_chat_logprobs_list_the_likeliest_first(server):
    body = {"messages": MESSAGES, "max_tokens": 3, "logprobs": True, "top_logprobs": 2, "temperature": 0}
    content = server.post(body, CHAT).json()["choices"][0]["logprobs"]["content"]
    assert len(content) == 3
    for entry in content:
        assert entry["top_logprobs"][0] == {name: entry[name] for name in ("token", "logprob", "bytes")}
        assert bytes(entry["bytes"]).decode() == entry["token"]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/v1/completions", [], 400, None),
        ("/v1/completions", {"prompt": 5}, 400, "prompt"),
        ("/v1/completions", {"prompt": [[1, "a"]]}, 400, "prompt"),
        ("/v1/completions", {"prompt": [10**6]}, 400, "prompt"),
        ("/v1/completions", {"prompt": ["a"] * 129}, 400, "n"),
        ("/v1/completions", {"temperature": "hot"}, 400, "temperature"),
        ("/v1/completions", {"temperature": -1}, 400, "temperature"),
        ("/v1/completions", {"max_tokens": -1}, 400, "max_tokens"),
        ("/v1/completions", {"max_tokens": True}, 400, "max_tokens"),
        ("/v1/completions", {"stop": [""]}, 400, "stop"),
        ("/v1/completions", {"logit_bias": {"x": 1}}, 400, "logit_bias"),
        ("/v1/completions", {"logit_bias": {"999999": 1}}, 400, None),
        ("/v1/completions", {"best_of": 4}, 400, "best_of"),
        ("/v1/completions", {"suffix": "end"}, 400, "suffix"),
        ("/v1/completions", {"stream_options": {"include_usage": True}}, 400, "stream_options"),
        ("/v1/completions", {"prompt": "a", "model": "gpt-9"}, 404, "model"),
        ("/v1/completions", {"prompt": "the quick " * 200}, 400, "max_tokens"),
        (CHAT, {}, 400, "messages"),
        (CHAT, {"messages": []}, 400, "messages"),
        (CHAT, {"messages": [{"role": "robot", "content": ""}]}, 400, "messages[0]"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content[0]"),
        (CHAT, {"messages": MESSAGES, "tools": [{"type": "function"}]}, 400, "tools"),
        (CHAT, {"messages": MESSAGES, "response_format": {"type": "json_object"}}, 400, "response_format"),
        (CHAT, {"messages": MESSAGES, "top_logprobs": 2}, 400, "top_logprobs"),
    ],
)
def test_a_wrong_request_is_answered_with_openais_error_object(server, path, body, status, param):
    response = server.post(body, path)
    error = response.json()["error"]
    assert response.status_code == status
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param and error["message"]


@pytest.mark.parametrize("kind", ["completions", "chat/completions"])
def test_a_hopelessly_long_text_is_refused_before_it_is_encoded(server, monkeypatch, kind):
    def encode(*_):
        raise AssertionError("encoded")

    monkeypatch.setattr("clet.tokens.Tokenizer.encode", encode)
    text = "a" * 1_000_000
    body = {"prompt": text} if kind == "completions" else {"messages": [{"role": "user", "content": text}]}
    response = server.post(body, f"/v1/{kind}")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")


def test_a_prompt_too_long_is_refused_with_the_numbers(server):
    error = server.post({"prompt": [5] * 120, "max_tokens": 20}).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert all(number in error["message"] for number in ("128", "120", "20"))


def test_unknown_fields_and_nulls_are_ignored(server):
    text = server.text()
    assert server.text(user="me", metadata={"a": 1}, nonsense=[1], stop=None, seed=None, tools=None) == text


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"prompt": "\xff"}', "application/json", 400),
        (b'{"prompt": "a"}', "text/plain", 415),
        (b" " * (17 << 20), "application/json", 413),
    ],
)
def test_bodies_that_are_no_request_are_refused(server, content, kind, status):
    response = server.client.post("/v1/completions", content=content, headers={"content-type": kind})
    assert response.status_code == status and "error" in response.json()


def test_other_paths_and_methods_have_the_error_object_too(server):
    assert server.client.get("/v1/nothing").status_code == 404
    assert server.client.get("/v1/completions").status_code == 405
    assert "message" in server.client.get("/v1/completions").json()["error"]


def test_models_are_listed_and_found_by_name(server):
    listed = server.client.get("/v1/models").json()
    assert [model["id"] for model in listed["data"]] == ["tiny"]
    assert server.client.get("/v1/models/tiny").json() == listed["data"][0]
    missing = server.client.get("/v1/models/other")
    assert missing.status_code == 404 and "tiny" in missing.json()["error"]["message"]


def test_no_cross_origin_headers_are_sent(server):
    response = server.client.get("/v1/models", headers={"origin": "https://elsewhere.example"})
    assert not any(name.startswith("access-control") for name in response.headers)


def test_health_and_metrics_tell_what_happened(server):
    server.complete()
    assert server.client.get("/health").json() == {"status": "ok", "release": "tiny"}
    lines = server.client.get("/metrics").text.splitlines()
    numbers = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert int(numbers['clet_requests_total{route="/v1/completions",status="200"}']) >= 1
    assert int(numbers["clet_generated_tokens_total"]) >= 24
    assert numbers["clet_slots"] == "4"


def test_the_queue_is_bounded_and_says_when_to_come_back(serve, model_dir, monkeypatch):
    server = serve(model_dir, max_batch=1)
    hidden, free = server.deck.current.served.model.hidden, threading.Event()

    def held(*args, **named):
        assert free.wait(30)
        return hidden(*args, **named)

    monkeypatch.setattr(server.deck.current.served.model, "hidden", held)
    with ThreadPoolExecutor(2) as pool:
        # The first fills the slot and, as one request of many, the whole queue.
        first = pool.submit(server.complete, ["the"] * 128, max_tokens=1)
        while (server.deck.current.num_running, server.deck.current.num_waiting) != (1, 127):
            assert not first.done()
        second = pool.submit(server.complete, ["the"], max_tokens=1)
        while server.deck.current.num_waiting < 128:
            assert not second.done()
        refused = server.post({"prompt": "x"})
        free.set()
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert len(first.result()["choices"]) == 128 and second.result()


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(serve, model_dir, monkeypatch, stream):
    server = serve(model_dir, max_batch=1, max_len=512)
    model, steps = server.deck.current.served.model, threading.Semaphore(5)
    hidden, metrics = model.hidden, server.deck.metrics

    def gated(*args, **named):
        assert steps.acquire(timeout=30)
        return hidden(*args, **named)

    monkeypatch.setattr(model, "hidden", gated)
    body = json.dumps({"prompt": "x", "max_tokens": 500, "stream": stream, "temperature": 0}).encode()
    host, port = server.url.removeprefix("http://").split(":")
    before = metrics.answer_tokens
    with socket.create_connection((host, int(port))) as raw:
        raw.sendall(
            b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body)
        )
        while metrics.answer_tokens < before + 5:
            assert server.client.get("/health").status_code == 200
    while not metrics.requests["/v1/completions", 499]:
        assert server.client.get("/health").status_code == 200
    steps.release(1000)
    assert server.complete(max_tokens=2)["usage"]["completion_tokens"] == 2
    assert metrics.answer_tokens <= before + 5 + 1 + 2  # at most the step that was under way


class Page(HTMLParser):
    """What a browser would fetch or run."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]


def test_the_status_page_shows_releases_escaped_and_needs_nothing_else(serve, run):
    run.release(3)
    facts = run.path / "releases" / "3" / "release.json"
    facts.write_text(facts.read_text().replace("2026-03-03T00:00:00Z", "<script>alert(1)</script>"))
    response = httpx.get(serve(run.path).url)
    page = Page(response.text)
    assert response.headers["content-security-policy"].startswith("default-src 'none'")
    assert not page.links and "script" not in page.tags and "table" in page.tags
    assert "&lt;script&gt;" in response.text
    assert "2026-03-01T00:00:00Z" in response.text  # the watermark of the live release
    assert "color-scheme: light dark" in response.text
