"""The Sphinx side of the front page: a figure that moves with beta, the number of equations, the minutes of chapters.

The figure shows exact numbers of the toy assistant. They are computed when the book is built, and stand in the page; a
script of a few lines, `beta.js`, goes through them. Without scripts, and on paper, the figure stands still.
"""

import json
from collections.abc import Callable
from functools import cache
from html import escape
from pathlib import Path
from typing import NamedTuple

import book_index
import course
import numpy as np
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective, SphinxRole

from rlhf_lab.models import gibbs, lm
from rlhf_lab.numerics.autodiff import Array
from rlhf_lab.plots import COLORS
from rlhf_lab.worlds import phrase_world

ROOT = Path(__file__).parents[2]
FRONT = "book/preface"
BETAS = [float(f"{10 ** (k / 20 - 1):.2g}") for k in range(41)]  # 0.1 to 10
FIRST = BETAS.index(0.5)
SHOWN = 8  # answers with a row of their own
WIDTH, HEIGHT, KL_END, REWARD_ENDS = 180, 225, 2.6, (-0.4, 3.1)  # of the plot


class Optima(NamedTuple):
    """Gibbs policies over the likeliest answers and, last, all others; one row or entry for each beta."""

    answers: list[str]
    rewards: list[str]
    pretrained: Array  # percent
    percent: Array
    expected: Array
    kl: Array  # nats


def optima(betas: Array) -> Optima:
    """Return the exact optima of the question "is tea hot"."""
    world, prompt = phrase_world, 0
    tokens = lm.enumerate_responses(world.VOCAB, world.HORIZON, world.EOS)
    log_pi_0 = lm.answer_log_probs(world.model(), world.pretrained(), world.PROMPTS, world.HORIZON)[prompt]
    reward = world.mdp().answer_rewards()[prompt]
    log_pi = np.stack([gibbs.log_policy(log_pi_0, reward, beta) for beta in betas])
    top = np.argsort(-log_pi_0)[:SHOWN]
    return Optima(
        [*(world.decode(tokens[k]) for k in top), f"{len(tokens) - SHOWN:,} others"],
        [*(f"{reward[k]:+g}".replace("+0", "0") for k in top), ""],
        _percent(log_pi_0[top]),
        _percent(log_pi[:, top]),
        np.exp(log_pi) @ reward,
        lm.kl(log_pi, log_pi_0),
    )


def _percent(log_p: Array) -> Array:
    shown = 100 * np.exp(log_p)
    return np.concatenate([shown, 100 - shown.sum(-1, keepdims=True)], axis=-1)


def figure() -> str:
    """Return the figure as HTML, with the numbers of all betas."""
    found = optima(np.array(BETAS))
    data = {"beta": BETAS, "answers": found.answers, "percent": found.percent.round(1).tolist()}
    data |= {name: getattr(found, name).round(2).tolist() for name in ("expected", "kl")}
    rows = zip(found.answers, found.rewards, found.pretrained, found.percent[FIRST], strict=True)
    return f"""<figure class="beta" style="--pretrained:{COLORS["pretrained"]};--optimum:{COLORS["exact"]}">
<div class="beta-head"><b>is tea hot?</b>
<label hidden>cheap <input type="range" min="0" max="{len(BETAS) - 1}" value="{FIRST}"
 aria-label="beta, the price of forgetting how people talk"> dear</label>
<span>price of forgetting how people talk: <b>β = <output>{BETAS[FIRST]:g}</output></b></span></div>
<div class="beta-body">
<table><thead><tr><th scope="col">answer</th><th scope="col">reward</th>
<th scope="col"><span class="key before">pretrained</span> <span class="key">exact optimum</span></th></tr></thead>
<tbody>{"".join(_row(*row) for row in rows)}</tbody></table>
{_plot(data["kl"][FIRST], data["expected"][FIRST])}
</div>
<script type="application/json">{json.dumps(data)}</script>
</figure>"""


def _row(answer: str, reward: str, before: float, now: float) -> str:
    bar = '<span class="bar{}" style="width:{:.1f}%"></span>'
    return (
        f'<tr><th scope="row">{escape(answer)}</th><td>{_minus(reward)}</td><td>'
        f'<span class="bars" aria-hidden="true">{bar.format(" before", before)}{bar.format("", now)}</span>'
        f'<span class="visually-hidden">{before:.1f}%, </span><span class="exact">{now:.1f}%</span></td></tr>'
    )


def _minus(text: str) -> str:
    return text.replace("-", "&minus;")


def _plot(kl: float, reward: float) -> str:
    """Draw expected reward against divergence: the frontier, and the beta that is chosen on it."""
    fine = optima(np.geomspace(0.02, 500, 60))
    line = " ".join(f"{_x(a):.1f},{_y(b):.1f}" for a, b in zip(fine.kl, fine.expected, strict=True))
    left, right, low, high = _x(0), _x(KL_END), _y(REWARD_ENDS[0]), _y(REWARD_ENDS[1])
    ticks = [f'<text x="{_x(k):.1f}" y="{low + 14:.1f}" class="middle">{k}</text>' for k in (0, 1, 2)]
    ticks += [f'<text x="{left - 5:.1f}" y="{_y(k) + 4:.1f}" class="end">{k}</text>' for k in range(4)]
    told = _minus(
        "Expected reward against divergence from the pretrained model. The frontier climbs from "
        f"{fine.expected[-1]:.2f} at no divergence, steep at first, to {fine.expected[0]:.2f} at {fine.kl[0]:.2f} nats."
    )
    return f"""<div class="beta-plot">
<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{told}" data-x="{_axis(_x)}" data-y="{_axis(_y)}">
<text x="0" y="10">expected reward: <tspan class="exact">{reward:.2f}</tspan></text>
<polygon points="{line} {left:.1f},{high:.1f} {right:.1f},{high:.1f}"/>
<polyline points="{line}"/>
<path d="M{left:.1f},{high:.1f} V{low:.1f} H{right:.1f}"/>
{"".join(ticks)}
<text x="{left + 5:.1f}" y="{high + 14:.1f}">out of reach</text>
<circle cx="{_x(kl):.1f}" cy="{_y(reward):.1f}" r="5"/>
<text x="{right:.1f}" y="{HEIGHT - 2}" class="end">KL divergence: <tspan class="exact">{kl:.2f}</tspan> nats</text>
</svg></div>"""


def _axis(place: Callable[[float], float]) -> str:
    return f"{place(0):.6g} {place(1) - place(0):.6g}"


def _x(kl: float) -> float:
    return 18 + (WIDTH - 24) * kl / KL_END


def _y(reward: float) -> float:
    low, high = REWARD_ENDS
    return 18 + (HEIGHT - 52) * (high - reward) / (high - low)


class Beta(SphinxDirective):
    """```{beta}``` puts the figure into the page, and its text below it as a caption."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the figure."""
        caption = nodes.container(classes=["beta-caption"])
        self.state.nested_parse(self.content, self.content_offset, caption)
        return [nodes.raw("", figure(), format="html"), caption]


@cache
def _chapters() -> dict[str, course.Chapter]:
    return course.chapters(ROOT)


class Minutes(SphinxRole):
    """{minutes}`dpo` tells how long the chapter `notebooks/dpo.md` takes."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return the number."""
        return [nodes.Text(str(_chapters()[self.text].minutes))], []


class Count(SphinxRole):
    """{count}`equations, each tested` puts the number of the book's equations before the words."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Return number and words."""
        return [nodes.Text(f"{len(book_index.equations(ROOT))} {self.text}")], []


def script(app: Sphinx, page: str, template: str, context: dict, doctree: nodes.document | None) -> None:
    """Load the script on the front page only."""
    if page == FRONT:
        app.add_js_file("beta.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive and the roles."""
    app.add_directive("beta", Beta)
    app.add_role("minutes", Minutes())
    app.add_role("count", Count())
    app.connect("html-page-context", script)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
