#!/usr/bin/env python3
"""A row of bench/conv in PyTorch on the CPU: a convolution, pooling or batch_norm, forward alone,
and with the gradients of all that goes in; medians. bench/conv calls it with the row's sizes.
usage: torch_conv.py THREADS conv|max_pool|mean_pool|batch_norm AXES SAMPLES INPUTS IN IN OUTPUTS
       KERNEL KERNEL STRIDE STRIDE PADDING PADDING DILATION DILATION GROUPS"""
import sys
import time

import torch
from torch.nn import functional as F


def milliseconds(step, least=0.4):
    """The median of steps over about `least` seconds."""
    for _ in range(3):
        step()
    each, begun = [], time.perf_counter()
    while time.perf_counter() - begun < least or len(each) < 5:
        at = time.perf_counter()
        step()
        each.append(time.perf_counter() - at)
    return sorted(each)[len(each) // 2] * 1e3


def main():
    torch.set_num_threads(int(sys.argv[1]))
    op, axes, samples, inputs, *rest = sys.argv[2], *map(int, sys.argv[3:])
    size, outputs, kernel = tuple(rest[0:2]), rest[2], tuple(rest[3:5])
    stride, padding, dilation, groups = (tuple(rest[i:i + 2]) for i in (5, 7, 9, 11))
    if axes == 1:
        size, kernel, stride, padding, dilation = (a[1:] for a in (size, kernel, stride, padding,
                                                                   dilation))
    torch.manual_seed(0)
    leaves = [torch.randn(samples, inputs, *size, requires_grad=True)]
    if op == "conv":
        leaves.append(torch.randn(outputs, inputs // groups[0], *kernel, requires_grad=True))
    if op == "batch_norm":
        leaves.append(torch.randn(outputs, requires_grad=True))
    if op in ("conv", "batch_norm"):
        leaves.append(torch.randn(outputs, requires_grad=True))

    def forward():
        if op == "conv":
            conv = F.conv1d if axes == 1 else F.conv2d
            return conv(*leaves, stride, padding, dilation, groups[0])
        if op == "batch_norm":
            return F.batch_norm(leaves[0], None, None, *leaves[1:], training=True)
        pool = F.max_pool2d if op == "max_pool" else F.avg_pool2d
        return pool(leaves[0], kernel, stride, padding)

    with torch.no_grad():
        alone = milliseconds(forward)
        g = torch.randn_like(forward())

    def both():
        forward().backward(g)
        for leaf in leaves:
            leaf.grad = None

    print(f"forward {alone:.3f} ms, both {milliseconds(both):.3f} ms", flush=True)


main()
