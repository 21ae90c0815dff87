#!/usr/bin/env python3
"""How gradients vanish and explode: examples/gradient_flow in PyTorch. The Jacobian dh_T / dh_t of
recurrent nets as they begin, in double, and its largest singular value by the distance T - t; of
linear nets against the closed form. usage: torch_gradient_flow.py --help"""
import argparse
import math
import os
import sys
from dataclasses import dataclass, field

import torch
from torch import nn

INPUT = 8


class Bad(Exception):
    """What is said in one sentence."""


@dataclass
class Flow:
    name: str
    kind: str
    start: str = ""  # of the weights over the state; "": the layer's own
    forget: float = 0  # what the forget gate begins with
    chrono: bool = False
    clipped: bool = False
    truncated: bool = False
    norm: list = field(default_factory=list)  # of dh_T / d(state t), by T - t
    off: float = 0  # of a linear net: how far from the closed form, as a part of it


FLOWS = [
    Flow("linear, orthogonal", "linear", "orthogonal"),
    Flow("linear, symmetric", "linear", "symmetric"),
    Flow("linear, random", "linear", "normal"),
    Flow("tanh", "tanh"),
    Flow("tanh, orthogonal", "tanh", "orthogonal"),
    Flow("tanh, orthogonal, truncated", "tanh", "orthogonal", truncated=True),
    Flow("tanh, large", "tanh", "large"),
    Flow("tanh, large, clipped", "tanh", "large", clipped=True),
    Flow("relu, identity", "relu", "identity"),
    Flow("GRU", "gru"),
    Flow("GRU, forget bias 2", "gru", forget=2),
    Flow("LSTM", "lstm"),
    Flow("LSTM, forget bias 2", "lstm", forget=2),
    Flow("LSTM, chrono", "lstm", chrono=True),
]


def options():
    def between(kind, low, high):
        def read(word):
            value = kind(word)
            if not low <= value <= high:
                raise argparse.ArgumentTypeError(f"'{word}' is not from {low} to {high}")
            return value
        return read

    p = argparse.ArgumentParser(description="Measures how gradients vanish and explode.",
                                formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    p.add_argument("--steps", type=between(int, 2, 500), default=100,
                   help="from the first state to the last")
    p.add_argument("--hidden", type=between(int, 2, 64), default=32, help="units")
    p.add_argument("--sigma", type=between(float, 0.5, 2), default=0.9,
                   help="scale of the linear nets' matrices")
    p.add_argument("--clip", type=between(float, 1e-6, 1e6), default=1.0,
                   help="the most that the clipped gradient is")
    p.add_argument("--truncate", type=between(int, 1, 500), default=50,
                   help="steps that the truncated one goes back")
    p.add_argument("--seed", type=between(int, 0, 2**63 - 1), default=1,
                   help="of weights and inputs")
    p.add_argument("--csv", help="writes a line for each distance, a column for each net")
    p.add_argument("--svg", help="draws them")
    o = p.parse_args()
    for path in filter(None, (o.csv, o.svg)):
        if os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or "."):
            raise Bad(f"{path} cannot be written")
    if o.csv and o.svg and os.path.abspath(o.csv) == os.path.abspath(o.svg):
        raise Bad(f"--svg {o.svg} would replace the CSV file")
    return o


def linear_matrix(flow, o):
    """sigma times an orthogonal matrix; a symmetric one whose largest eigenvalue is sigma and whose
    others are at most 0.9 of that; numbers at random."""
    n = o.hidden
    if flow.start == "normal":
        return torch.randn(n, n) * o.sigma / math.sqrt(n)
    q = nn.init.orthogonal_(torch.empty(n, n))
    if flow.start == "orthogonal":
        return o.sigma * q
    values = 0.9 * (2 * torch.rand(n) - 1)
    values[0] = 1
    return q @ torch.diag(o.sigma * values) @ q.T


def make_cell(flow, o):
    n = o.hidden
    if flow.kind == "lstm":
        cell = nn.LSTMCell(INPUT, n)
    elif flow.kind == "gru":
        cell = nn.GRUCell(INPUT, n)
    else:
        cell = nn.RNNCell(INPUT, n, nonlinearity=flow.kind)
    with torch.no_grad():
        if flow.start == "orthogonal":
            nn.init.orthogonal_(cell.weight_hh)
        elif flow.start == "identity":
            nn.init.eye_(cell.weight_hh)
            nn.init.zeros_(cell.bias_ih)
            nn.init.zeros_(cell.bias_hh)
        elif flow.start == "large":
            nn.init.normal_(cell.weight_hh, std=2 / math.sqrt(n))
        if flow.forget or flow.chrono:
            bias = torch.full((n,), float(flow.forget))
            if flow.chrono:
                bias = torch.empty(n).uniform_(1, o.steps - 1).log()
                cell.bias_ih[:n], cell.bias_hh[:n] = -bias, 0
            cell.bias_ih[n:2 * n], cell.bias_hh[n:2 * n] = bias, 0
    return cell


def measure(flow, o):
    """One sequence of noise as n equal ones, whose last state's cotangent is the identity: the
    gradients of a state are then the rows of dh_T / d(state)."""
    n, states = o.hidden, []
    torch.manual_seed(o.seed)
    cell = make_cell(flow, o) if flow.kind != "linear" else None
    w = None if cell else linear_matrix(flow, o)
    state = [torch.zeros(n, n, requires_grad=True) for _ in range(2 if flow.kind == "lstm" else 1)]
    for i in range(o.steps):
        if flow.truncated and i == o.steps - o.truncate:
            state = [s.detach().requires_grad_() for s in state]
        states.append(state)
        x = torch.randn(1, INPUT if cell else n).expand(n, -1)
        if cell is None:
            state = [state[0] @ w.T + x]
        elif flow.kind == "lstm":
            state = list(cell(x, tuple(state)))
        else:
            state = [cell(x, state[0])]
    unit, scale = torch.eye(n), 1.0
    grads = torch.autograd.grad(state[0], [s for some in states for s in some], unit,
                                retain_graph=flow.clipped, allow_unused=True)
    grads = [torch.zeros(n, n) if g is None else g for g in grads]
    if flow.clipped:  # gradients of the weights become shorter, and all that is in them
        state[0].backward(unit)
        scale = min(1.0, o.clip / nn.utils.clip_grad_norm_(cell.parameters(), o.clip).item())
    flow.norm, wide, power = [scale], len(state), unit
    for distance in range(1, o.steps + 1):
        at = (o.steps - distance) * wide
        jacobian = torch.cat(grads[at:at + wide], 1)
        flow.norm.append(scale * torch.linalg.matrix_norm(jacobian, 2).item())
        if w is not None:
            power = w @ power
            if not flow.norm[-1] > 1e-280:  # soon below what a double holds in full
                continue
            flow.off = max(flow.off, ((jacobian - power).norm() / power.norm()).item())
            if flow.start != "normal":
                flow.off = max(flow.off, abs(flow.norm[-1] / o.sigma**distance - 1))


def print_table(o):
    at = [1, (o.steps + 9) // 10, (o.steps + 3) // 4, (o.steps + 1) // 2, o.steps]
    print(f"{'|dh_T / dh_t|, T - t =':28}" + "".join(f"{d:9}" for d in at) + "   a step")
    for flow in FLOWS:
        a_step = (flow.norm[o.steps] / flow.norm[1]) ** (1 / (o.steps - 1))
        print(f"{flow.name:28}" + "".join(f"{flow.norm[d]:9.1e}" for d in at) + f"{a_step:9.4f}")


def write_csv(o):
    with open(o.csv, "w", encoding="utf-8") as file:
        print("distance", *(f'"{flow.name}"' for flow in FLOWS), sep=",", file=file)
        for distance in range(o.steps + 1):
            print(distance, *(f"{flow.norm[distance]:.17g}" for flow in FLOWS), sep=",", file=file)


def write_svg(o):
    from matplotlib import pyplot
    pyplot.figure(figsize=(9, 5.6))
    for flow in FLOWS:
        style = "." if flow.truncated or flow.start == "symmetric" else "-"
        pyplot.semilogy(flow.norm, "--" if flow.clipped or flow.forget else style, label=flow.name)
    pyplot.title("How far a gradient reaches")
    pyplot.xlabel("steps back, T - t")
    pyplot.ylabel("|dh_T / dh_t|")
    pyplot.legend()
    pyplot.savefig(o.svg, format="svg")


def main():
    o = options()
    torch.set_default_dtype(torch.float64)
    for flow in FLOWS:
        measure(flow, o)
    print_table(o)
    worst = max(flow.off for flow in FLOWS)
    print(f"the linear nets against sigma^(T - t) and W^(T - t): off by {worst:.1e} of it at most")
    if not worst <= 1e-10:
        raise Bad("the linear nets are off by more than 1e-10")
    if o.csv:
        write_csv(o)
    if o.svg:
        write_svg(o)


if __name__ == "__main__":
    try:
        main()
    except (Bad, OSError) as bad:
        print(f"torch_gradient_flow: {bad}", file=sys.stderr)
        sys.exit(1)
