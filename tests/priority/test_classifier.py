"""The hashed classifier: it learns, is calibrated, is the same under one seed, and its file is checked."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clet import seeds
from clet.batch import Batch, Ragged
from clet.commands import judge_fit
from clet.container import Kind, end_frame, pack_frame
from clet.exits import InputError, UsageError
from clet.priority import fitting
from clet.priority.classifier import SLOTS, Model, pair, sigmoid, single, value_of
from clet.priority.fitting import auc, calibration_error, fit_batches, platt
from clet.priority.quality import FLOOR, QualityTables
from clet.priority.synthetic import STRENGTH, threshold, weight
from clet.priority.textstats import Scratch, Stat, measure, word_keys

GOOD = "council bridge river repair town people mayor winter school letter".split()  # noqa: SIM905
BAD = "casino bonus click cheap loan winner free offer pills credit".split()  # noqa: SIM905
SCRATCH = Scratch()


def documents(name: str, count: int, purity: float = 0.8, words: int = 40) -> list[str]:
    """Texts of which a share `purity` of words is from the list of their own kind."""
    random = seeds.python_random(7, name)
    own, other = (GOOD, BAD) if name.startswith("good") else (BAD, GOOD)
    return [
        " ".join(random.choice(own if random.random() < purity else other) for _ in range(words)) for _ in range(count)
    ]


def batch_of(texts: list[str]) -> Batch:
    column = Ragged.from_bytes([text.encode() for text in texts])
    return Batch(Ragged.from_bytes([b"{}" for _ in texts]), column, np.ones(len(texts), np.uint8))


def fitted(kind: str = "quality", seed: int = 3, purity: float = 0.8, count: int = 400) -> Model:
    sources = [([batch_of(documents("good", count, purity))], 1), ([batch_of(documents("bad", count, purity))], 0)]
    return fit_batches(sources, kind=kind, seed=seed).model


def probability(model: Model, texts: list[str]) -> np.ndarray:
    stats, sums = measure(batch_of(texts), SCRATCH, weights=model.weights[None])
    return model.probability(sums[:, 0], stats[:, Stat.UNITS])


def test_unseen_texts_are_told_apart():
    model = fitted()
    good, bad = probability(model, documents("good new", 200)), probability(model, documents("bad new", 200))
    assert auc(np.concatenate((good, bad)), np.repeat([1, 0], 200)) > 0.99
    assert model.about["auc"] > 0.99


def test_probabilities_mean_what_they_say():
    model = fitted(purity=0.55, count=1500)
    good, bad = (probability(model, documents(f"{kind} new", 1500, 0.55)) for kind in ("good", "bad"))
    scores, labels = np.concatenate((good, bad)), np.repeat([1, 0], 1500)
    assert 0.7 < auc(scores, labels) < 0.95  # not a case in which 0 and 1 are right
    assert calibration_error(scores, labels) < 0.06
    assert abs(model.about["calibration_error"] - calibration_error(scores, labels)) < 0.08


def test_one_seed_gives_one_file_bit_for_bit_and_another_seed_another(tmp_path):
    bodies = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        fitted(seed=seed).save(str(tmp_path / name))
        bodies.append((tmp_path / name).read_bytes())
    assert bodies[0] == bodies[1] != bodies[2]


def test_a_model_survives_its_file(tmp_path):
    model = fitted()
    model.save(str(tmp_path / "m"))
    read = Model.load(tmp_path / "m", "quality")
    texts = documents("good new", 20)
    assert np.array_equal(probability(read, texts), probability(model, texts))
    assert read.about == model.about
    assert (tmp_path / "m").stat().st_size < 4 << 20


def frame(info: dict | None = None, weights: np.ndarray | None = None, kind: Kind = Kind.MODEL) -> bytes:
    numbers = {"scale": 1.0, "bias": 0.0, "slope": 1.0, "offset": 0.0, "about": {"threshold": 0.5}}
    named = {"model": "quality", "features": "words-1", **numbers} | (info or {})
    return pack_frame(kind, named, {"weights": np.zeros(SLOTS, np.int16) if weights is None else weights})


@pytest.mark.parametrize(("body", "message"), [
    (b"", "truncated"),
    (frame() + frame() + end_frame(2), "not one frame"),
    (frame(), "truncated"),
    (frame()[:-9], "truncated"),
    (frame(weights=np.zeros(8, np.int16)) + end_frame(1), "weights"),
    (frame(weights=np.zeros(SLOTS, np.float32)) + end_frame(1), "weights"),
    (frame(kind=Kind.JOURNAL) + end_frame(1), "weights"),
    (frame({"scale": None}) + end_frame(1), "not a model"),
    (frame({"bias": "1e999"}) + end_frame(1), "finite"),
    (frame({"about": []}) + end_frame(1), "not a model"),
    (frame({"features": "words-0"}) + end_frame(1), "fit again"),
    (frame({"model": "synthetic"}) + end_frame(1), "kind synthetic"),
], ids=str)  # fmt: skip
def test_a_file_that_is_no_model_is_refused_in_one_line(tmp_path, body, message):
    (tmp_path / "m").write_bytes(body)
    with pytest.raises(InputError, match=message) as caught:
        Model.load(tmp_path / "m", "quality")
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_anywhere_is_found(tmp_path):
    fitted().save(str(tmp_path / "m"))
    body = bytearray((tmp_path / "m").read_bytes())
    for at in np.linspace(0, len(body) - 1, 40).astype(int):
        body[at] ^= 4
        (tmp_path / "m").write_bytes(body)
        with pytest.raises(InputError):
            Model.load(tmp_path / "m", "quality")
        body[at] ^= 4


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["a", "b,", "c.", "d-e", "\u00e9"]), max_size=30), st.integers(1, 12))
def test_sums_are_those_of_the_words_and_pairs(words, most):
    text = " ".join(words)
    weights = np.arange(SLOTS).astype(np.int16)
    stats, sums = measure(batch_of([text]), SCRATCH, weights=weights[None])
    keys = word_keys(batch_of([text, "z"]), SCRATCH, most=1000)[0]
    slots = [single(key) for key in keys] + [pair(a, b) for a, b in pairwise(keys)]
    assert sums[0, 0] == sum(int(weights[int(slot)]) for slot in slots)
    assert len(keys) == stats[0, Stat.UNITS]
    assert np.array_equal(word_keys(batch_of([text]), SCRATCH, most=most)[0], keys[:most])


def test_more_text_is_more_evidence_up_to_a_point():
    sums, units = np.array([10.0, 1000.0, 1e6]), np.array([5.0, 500.0, 500_000.0])
    values = value_of(sums, units)
    assert values[0] < values[1]
    assert values[2] == pytest.approx(1e6 / (1e6 - 1) * np.sqrt(8192))


def test_area_under_the_curve_equals_the_count_of_pairs():
    scores, labels = np.array([0.1, 0.4, 0.4, 0.8, 0.9]), np.array([0, 1, 0, 1, 0])
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[labels == 1] for b in scores[labels == 0]]
    assert auc(scores, labels) == pytest.approx(np.mean(pairs))


def test_platt_finds_the_sigmoid_that_made_the_labels():
    generator = seeds.numpy_generator(1, "platt")
    values = generator.normal(0, 2, 40_000)
    labels = (generator.random(40_000) < sigmoid(1.5 * values)).astype(int)
    slope, offset = platt(values, labels)
    assert (slope, offset) == (pytest.approx(1.5, abs=0.06), pytest.approx(0, abs=0.06))


def test_examples_of_one_kind_or_too_few_are_refused():
    for good, bad in ((100, 0), (0, 100), (100, 5)):
        with pytest.raises(InputError, match="at least 20"):
            fit_batches(
                [([batch_of(documents("good", good))], 1), ([batch_of(documents("bad", bad))], 0)],
                kind="quality",
                seed=1,
            )


def test_copies_of_a_document_are_never_on_both_sides_of_the_split(monkeypatch):
    seen = {}
    real = fitting._epoch

    def spy(slots, offsets, labels, order, *rest):
        seen["trained"] = {tuple(slots[offsets[row] : offsets[row + 1]]) for row in order}
        seen["all"] = [tuple(slots[a:b]) for a, b in pairwise(offsets)]
        seen["count"] = len(order)
        return real(slots, offsets, labels, order, *rest)

    monkeypatch.setattr(fitting, "_epoch", spy)
    good, bad = documents("good", 200), documents("bad", 200)
    fit_batches([([batch_of(good + good)], 1), ([batch_of(bad + bad)], 0)], kind="quality", seed=1)
    assert seen["count"] == sum(row in seen["trained"] for row in seen["all"])


# ---- in the verdict


def test_a_classifier_moves_the_score_and_a_synthetic_model_does_not(record):
    text = "The council of the town met and the people have asked for a repair of the bridge. " * 1
    text += "It was said that they will be sent a letter in the winter, with the names of all schools."
    batch = Batch.from_records([record(text)])
    plain = QualityTables.of().judge(batch)
    model, machine = fitted(), fitted("synthetic")
    judged = QualityTables.of(classifier=model, synthetic=machine).judge(batch)
    assert np.isnan(plain.good[0]) and np.isnan(plain.synthetic[0])
    assert 0 < judged.good[0] < 1
    assert judged.synthetic[0] == pytest.approx(1 - judged.good[0], abs=1e-6)  # the same texts taught both
    assert judged.score[0] == pytest.approx(plain.score[0] * (FLOOR + (1 - FLOOR) * judged.good[0]), rel=1e-5)
    assert np.isnan(QualityTables.of(synthetic=machine).judge(batch).good[0])


def test_models_do_not_judge_source_code(record):
    source = "".join(f"def f{i}(x):\n    return x + {i}\n\n" for i in range(30))
    batch = Batch.from_records([record(source, source="git", meta={"path": "a.py"})])
    assert np.isnan(QualityTables.of(classifier=fitted()).judge(batch).good[0])


def test_the_weight_of_synthetic_text_is_bounded_and_absent_without_a_model():
    likelihood = np.array([0.0, 0.5, 0.9, 1.0, np.nan])
    weights = weight(likelihood, 0.8)
    assert weights.tolist() == pytest.approx([1, 1, 1 - STRENGTH / 2, 1 - STRENGTH, 1])
    assert weight(np.array([1.0]), 1.0)[0] == 1


def test_hardly_a_text_by_people_loses_weight():
    people = np.linspace(0, 1, 1001)
    assert (weight(people, threshold(people)) < 1).mean() <= 0.01


# ---- the command


def write(path, texts, record):
    path.write_bytes(b"".join(orjson.dumps(record(text)) + b"\n" for text in texts))
    return str(path)


def test_fit_writes_a_model_and_says_what_it_is_worth(tmp_path, record, capfdbinary):
    good, bad = (write(tmp_path / name, documents(name, 150), record) for name in ("good", "bad"))
    out = str(tmp_path / "model")
    assert judge_fit.fit(good=[good], bad=[bad], output=out, seed=5) == 0
    said = orjson.loads(capfdbinary.readouterr().out)
    assert (said["good"], said["bad"], said["kind"], said["seed"]) == (150, 150, "quality", 5)
    assert Model.load(out, "quality").about["auc"] == said["auc"] > 0.9


def test_fit_refuses_an_unknown_kind_and_examples_of_one_class(tmp_path, record):
    good = write(tmp_path / "good", documents("good", 50), record)
    with pytest.raises(UsageError, match="quality and synthetic"):
        judge_fit.fit(good=[good], bad=[good], output=str(tmp_path / "m"), kind="nice")
    empty = write(tmp_path / "empty", [], record)
    with pytest.raises(InputError, match="0 bad documents"):
        judge_fit.fit(good=[good], bad=[empty], output=str(tmp_path / "m"))
    assert not (tmp_path / "m").exists()
