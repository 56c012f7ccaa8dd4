"""What a reader finds first: the search of the built book, in Chromium, from the file system."""

import re

import pytest
from browsing import HTML


@pytest.fixture(scope="module")
def page(opened):
    return opened(f"{(HTML / 'search.html').as_uri()}?q=first")


ENTRIES = """entries => entries.map(entry => ({
    title: entry.querySelector("a").textContent,
    where: entry.querySelector("span")?.textContent ?? "",
    said: entry.querySelector("p").textContent,
    page: entry.querySelector("a").getAttribute("href").split("#")[0],
}))"""


def results(page, query, group="In the book"):
    """Return the results that are shown below a heading."""
    page.locator(".bd-search-container input").fill(query)
    return page.eval_on_selector_all(f"#search-results section:has(h2:text-is('{group}')) li", ENTRIES)


# A query, what comes first, and the chapter that must be among the first four.
FOUND = [
    ("over-optimisation", "over-optimisation", "overoptimization"),
    ("overoptimization", "over-optimisation", "overoptimization"),
    ("reward hacking", "over-optimisation", "overoptimization"),
    ("Goodhart", "over-optimisation", "overoptimization"),
    ("KL", "KL divergence", "ilhf"),
    ("kl divergence", "KL divergence", "ilhf"),
    ("GAE", "GAE", "policy_gradients"),
    ("BoN", "best-of-n", "pipeline"),
    ("best of n", "best-of-n", "pipeline"),
    ("misclicks", "mis-click", "kinds_of_feedback"),
    ("KTO", "KTO", ""),
    ("DPO", "direct preference optimisation", "dpo"),
    ("PPO", "PPO", "ppo"),
    ("SFT", "supervised fine-tuning", "pipeline"),
    ("RLHF", "reinforcement learning from human feedback", "pipeline"),
    ("ILHF", "inclusive learning from human feedback", "ilhf"),
    ("BT", "Bradley-Terry model", ""),
    ("pi_ref", "reference policy", "token_mdp"),
    ("π_0", "reference policy", "token_mdp"),
    ("beta", "KL weight", "token_mdp"),
    ("lambda", "What does λ buy?", "policy_gradients"),
    ("labeler", "annotator", ""),
    ("behavior cloning", "behaviour cloning", "imitation"),
    ("dagger", "DAgger", "imitation"),
    ("ensemble disagreement", "Does disagreement see the error?", "overoptimization"),
    ("lower confidence bound", "lower confidence bound", "pessimism"),
    ("GRPO", "GRPO", "policy_gradients"),
    ("calibration", "calibration", "reward_modeling"),
    ("clipping", "clipping", "ppo"),
    ("label noise", "mis-click", "preference_losses"),
    ("Gibbs policies", "Gibbs policy", "dpo"),
    ("importance ratio", "probability ratio", ""),
    ("temperature", "temperature", "pretraining"),
    ("length bias", "length bias", "reward_modeling"),
    ("policy gradient theorem", "policy gradient theorem", "policy_gradients"),
    ("pretraining", "pretraining", "pretraining"),
]


@pytest.mark.parametrize(("query", "first", "chapter"), FOUND, ids=[query for query, _, _ in FOUND])
def test_the_first_result_is_what_the_reader_meant(page, query, first, chapter):
    found = results(page, query)
    assert found[0]["title"] == first
    assert not chapter or any(result["page"].endswith(f"notebooks/{chapter}.html") for result in found[:4])


def test_the_book_comes_before_the_package(page):
    assert {result["page"].split("/")[-2] for result in results(page, "fit")} <= {"notebooks", "book"}
    assert page.locator("#search-results h2").all_inner_texts() == ["In the book", "In the package"]
    assert results(page, "enumerate_responses", "In the package")[0]["title"] == "models.lm.enumerate_responses"


@pytest.mark.parametrize("query", ["DPO", "KL divergence", "Gibbs policy", "beta", "reward"])
def test_a_snippet_holds_no_code_and_no_tex(page, query):
    for result in results(page, query):
        assert not re.search(r"\\[A-Za-z]|\$|\bdef |\bimport |np\.|asserted by", result["said"]), result
        assert len(result["said"]) <= 245


def test_a_snippet_shows_what_was_found(page):
    results(page, "over-optimization")
    assert "over-optimisation" in [mark.lower() for mark in page.locator("#search-results mark").all_inner_texts()]


def test_nothing_is_said_to_be_found_where_nothing_is(page):
    assert results(page, "xylophone") == []
    assert page.locator("#search-status").inner_text() == "Nothing was found."
