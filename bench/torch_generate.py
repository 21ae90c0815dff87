#!/usr/bin/env python3
"""What bench/generate times, in PyTorch on the CPU: greedy generation by a GRU with additive
attention, a loop of single steps under inference_mode, the token chosen by argmax; and beam search
as the usual loop over topk and index_select (log P alone, no end). One line each.
usage: torch_generate.py [THREADS] [RUNS] [compile]"""
import sys
import time

import torch

V, E, H, S, T = 10000, 512, 512, 30, 100


class Decoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(V, E)
        self.gru = torch.nn.GRUCell(E + H, H)
        self.key = torch.nn.Linear(H, H)
        self.query = torch.nn.Linear(H, H)
        self.score = torch.nn.Linear(H, 1)
        self.out = torch.nn.Linear(H, V)

    def forward(self, word, h, memory, keys):
        fit = self.score(torch.tanh(keys + self.query(h).unsqueeze(1))).squeeze(-1)  # (n, S)
        seen = torch.bmm(torch.softmax(fit, -1).unsqueeze(1), memory).squeeze(1)
        h = self.gru(torch.cat((self.embed(word), seen), -1), h)
        return self.out(h), h


@torch.inference_mode()
def greedy(net, step, memory):
    """As users write it: the token and its log probability are asked for at every step."""
    batch = memory.shape[0]
    keys, h = net.key(memory), torch.zeros(batch, H)
    word, said, log_prob = torch.zeros(batch, dtype=torch.long), [], torch.zeros(batch)
    for _ in range(T):
        logits, h = step(word, h, memory, keys)
        best, word = torch.log_softmax(logits, -1).max(-1)
        log_prob += best
        said.append(word)
        if bool((word == -1).all()):  # has everything ended? No token is -1
            break
    return torch.stack(said), log_prob


@torch.inference_mode()
def beam(net, step, memory, beams):
    batch = memory.shape[0]
    memory = memory.repeat_interleave(beams, 0)
    keys, h = net.key(memory), torch.zeros(batch * beams, H)
    word = torch.zeros(batch * beams, dtype=torch.long)
    log_prob = torch.full((batch, beams), -1e9)
    log_prob[:, 0] = 0
    first, said = torch.arange(batch).unsqueeze(1) * beams, []
    for _ in range(T):
        logits, h = step(word, h, memory, keys)
        all_of = log_prob.view(-1, 1) + torch.log_softmax(logits, -1)
        log_prob, at = all_of.view(batch, -1).topk(beams)
        parent = (first + at // V).view(-1)
        word = (at % V).view(-1)
        h = h.index_select(0, parent)
        said.append((parent, word))
        if bool((word == -1).all()):
            break
    return said, log_prob


def main():
    numbers = [int(a) for a in sys.argv[1:] if a.isdigit()]
    torch.set_num_threads(numbers[0] if numbers else 2)
    runs = numbers[1] if len(numbers) > 1 else 7
    torch.manual_seed(0)
    net = Decoder().eval()
    step = torch.compile(net, dynamic=False) if "compile" in sys.argv else net
    for batch, beams in ((1, 1), (1, 5), (64, 1), (64, 5)):
        memory, each = torch.randn(batch, S, H), []
        few = runs if batch == 1 else min(runs, 3)
        for run in range(few + 1):
            at = time.perf_counter()
            greedy(net, step, memory) if beams == 1 else beam(net, step, memory, beams)
            if run > 0:
                each.append((time.perf_counter() - at) / T)
        took = sorted(each)[len(each) // 2]
        print(f"torch B={batch} beams={beams}: {batch / took:.0f} tokens/s, "
              f"a step {1e6 * took:.1f} us", flush=True)


main()
