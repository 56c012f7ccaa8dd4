"""Run all contests, print the ratios, and write the table that the book shows; or print those whose names hold a word.

Every repetition times all contestants of a contest, in shuffled order, so that what else the machine does strikes all
of them alike. Each is called once to warm the caches, as a training loop does, and then again and again for a moment.
A ratio is the time of another library divided by ours in the same repetition; above 1, ours is faster.

A contest ends when its part of the TOTAL time is over, and who alone has taken a SHARE of that is called no more: on a
busy machine, two threads that wait for each other can take hundreds of times as long. Both are told beside the ratio.
"""

import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from benchmarks import contestants as c
from benchmarks import feedback, gpt, ilhf, soft_values
from benchmarks.table import REPETITIONS, page
from rlhf_lab.experiments.ilhf.worlds import Setting
from rlhf_lab.methods import ppo, rollouts
from rlhf_lab.models.critics import ReaderCritic
from rlhf_lab.models.recurrent import Recurrent
from rlhf_lab.numerics import files
from rlhf_lab.worlds import phrase_world

HERE = Path(__file__).parent
THREADS = {"1 thread": 1, "2 threads": 2}  # PyTorch runs with each, ours always with one
MOMENT = 0.05  # seconds for which a contestant is called in one repetition
TOTAL, SHARE = 300.0, 0.25  # seconds of all contests, and what one contestant may take of those of its contest
LENGTHS = (64, 128, 256)
HIDDEN = 10


def world(vocab: int, batch: int, length: int, seeds: int | None = None):
    """Return a model, parameters and texts, with a leading axis if `seeds` is given."""
    model = Recurrent(vocab, HIDDEN, vocab - 1 if vocab > 2 else None)
    rngs = np.random.default_rng(0).spawn(seeds or 1)
    drawn = [model.init(rng) for rng in rngs]
    params = {k: np.stack([p[k] for p in drawn]) if seeds else drawn[0][k] for k in drawn[0]}
    return model, params, rngs[0].integers(vocab, size=(*([seeds] if seeds else []), batch, length))


def contests() -> dict[str, dict]:
    """Return, for each contest, its contestants: functions that all do the same work."""
    found = {}
    for batch in (64, 1280):
        for length in LENGTHS:
            model, params, tokens = world(2, batch, length)
            found[f"log-likelihood and gradient, batch {batch:,}, length {length}"] = {
                "ours": c.ours(model, params, tokens),
                "PyTorch eager": c.torch_eager(params, tokens),
                "PyTorch plain": c.torch_plain(params, tokens),
                "torch.nn.RNN": c.torch_rnn(params, tokens),
                "jax.jit": c.jax_jit(params, tokens),
            }
    model, params, tokens = world(2, 64, 64, seeds=20)
    found["the same for 20 seeds at once, batch 64, length 64"] = {
        "ours": c.ours(model, params, tokens),
        "PyTorch eager": c.torch_eager(params, tokens),
        "jax.jit": c.jax_jit(params, tokens),
    }
    found["pretraining 20 seeds at once, 20 steps of Adam"] = {
        "ours": c.pretrain_ours(model, params, tokens, 20),
        "PyTorch eager": c.pretrain_torch(params, tokens, 20),
        "jax.jit": c.pretrain_jax(params, tokens, 20),
    }
    model, params, _ = world(2, 1, 1)
    found["sampling 1,000 texts of 64 tokens"] = {
        "ours": c.sample_ours(model, params, 1000, 64),
        "PyTorch eager": c.sample_torch(params, 1000, 64),
        "jax.jit": c.sample_jax(params, 1000, 64),
    }
    model, params, _ = world(11, 1, 1)
    found["enumerating 111,111 answers"] = {
        "ours": c.enumerate_ours(model, params, 5),
        "PyTorch eager": c.enumerate_torch(params, 5),
        "jax.jit": c.enumerate_jax(params, 5),
    }
    for dtype in ("float32", "float64"):
        name = f"GPT, {dtype}: loss and gradient, 2 layers, width 64, 4 heads, batch 32, length 64"
        found[name] = gpt.contestants(dtype)
    found["sampling 256 texts of 64 tokens from the GPT, with a cache"] = gpt.sampling(256)
    found["soft values of 4 questions with 111,111 answers each"] = soft_values.contestants()
    found["Bradley-Terry, 100,000 comparisons of 100 items"] = feedback.contestants()
    model, params, texts = world(2, 128, 64)
    given = model, params, model.init(np.random.default_rng(1)), texts[:64], texts[64:]
    found["a DPO step, loss and gradient, 64 comparisons, length 64"] = {
        "ours": c.dpo_ours(*given),
        "PyTorch eager": c.dpo_torch(*given),
    }
    task, critic, params, batch = ppo_update()
    found["a PPO step, loss and gradient, 10 seeds at once, 256 answers each"] = {
        "ours": c.ppo_ours(task, critic, params, batch),
        "PyTorch eager": c.ppo_torch(params, batch),
    }
    for members in (1, 50):
        given = Setting(scale=1 / 3, evaluation=10), members, 5
        name = f"ILHF in 5 worlds, {members} member{'s' * (members > 1)}, 5 episodes"
        found[name] = {"ours": ilhf.ours(*given), "PyTorch eager": ilhf.eager(*given)}
    given = Setting(scale=1 / 3, evaluation=10), 1, 5, "all"
    name = "ILHF in 5 worlds, all parameters tuned, 5 episodes"
    found[name] = {"ours": ilhf.ours(*given), "PyTorch eager": ilhf.eager(*given)}
    return found


def ppo_update():
    """Return a task, a critic, parameters that have moved a little, and the minibatch that older ones wrote."""
    critic = ReaderCritic(Recurrent(11, 16, 10))
    rngs = np.random.default_rng(0).spawn(10)
    old = rollouts.stack([critic.init(rng) for rng in rngs])
    task = rollouts.Task(phrase_world.mdp(), (critic.language, critic.init(rngs[0])), beta=0.5)
    _, collect = ppo.ppo(task, critic, prompts=256, minibatch=256, epochs=1)
    (batch,) = collect(old, rngs[0])
    return task, critic, {name: p + 0.03 * rngs[1].normal(size=p.shape) for name, p in old.items()}, batch


def agree(name: str, functions: dict) -> None:
    """Raise unless all contestants find the same numbers; samples are random, and only their shapes are compared.

    Contestants that iterate until they are close may differ by 1e-6, those in single precision by 1e-4.
    """
    atol = {"Bradley-Terry": 1e-6, "GPT, float32:": 1e-4}.get(name[:13], 1e-9)
    rtol = 1e-4 if atol == 1e-4 else 1e-8
    expected = _flat(functions["ours"]())
    for who, function in functions.items():
        found = _flat(function())
        same = found.shape == expected.shape
        if not same or (not name.startswith("sampling") and not np.allclose(found, expected, rtol, atol)):
            raise AssertionError(f"{name}: {who} computes something else")


def _flat(value) -> np.ndarray:
    parts = value if isinstance(value, list | tuple) else [value]
    return np.concatenate([_flat(p) if isinstance(p, list) else np.ravel(p) for p in parts])


def race(functions: dict, repetitions: int, rng: np.random.Generator, budget: float) -> dict[str, list[float]]:
    """Return the seconds of a call for each contestant and repetition; PyTorch counts once for each of THREADS.

    The first repetition is always run. Who has then taken a SHARE of the budget, in seconds, is left out of the next
    ones, and they end when the others have taken all of it, or nobody is left but us. So lists may be short, and those
    of others shorter than ours.
    """
    runners = {}
    for who, function in functions.items():
        for label, threads in THREADS.items() if "orch" in who else [("", 1)]:
            runners[f"{who}, {label}" if label else who] = function, threads
    times: dict[str, list[float]] = {who: [] for who in runners}
    spent = dict.fromkeys(runners, 0.0)
    for _ in range(repetitions):
        left = [who for who in runners if who == "ours" or spent[who] < SHARE * budget]
        if left in ([], ["ours"]) or sum(spent[who] for who in left) > budget:
            break
        for who in rng.permutation(left):
            function, threads = runners[who]
            torch.set_num_threads(threads)
            began = time.perf_counter()
            function()
            calls, warm = 0, time.perf_counter()
            if warm - began > SHARE * budget:  # it ran away: this one call has to do
                calls, warm = 1, began
            while not calls or time.perf_counter() - warm < MOMENT:
                function()
                calls += 1
            times[who].append((time.perf_counter() - warm) / calls)
            spent[who] += time.perf_counter() - began
    return times


def compared(contest: str, times: dict[str, list[float]]) -> list[dict]:
    """Return a row for each rival: median, least and greatest ratio, and the number of repetitions behind them."""
    rows = []
    for who in [who for who in times if who != "ours"]:
        ratio = np.array(times[who]) / np.array(times["ours"][: len(times[who])])
        row = {"contest": contest, "against": who, "median": float(np.median(ratio))}
        rows.append(row | {"min": float(ratio.min()), "max": float(ratio.max()), "repetitions": len(ratio)})
    return rows


def slope(times: dict[str, float], sizes: tuple[int, ...], pattern: str) -> float:
    """Return the slope of log time against log size."""
    return float(np.polyfit(np.log(sizes), [np.log(times[pattern.format(n)]) for n in sizes], 1)[0])


def main(words: list[str]) -> None:
    """Run everything, or print what the contests tell whose names hold one of the words."""
    rng, rows, ours, deadline = np.random.default_rng(0), [], {}, time.perf_counter() + TOTAL
    torch.set_num_threads(1)
    chosen = {name: who for name, who in contests().items() if not words or any(word in name for word in words)}

    def budget(contests: int) -> float:
        return max(1.0, (deadline - time.perf_counter()) / contests)

    with threadpool_limits(limits=1, user_api="blas"):
        for k, (name, functions) in enumerate(tqdm(chosen.items(), desc="contests")):
            agree(name, functions)
            times = race(functions, REPETITIONS, rng, budget(len(chosen) + 1 - k))
            torch.set_num_threads(1)
            ours[name] = float(np.median(times["ours"]))
            rows += (found := compared(name, times))
            for row in found:
                cut = "" if row["repetitions"] == REPETITIONS else f", cut after {row['repetitions']} of {REPETITIONS}"
                spread = f"({row['min']:.1f} to {row['max']:.1f}{cut})"
                tqdm.write(f"{name:55s} {row['against']:24s} {row['median']:6.1f}  {spread}")
        grown = {who: float(np.median(each)) for who, each in race(gpt.growth(), REPETITIONS, rng, budget(1)).items()}
    powers = {what: slope(grown, sizes, what + " {}") for what, sizes in gpt.GROWTH.items()}
    print("the cost of a GPT grows with", ", ".join(f"{what} to the power {n:.2f}" for what, n in powers.items()))
    if words:
        return
    pattern = "log-likelihood and gradient, batch {}, length {}"
    by_length = slope(ours, LENGTHS, pattern.replace("{}", "1,280", 1))
    in_batch = [ours[pattern.format(f"{b:,}", 128)] for b in (64, 1280)]
    by_batch = float(np.log(in_batch[1] / in_batch[0]) / np.log(1280 / 64))
    print(f"cost grows with length to the power {by_length:.2f} (batch 1,280), with batch to the power {by_batch:.2f}")
    data = {
        "rows": rows,
        "slope_length": by_length,
        "slope_batch": by_batch,
        "gpt_slopes": powers,
        "versions": {name: version(name) for name in ("numpy", "autograd", "torch", "jax", "choix")},
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    files.save(HERE / "results.json", data, overwrite=True)
    (HERE.parent / "book/benchmarks.md").write_text(page(data), encoding="utf-8")
    print("written: benchmarks/results.json and book/benchmarks.md")


if __name__ == "__main__":
    main(sys.argv[1:])
