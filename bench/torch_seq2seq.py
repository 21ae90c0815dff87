#!/usr/bin/env python3
"""What bench/seq2seq times, in PyTorch on the CPU: GRU encoder, a GRU decoder with additive
attention that looks before each step, readout and logits of all steps at once, cross entropy,
backward, clipping by the joint norm, Adam (fused where it is offered). One line.
usage: torch_seq2seq.py [THREADS] [RUNS]"""
import sys
import time

import torch
from torch import nn

V, B, S, T, H = 10000, 64, 50, 50, 512


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.source, self.target = nn.Embedding(V, H), nn.Embedding(V, H)
        self.encoder, self.cell = nn.GRU(H, H), nn.GRUCell(2 * H, H)
        self.bridge, self.key = nn.Linear(H, H), nn.Linear(H, H, bias=False)
        self.query, self.score = nn.Linear(H, H), nn.Linear(H, 1, bias=False)
        self.readout, self.output = nn.Linear(3 * H, H), nn.Linear(H, V)

    def forward(self, source, before, after):
        memory, last = self.encoder(self.source(source))
        memory = memory.transpose(0, 1).contiguous()                   # (B, S, H)
        keys, h = self.key(memory), torch.tanh(self.bridge(last[0]))
        words, features = self.target(before), []
        for word in words:
            fit = self.score(torch.tanh(keys + self.query(h).unsqueeze(1))).squeeze(-1)
            seen = torch.bmm(torch.softmax(fit, -1).unsqueeze(1), memory).squeeze(1)
            h = self.cell(torch.cat((word, seen), -1), h)
            features.append(torch.cat((h, seen), -1))
        read = torch.tanh(self.readout(torch.cat((torch.stack(features), words), -1)))
        return nn.functional.cross_entropy(self.output(read).flatten(0, 1), after.flatten())


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    runs = int(sys.argv[2]) if len(sys.argv) > 2 else 7
    torch.manual_seed(0)
    net = Net()
    try:
        adam = torch.optim.Adam(net.parameters(), fused=True)
    except RuntimeError:
        adam = torch.optim.Adam(net.parameters())
    source, before, after = (torch.randint(V, (T, B)) for _ in range(3))
    took = []
    for run in range(-2, runs):
        at = time.perf_counter()
        loss = net(source, before, after)
        adam.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
        if run >= 0:
            took.append(time.perf_counter() - at)
    print(f"seq2seq eager {sorted(took)[len(took) // 2] * 1e3:.1f} ms", flush=True)


main()
