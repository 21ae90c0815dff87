#!/usr/bin/env python3
"""One epoch of Multi30k by the model of bentrevett/pytorch-seq2seq ("Packed Padded Sequences,
Masking, Inference", tutorial 4) in PyTorch on the CPU: bidirectional GRU encoder of 512, packed;
GRU decoder of 512 with concat attention that masks padding, a loop of single steps; dropout 0.5,
batches of 128 of about equal length, Adam, clipping at 1, the word before always the true one.
It prints target words (ends included) per second, as examples/translate logs them, and seconds.
usage: torch_translate.py FOLDER [THREADS] [STEPS]     STEPS: 0, all of an epoch"""
import collections
import random
import sys
import time

import torch
from torch import nn

EMBEDDING, HIDDEN, BATCH, DROPOUT = 256, 512, 128, 0.5
PAD, UNKNOWN, BEGIN, END = range(4)


def read(path):
    with open(path, encoding="utf-8") as lines:
        return [line.split() for line in lines]


def ids_of(sentences):
    """Words that are there twice get a number; each sentence has its ends."""
    counts = collections.Counter(word for sentence in sentences for word in sentence)
    known = {w: 4 + i for i, w in enumerate(w for w in sorted(counts) if counts[w] >= 2)}
    ids = [[BEGIN, *(known.get(w, UNKNOWN) for w in s), END] for s in sentences]
    return ids, 4 + len(known)


def batches(sources, targets):
    """Torchtext's BucketIterator: windows of 100 batches sorted by length, batches shuffled."""
    order, made = random.sample(range(len(sources)), len(sources)), []
    for at in range(0, len(order), 100 * BATCH):
        window = sorted(order[at:at + 100 * BATCH], key=lambda i: -len(sources[i]))
        made += [window[k:k + BATCH] for k in range(0, len(window), BATCH)]
    random.shuffle(made)
    for some in made:
        source, target = [torch.tensor(sources[i]) for i in some], [targets[i] for i in some]
        target = [torch.tensor(t) for t in target]
        lengths = torch.tensor([len(s) for s in source])
        yield nn.utils.rnn.pad_sequence(source), lengths, nn.utils.rnn.pad_sequence(target)


class Translator(nn.Module):
    def __init__(self, source, target):
        super().__init__()
        self.source, self.target = nn.Embedding(source, EMBEDDING), nn.Embedding(target, EMBEDDING)
        self.encoder = nn.GRU(EMBEDDING, HIDDEN, bidirectional=True)
        self.bridge = nn.Linear(2 * HIDDEN, HIDDEN)
        self.attend, self.score = nn.Linear(3 * HIDDEN, HIDDEN), nn.Linear(HIDDEN, 1, bias=False)
        self.decoder = nn.GRU(2 * HIDDEN + EMBEDDING, HIDDEN)
        self.output = nn.Linear(3 * HIDDEN + EMBEDDING, target)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, source, lengths, target):
        words = self.dropout(self.source(source))
        packed = nn.utils.rnn.pack_padded_sequence(words, lengths)
        memory, last = self.encoder(packed)
        memory, _ = nn.utils.rnn.pad_packed_sequence(memory)
        memory = memory.transpose(0, 1)                                       # (B, S, 2 H)
        hidden = torch.tanh(self.bridge(torch.cat((last[-2], last[-1]), 1)))  # (B, H)
        mask, said = (source != PAD).T, []
        for before in target[:-1]:
            word = self.dropout(self.target(before)).unsqueeze(0)
            query = hidden.unsqueeze(1).repeat(1, memory.shape[1], 1)
            energy = torch.tanh(self.attend(torch.cat((query, memory), 2)))
            fit = self.score(energy).squeeze(2).masked_fill(mask == 0, -1e10)
            seen = torch.bmm(torch.softmax(fit, 1).unsqueeze(1), memory).transpose(0, 1)
            out, state = self.decoder(torch.cat((word, seen), 2), hidden.unsqueeze(0))
            hidden = state.squeeze(0)
            said.append(self.output(torch.cat((out[0], seen[0], word[0]), 1)))
        return torch.stack(said)


def main():
    folder = sys.argv[1]
    torch.set_num_threads(int(sys.argv[2]) if len(sys.argv) > 2 else 2)
    steps = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    torch.manual_seed(0)
    random.seed(0)
    sources, there = ids_of(read(f"{folder}/train.de"))
    targets, here = ids_of(read(f"{folder}/train.en"))
    net = Translator(there, here)
    adam, entropy = torch.optim.Adam(net.parameters()), nn.CrossEntropyLoss(ignore_index=PAD)
    words, took = 0, time.perf_counter()
    for step, (source, lengths, target) in enumerate(batches(sources, targets), 1):
        adam.zero_grad()
        loss = entropy(net(source, lengths, target).flatten(0, 1), target[1:].flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1)
        adam.step()
        words += int((target[1:] != PAD).sum())
        if step == steps:
            break
    took = time.perf_counter() - took
    print(f"translate eager: {words / took:.0f} words/s, {step} steps in {took:.1f} s, last loss "
          f"{loss.item():.3f}", flush=True)


main()
