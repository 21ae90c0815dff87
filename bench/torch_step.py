#!/usr/bin/env python3
"""What bench/step times, in PyTorch on the CPU: embedding, two recurrent layers, linear layer,
cross entropy, backward, clipping by the joint norm, Adam (fused where it is offered).
usage: torch_step.py [THREADS] [LSTM|GRU] [nocompile]"""
import sys
import time

import torch

SHAPES = ((65, 32, 64, 64, 256), (65, 1, 64, 64, 128), (65, 16, 64, 64, 128),
          (65, 64, 64, 256, 512), (65, 64, 64, 512, 1024), (10000, 20, 35, 200, 200))
LAYERS = 2


class Net(torch.nn.Module):
    def __init__(self, cell, classes, embed, hidden):
        super().__init__()
        self.embed = torch.nn.Embedding(classes, embed)
        self.rnn = getattr(torch.nn, cell)(embed, hidden, LAYERS)
        self.head = torch.nn.Linear(hidden, classes)

    def forward(self, x, y):
        h, _ = self.rnn(self.embed(x))
        return torch.nn.functional.cross_entropy(self.head(h).flatten(0, 1), y.flatten())


def seconds(step, least=2.0):
    """The median of steps over about `least` seconds."""
    step(), step()
    each, begun = [], time.perf_counter()
    while time.perf_counter() - begun < least or len(each) < 5:
        at = time.perf_counter()
        step()
        each.append(time.perf_counter() - at)
    return sorted(each)[len(each) // 2]


def time_one(cell, mode, classes, batch, length, embed, hidden):
    torch.manual_seed(0)
    net = Net(cell, classes, embed, hidden)
    try:
        adam = torch.optim.Adam(net.parameters(), lr=2e-3, fused=True)
    except RuntimeError:
        adam = torch.optim.Adam(net.parameters(), lr=2e-3)
    loss_of = torch.compile(net) if mode == "compiled" else net
    x, y = torch.randint(classes, (length, batch)), torch.randint(classes, (length, batch))

    def step():
        loss = loss_of(x, y)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()

    return seconds(step)


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    modes = ("eager",) if "nocompile" in sys.argv else ("eager", "compiled")
    for cell in [c for c in ("LSTM", "GRU") if c in sys.argv] or ("LSTM", "GRU"):
        for classes, batch, length, embed, hidden in SHAPES:
            found = ""
            for mode in modes:
                try:
                    took = time_one(cell, mode, classes, batch, length, embed, hidden)
                    found += f"  {mode} {took * 1e3:.2f} ms"
                except Exception as why:  # a compiler that is not there
                    print(mode, "failed:", str(why)[:200], file=sys.stderr)
            name = "GRU " if cell == "GRU" else ""
            print(f"step {name}V={classes} B={batch} T={length} E={embed} H={hidden} L={LAYERS}"
                  f"{found}", flush=True)


main()
