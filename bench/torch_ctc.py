#!/usr/bin/env python3
"""What bench/ctc times, in PyTorch on the CPU: log_softmax, ctc_loss, backward.
usage: torch_ctc.py [THREADS [T B C L]]"""
import sys
import time

import torch

n = [2, 500, 32, 80, 60]
n[:len(sys.argv) - 1] = map(int, sys.argv[1:])
threads, frames, batch, classes, labels = n
torch.set_num_threads(threads)
torch.manual_seed(0)
x = torch.randn(frames, batch, classes, requires_grad=True)
targets = torch.randint(1, classes, (batch, labels))
lengths = torch.full((batch,), frames), torch.full((batch,), labels)
each = []
for run in range(23):
    x.grad = None
    begun = time.perf_counter()
    torch.nn.functional.ctc_loss(x.log_softmax(-1), targets, *lengths).backward()
    each.append(time.perf_counter() - begun)
print(f"ctc T={frames} B={batch} C={classes} L={labels}  {1e3 * sorted(each[2:])[10]:.2f} ms "
      f"on {threads} threads in PyTorch")
