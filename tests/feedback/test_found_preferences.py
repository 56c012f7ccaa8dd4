"""Preferences as other programs hand them over: chats, prompts of several lengths, missing values, packed files."""

import gzip
import json
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf_lab.feedback import preference_files, preferences
from rlhf_lab.worlds.phrase_world import EOS, VOCAB, decode, encode

HOT = "is tea hot"


def found(tmp_path, *lines, name="p.jsonl", **options):
    path = tmp_path / name
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
    return preference_files.read(path, options.pop("encode", encode), 5, VOCAB, **options)


def texts(data):
    return [tuple(decode(row) for row in rows) for rows in zip(data.prompt, data.chosen, data.rejected, strict=True)]


def line(prompt=HOT, chosen=" yes", rejected=" no", **more):
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def said(text, role="assistant"):
    return {"role": role, "content": text}


CHAT = {"prompt": [said(HOT, "user")], "chosen": [said("yes")], "rejected": [said("no")]}


def test_null_is_no_tie(tmp_path):
    data = found(tmp_path, line(tie=None), line(chosen=" no", rejected=" yes", tie=True))
    assert data.tie.tolist() == [False, True]
    assert texts(data) == [(f"{HOT} …", "yes", "no"), (f"{HOT} …", "no", "yes")]


@pytest.mark.parametrize(
    ("value", "tie"), [(1.0, True), (0.0, False), ("tie", True), ("", False), (float("nan"), False)]
)
def test_ties_are_what_data_frames_make_of_them(tmp_path, value, tie):
    assert found(tmp_path, line(tie=value)).tie.tolist() == [tie]


def test_a_column_of_ties_stands_in_every_line_or_in_none(tmp_path):
    data = found(tmp_path, line(), line(tie=True))
    preference_files.write(tmp_path / "out", data, decode)
    rows = [json.loads(text) for text in (tmp_path / "out").read_text().splitlines()]
    assert [row["tie"] for row in rows] == [False, True]
    preference_files.write(tmp_path / "plain", data[~data.tie], decode)
    assert "tie" not in json.loads((tmp_path / "plain").read_text())


def test_a_prompt_that_stands_in_front_of_both_responses_is_read_once(tmp_path):
    data = found(tmp_path, line(chosen=f"{HOT} yes", rejected=f"{HOT} no"), line(chosen=HOT, rejected=f"{HOT}\nno"))
    assert texts(data) == [(f"{HOT} …", "yes", "no"), (f"{HOT} …", "", "no")]


def test_responses_that_repeat_the_prompt_in_some_lines_are_refused_unless_they_begin_with_a_space(tmp_path):
    repeats = line("is tea", "is tea hot", "is tea cold")
    with pytest.raises(
        ValueError, match=r"p\.jsonl, line 2: both responses begin with the prompt, but not in line 1: "
    ):
        found(tmp_path, line("is tea"), repeats)
    parted = line("is tea", " is tea hot", " is tea cold")
    assert texts(found(tmp_path, line("is tea"), parted))[1][1] == "is tea hot"
    only_one = line("is tea", "is tea hot", "no")
    assert texts(found(tmp_path, only_one))[0][1:] == ("is tea hot", "no")
    longer_word = line("i", "it is", "it")
    with pytest.raises(ValueError, match=r"line 1: 'i' is not one of the words"):
        found(tmp_path, longer_word)


def test_prompts_of_several_lengths_are_filled_up_on_the_left_or_refused_with_the_line(tmp_path):
    lines = line(), line("is tea")
    with pytest.raises(
        ValueError, match=r"^p\.jsonl, line 2: the prompt has 2 tokens, that of line 1 has 3: pass pad, "
    ):
        found(tmp_path, *lines)
    data = found(tmp_path, *lines, pad=EOS)
    assert data.prompt.tolist() == [encode(HOT).tolist(), [EOS, *encode("is tea").tolist()]]
    preference_files.write(tmp_path / "out.jsonl", data, decode, pad=EOS)
    assert [json.loads(text)["prompt"] for text in (tmp_path / "out.jsonl").read_text().splitlines()] == [HOT, "is tea"]
    again = preference_files.read(tmp_path / "out.jsonl", encode, 5, VOCAB, pad=EOS)
    assert all(map(np.array_equal, again.columns, data.columns))


def test_an_encoder_may_return_lists(tmp_path):
    data = found(tmp_path, line(), encode=lambda text, length: encode(text, length).tolist())
    assert texts(data) == [(f"{HOT} …", "yes", "no")]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda text, length: [[1, 2]], r"encode must make one row of tokens of a text; got shape \(1, 2\) for ' yes'"),
        (lambda text, length: 3, r"encode must make one row of tokens of a text; got shape \(\) for ' yes'"),
        (lambda text, length: [0.5], "encode must be integers, the indices of tokens; got float64"),
        (lambda text, length: [VOCAB], f"encode: token {VOCAB} is outside the vocabulary of {VOCAB} tokens"),
        (lambda text, length: {"x": 1}[text], "encode does not know ' yes': KeyError"),
        (lambda text, length: [1] * len(text), "encode made 4 and 3 tokens of the two responses: it must fill them up"),
    ],
)
def test_what_an_encoder_does_wrong_is_told_with_the_line(tmp_path, made, message):
    with pytest.raises(ValueError, match=rf"^p\.jsonl, line 1: {message}"):
        found(tmp_path, line(), encode=made)


def test_an_encoder_that_fills_up_to_several_lengths_is_told_with_the_line(tmp_path):
    made = {" yes": [1, 2], " no": [2, 1], HOT: [3], " it": [1], " is": [2]}
    with pytest.raises(
        ValueError, match=r"^p\.jsonl, line 2: encode made 1 tokens of a response, and 2 in line 1: it mu"
    ):
        found(tmp_path, line(), line(chosen=" it", rejected=" is"), encode=lambda text, length: made[text])


def test_a_chat_is_read(tmp_path):
    assert texts(found(tmp_path, CHAT)) == [(f"{HOT} …", "yes", "no")]
    implicit = {name: [said(HOT, "user"), *CHAT[name]] for name in ("chosen", "rejected")}
    assert texts(found(tmp_path, implicit)) == [(f"{HOT} …", "yes", "no")]
    assert texts(found(tmp_path, implicit | {"prompt": HOT})) == [(f"{HOT} …", "yes", "no")]
    assert texts(found(tmp_path, implicit | {"prompt": CHAT["prompt"]})) == [(f"{HOT} …", "yes", "no")]
    assert texts(found(tmp_path, line(CHAT["prompt"]))) == [(f"{HOT} …", "yes", "no")]


@pytest.mark.parametrize("implicit", [False, True])
def test_a_chat_is_written_and_read_again(tmp_path, implicit):
    data = found(tmp_path, CHAT | {"tie": True}, CHAT, line(chosen=" ", rejected=" it it it it it …"))
    preference_files.write(tmp_path / "chat.jsonl", data, decode, chat=True, implicit=implicit)
    first = json.loads((tmp_path / "chat.jsonl").read_text().splitlines()[0])
    front = CHAT["prompt"] if implicit else []
    assert first == ({} if implicit else {"prompt": CHAT["prompt"]}) | {
        "chosen": [*front, *CHAT["chosen"]],
        "rejected": [*front, *CHAT["rejected"]],
        "tie": True,
    }
    again = preference_files.read(tmp_path / "chat.jsonl", encode, 5, VOCAB)
    assert all(map(np.array_equal, again.columns, data.columns))


def test_several_messages_need_a_function_that_makes_one_text(tmp_path):
    several = CHAT | {"prompt": [said("is", "system"), said("tea hot", "user")]}
    with pytest.raises(
        ValueError, match="line 1: the prompt is not one message of a user, but system, user: pass render"
    ):
        found(tmp_path, several)
    data = found(tmp_path, several, render=lambda messages: " ".join(message["content"] for message in messages))
    assert texts(data) == [(f"{HOT} …", "yes", "no")]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"chosen": "yes"}, "'chosen' must be a list of messages with texts for role and content; got 'yes'"),
        ({"chosen": []}, "'chosen' has no messages"),
        (
            {"chosen": [{"role": "assistant"}]},
            "'chosen' must be a list of messages with texts for role and content; got {",
        ),
        ({"chosen": [said(3)]}, "'chosen' must be a list of messages"),
        ({"chosen": [said("yes", "user")]}, "the last message of 'chosen' must be the assistant's; its role is 'user'"),
        (
            {"chosen": [said(HOT, "user"), said("yes")]},
            "the messages before the last are not the same in chosen and rej",
        ),
        ({"prompt": []}, "the prompt is not one message of a user, but none"),
        ({"prompt": 3}, "'prompt' must be a list of messages"),
    ],
)
def test_a_chat_that_is_none_is_told(tmp_path, changed, message):
    with pytest.raises(ValueError, match=rf"^p\.jsonl, line 1: {re.escape(message)}"):
        found(tmp_path, CHAT | changed)


def test_messages_that_are_not_those_of_the_prompt_are_told(tmp_path):
    both = {name: [said("is ice hot", "user"), *CHAT[name]] for name in ("chosen", "rejected")}
    with pytest.raises(
        ValueError, match="line 1: chosen and rejected begin with messages that are not those of the prom"
    ):
        found(tmp_path, CHAT | both)


def test_arrays_and_packed_files_and_keys_in_any_case_are_read(tmp_path):
    rows = [{"Prompt": HOT, "CHOSEN": " yes", "rejected ": " no"}] * 2
    (tmp_path / "p.json.gz").write_bytes(gzip.compress(json.dumps(rows).encode()))
    assert texts(preference_files.read(tmp_path / "p.json.gz", encode, 5, VOCAB)) == [(f"{HOT} …", "yes", "no")] * 2


WORDS = st.lists(st.integers(0, VOCAB - 2), max_size=5)


@given(st.lists(st.tuples(st.sampled_from([HOT, "is tea", "it"]), WORDS, WORDS, st.booleans()), min_size=1, max_size=5))
def test_whatever_is_written_is_read_again(tmp_path_factory, drawn):
    rows = [
        (encode(p), *([*a, *[EOS] * (5 - len(a))] for a in (one, two)), tie) for p, one, two, tie in drawn if one != two
    ]
    if not rows:
        return
    prompt = [np.concatenate([np.full(3 - len(p), EOS), p]) for p, *_ in rows]
    data = preferences.Preferences(prompt, *zip(*[row[1:3] for row in rows], strict=True), VOCAB, [r[3] for r in rows])
    longest = max(len(p) for p, *_ in rows)
    path = tmp_path_factory.mktemp("p") / "p.jsonl"
    for chat in (False, True):
        preference_files.write(path, data, decode, chat=chat, pad=EOS, overwrite=True)
        again = preference_files.read(path, encode, 5, VOCAB, pad=EOS)
        assert np.array_equal(again.prompt, data.prompt[:, 3 - longest :])
        assert all(map(np.array_equal, again.columns[1:], data.columns[1:]))
