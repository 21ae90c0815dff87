#!/usr/bin/env python3
"""What bench/attention times, in PyTorch on the CPU: scaled_dot_product_attention over heads of
projections (T, B, heads D), forward alone, and forward and back.
usage: torch_attention.py [THREADS]"""
import sys
import time

import torch

SHAPES = ((16, 8, 256, 64), (16, 8, 64, 64), (4, 8, 1024, 64), (1, 8, 4096, 64),
          (16, 16, 256, 32), (16, 4, 256, 128), (1, 1, 1024, 64))


def milliseconds(step, least=1.0):
    """The median of steps over about `least` seconds."""
    for _ in range(3):
        step()
    each, begun = [], time.perf_counter()
    while time.perf_counter() - begun < least or len(each) < 5:
        at = time.perf_counter()
        step()
        each.append(time.perf_counter() - at)
    return sorted(each)[len(each) // 2] * 1e3


def time_one(batch, heads, length, width, causal):
    torch.manual_seed(0)
    x = [torch.randn(length, batch, heads * width, requires_grad=True) for _ in range(3)]
    g = torch.randn(batch, heads, length, width)

    def attend():
        q, k, v = (a.view(length, batch, heads, width).permute(1, 2, 0, 3) for a in x)
        return torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=causal)

    def step():
        attend().backward(g)
        for a in x:
            a.grad = None

    with torch.inference_mode():
        forward = milliseconds(attend)
    return forward, milliseconds(step)


def main():
    torch.set_num_threads(int(sys.argv[1]) if len(sys.argv) > 1 else 2)
    for batch, heads, length, width in SHAPES:
        for causal in (False, True):
            forward, both = time_one(batch, heads, length, width, causal)
            name = " causal" if causal else ""
            print(f"attention B={batch} heads={heads} T={length} D={width}{name}"
                  f"  forward {forward:.2f} ms  both {both:.2f} ms", flush=True)


main()
