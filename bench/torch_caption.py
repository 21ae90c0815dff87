#!/usr/bin/env python3
"""Describes pictures that it draws itself: examples/caption in PyTorch, by the same recipe and with
the same options. Convolutions read one to three things, colour and shape and place, into a grid of
features; a GRU that looks over the grid for each word says what is there. Judged on pictures of
things of which a sixth of all (colour, shape, place), never drawn in training, is made.
usage: torch_caption.py --help"""
import argparse
import math
import os
import random
import signal
import sys
import time

import torch
from torch import nn
from torch.nn import functional as F

COLOURS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.75, 0.2), "blue": (0.2, 0.3, 1),
           "yellow": (0.95, 0.85, 0.1), "pink": (1, 0.4, 0.8), "white": (0.95, 0.95, 0.95)}
SHAPES = {"circle": lambda u, v: u * u + v * v <= 1,
          "square": lambda u, v: u <= 1,
          "triangle": lambda u, v: 2 * u.abs() <= v + 1,
          "diamond": lambda u, v: u.abs() + v.abs() <= 1,
          "cross": lambda u, v: (u.abs() <= 0.3) | (v.abs() <= 0.3),
          "ring": lambda u, v: (u * u + v * v <= 1) & (u * u + v * v >= 0.3)}
PLACES = ["at the top left", "at the top", "at the top right", "on the left", "in the middle",
          "on the right", "at the bottom left", "at the bottom", "at the bottom right"]
WORDS = ["<pad>", "<bos>", "<eos>", "a", "and", *COLOURS, *SHAPES, "at", "on", "in", "the", "top",
         "bottom", "left", "right", "middle"]
PAD, BOS, EOS, A = range(4)
THINGS, SIDE, ROOM, GRID = 3, 36, 12, 9
CELL, LONGEST, SOME = SIDE // GRID, 8 * THINGS, 128
TRAIN, VALID, HELD_OUT = range(3)
FIXED = ["hidden", "channels"]
KEPT = FIXED + "things batch pictures epochs lr warmup clip patience seed".split()


class Bad(Exception):
    """What is said in one sentence."""


def options():
    p = argparse.ArgumentParser(description="Describes pictures that it draws itself.")
    defaults = {}

    def add(name, kind, default, text, low=None, high=None):
        def read(word):
            value = kind(word)
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                raise argparse.ArgumentTypeError(f"'{word}' is not from {low} to {high}")
            return value
        p.add_argument("--" + name, type=read, help=f"{text} ({default})")
        defaults[name] = default

    add("png", str, None, "a folder for pictures that are shown, and where it looked")
    add("things", int, 3, "things in a picture, at most", 1, THINGS)
    add("hidden", int, 96, "units of the decoder", 1, 4096)
    add("channels", int, 48, "features of a cell", 1, 4096)
    add("batch", int, 16, "pictures in a step", 1, 4096)
    add("pictures", int, 3200, "pictures in an epoch", 1, 10**9)
    add("scenes", int, 1000, "held-out scenes to judge", 1, 10**6)
    add("show", int, 5, "of them to show", 0, 10**6)
    add("epochs", int, 20, "epochs in all, a saved model's included", 0)
    add("lr", float, 4e-3, "learning rate, by a cosine down to 0", 0, 1e3)
    add("warmup", int, 200, "steps in which the rate grows from 0", 0)
    add("clip", float, 1.0, "the most that the gradient's norm may be", 0)
    add("patience", int, 0, "ends after N epochs that brought nothing", 0)
    add("seed", int, 1, "of everything random", 0)
    add("threads", int, os.cpu_count(), "threads", 1, 1024)
    add("save", str, None, "where the model goes")
    add("every", int, 0, "saves after every N steps, too", 0)
    add("load", str, None, "goes on where a saved model stood")
    add("log", str, None, "CSV of every step")
    return p.parse_args(), defaults


def settle(o, defaults):
    """The command line, then the saved model, then the defaults."""
    saved = None
    if o.load:
        try:
            saved = torch.load(o.load, weights_only=True)
            kept = saved["options"]
        except (OSError, RuntimeError, KeyError, ValueError, EOFError) as e:
            raise Bad(f"load {o.load}: {e}") from None
        for name in FIXED:
            if getattr(o, name) not in (None, kept[name]):
                raise Bad(f"load {o.load}: the saved model has --{name} {kept[name]}")
        defaults = {**defaults, **kept}
    for name, value in defaults.items():
        if getattr(o, name) is None:
            setattr(o, name, value)
    if o.every and not o.save:
        raise Bad("--every needs --save, a file to save to")
    for path in (o.save, o.log):
        if path and os.path.isdir(path):
            raise Bad(f"{path} is a folder")
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise Bad(f"{path}: its folder does not exist")
    if o.png and not os.path.isdir(o.png):
        os.mkdir(o.png)
    return saved


def scene_of(o, part, number):
    """Things (colour, shape, place, x, y, r) in the order of their places. Held out are those whose
    colour, shape and place come to a multiple of 6. The first epochs have fewer things."""
    draw = random.Random(f"{o.seed} {part} {number}")
    most = 1 + number // o.pictures // 2 if part == TRAIN else THINGS
    things = []
    for place in sorted(draw.sample(range(9), draw.randint(1, min(most, o.things)))):
        colour, off = draw.randrange(6), 0 if part == HELD_OUT else draw.randint(1, 5)
        r = ROOM / 2 * draw.uniform(0.7, 0.9)
        slack = ROOM - 2 * r
        things.append((colour, (off - colour - place) % 6, place,
                       place % 3 * ROOM + r + slack * draw.random(),
                       place // 3 * ROOM + r + slack * draw.random(), r))
    return things


def draw(things, seed):
    """A picture (3, SIDE, SIDE); a pixel at an edge is covered in part."""
    noise = torch.Generator().manual_seed(seed)
    picture = (0.3 * torch.rand((), generator=noise)).expand(3, SIDE, SIDE).clone()
    fine = (torch.arange(3 * SIDE) + 0.5) / 3
    for colour, shape, _, x, y, r in things:
        u, v = ((fine - x) / r).expand(3 * SIDE, -1), ((fine - y) / r).unsqueeze(1)
        covered = list(SHAPES.values())[shape](u, v) & (u.abs() <= 1) & (v.abs() <= 1)
        cover = F.avg_pool2d(covered.float().unsqueeze(0), 3)
        light = torch.tensor(list(COLOURS.values())[colour]).view(3, 1, 1)
        picture += cover * (light - picture)
    return picture + 0.2 * torch.rand(picture.shape, generator=noise) - 0.1


def describe(things):
    """The ids of "a red circle at the top left and a blue ring in the middle", and the end."""
    said = [f"a {list(COLOURS)[c]} {list(SHAPES)[s]} {PLACES[p]}" for c, s, p, *_ in things]
    return [WORDS.index(word) for word in " and ".join(said).split()] + [EOS]


def batch_of(o, part, first, n):
    """Scenes, pictures (n, 3, SIDE, SIDE), the words before and after each step (n, T)."""
    scenes = [scene_of(o, part, first + i) for i in range(n)]
    pictures = torch.stack([draw(s, (o.seed * 3 + part) * 10**9 + first + i)
                            for i, s in enumerate(scenes)])
    words = [torch.tensor(describe(s)) for s in scenes]
    after = nn.utils.rnn.pad_sequence(words, batch_first=True)
    return scenes, pictures, F.pad(after[:, :-1], (1, 0), value=BOS), after


class Captioner(nn.Module):
    def __init__(self, o):
        super().__init__()
        width = [3, (o.channels + 2) // 3, (2 * o.channels + 2) // 3, o.channels]
        self.conv = nn.ModuleList(nn.Conv2d(a, b, kernel, padding=kernel // 2, bias=False)
                                  for a, b, kernel in zip(width, width[1:], (3, 3, 1)))
        self.norm = nn.ModuleList(nn.BatchNorm2d(features) for features in width[1:])
        self.place = nn.Parameter(0.3 * torch.randn(GRID * GRID, o.channels))
        self.words = nn.Embedding(len(WORDS), o.hidden)
        nn.init.normal_(self.words.weight, std=0.1)
        self.cell = nn.GRU(o.hidden, o.hidden, batch_first=True)
        self.query = nn.Linear(o.hidden, o.hidden)
        self.key = nn.Linear(o.channels, o.hidden, bias=False)
        self.score = nn.Linear(o.hidden, 1, bias=False)
        self.out = nn.Linear(o.hidden + o.channels, len(WORDS))

    def features(self, x):
        """Pictures (n, 3, SIDE, SIDE) to (n, GRID GRID, channels)."""
        for i, (conv, norm) in enumerate(zip(self.conv, self.norm)):
            x = norm(conv(x)).relu()
            if i < 2:
                x = (F.avg_pool2d if i else F.max_pool2d)(x, 2)
        return x.flatten(2).transpose(1, 2) + self.place

    def forward(self, memory, words, state=None):
        """Logits (n, T, V), weights (n, T, S). The state knows only which words were said."""
        h, state = self.cell(self.words(words), state)
        fit = self.score((self.query(h).unsqueeze(2) + self.key(memory).unsqueeze(1)).tanh())
        weights = fit.squeeze(3).softmax(2)
        return self.out(torch.cat([h, weights @ memory], 2)), weights, state

    @torch.no_grad()
    def describe(self, pictures):
        """Sentences as ids, and for each the weights (T, S)."""
        self.eval()
        memory, state = self.features(pictures), None
        word = torch.full((len(pictures), 1), BOS)
        words, looks = [], []
        for _ in range(LONGEST):
            logits, weights, state = self(memory, word, state)
            word = logits.argmax(2)
            words.append(word)
            looks.append(weights)
        words, looks = torch.cat(words, 1).tolist(), torch.cat(looks, 1)
        return [w[:w.index(EOS) + 1] if EOS in w else w for w in words], looks


def mass_inside(weights, thing):
    """The part of a word's attention (S) that lies in a thing's box."""
    low = torch.arange(GRID) * CELL
    x, y, r = thing[3:]
    part = [((low + CELL).clamp(max=at + r) - low.clamp(min=at - r)).clamp(min=0) / CELL
            for at in (y, x)]
    return (weights.view(GRID, GRID) * torch.outer(*part)).sum().item()


def save_pictures(folder, number, picture, words, weights):
    """The picture, and for each word the attention over it."""
    from matplotlib import pyplot
    picture = picture.clamp(0, 1).permute(1, 2, 0).numpy()
    pyplot.imsave(f"{folder}/{number:03}.png", picture)
    for i, word in enumerate(words):
        figure = pyplot.figure(figsize=(3, 3))
        pyplot.imshow(picture, extent=(0, 1, 0, 1))
        pyplot.imshow(weights[i].view(GRID, GRID), "gray", alpha=0.6, extent=(0, 1, 0, 1))
        pyplot.axis("off")
        pyplot.savefig(f"{folder}/{number:03}-{i + 1:02}-{word}.png")
        pyplot.close(figure)


def judge(o, net, part, n, show=0):
    """The part of n sentences that is right, the mean attention inside where a colour is named, and
    where a shape is: the k-th "a" speaks of thing k."""
    right, inside = 0, [[], []]
    for at in range(0, n, SOME):
        scenes, pictures, *_ = batch_of(o, part, at, min(SOME, n - at))
        sentences, looks = net.describe(pictures)
        for i, (scene, ids) in enumerate(zip(scenes, sentences)):
            right += ids == describe(scene)
            k, since = -1, LONGEST
            for step, word in enumerate(ids):
                k, since = (k + 1, 0) if word == A else (k, since + 1)
                if since in (1, 2):
                    mass = mass_inside(looks[i, step], scene[k]) if k < len(scene) else 0
                    inside[since - 1].append(mass)
            if at + i < show:
                words = [WORDS[word] for word in ids if word != EOS]
                print(f"{at + i:03}  {' '.join(words)}")
                if o.png:
                    save_pictures(o.png, at + i, pictures[i], words, looks[i])
    return right / n, *(sum(masses) / max(len(masses), 1) for masses in inside)


class Run:
    """Where training stands; all that a file keeps."""
    NUMBERS = ("step", "epoch", "position", "since", "best")

    def __init__(self, o, net, saved):
        self.o, self.net, self.adam = o, net, torch.optim.Adam(net.parameters(), o.lr)
        self.step, self.epoch, self.position, self.since = 0, 0, 0, 0
        self.best, self.weights, self.signal = -1, None, 0
        if saved:
            try:
                net.load_state_dict(saved["now"])
                self.adam.load_state_dict(saved["adam"])
            except (RuntimeError, ValueError) as e:
                raise Bad(f"load {o.load}: {str(e).splitlines()[0]}") from None
            for name in self.NUMBERS:
                setattr(self, name, saved[name])
            self.weights = saved["weights"]

    def save(self):
        kept = {name: getattr(self, name) for name in self.NUMBERS}
        kept |= {"options": {name: getattr(self.o, name) for name in KEPT}, "weights": self.weights,
                 "now": self.net.state_dict(), "adam": self.adam.state_dict()}
        part = f"{self.o.save}.{os.getpid()}"
        try:
            torch.save(kept, part)
            os.replace(part, self.o.save)
        except OSError as e:
            raise Bad(f"save {self.o.save}: {e}") from None

    def learn_step(self):
        _, pictures, before, after = batch_of(self.o, TRAIN, self.step * self.o.batch, self.o.batch)
        self.net.train()
        for part in (self.net.query, self.net.key, self.net.score):
            part.requires_grad_(self.epoch > 0)  # else it would learn to look away from the thing
        logits, *_ = self.net(self.net.features(pictures), before)
        loss = F.cross_entropy(logits.flatten(0, 1), after.flatten(), ignore_index=PAD)
        if not loss.isfinite():
            raise Bad(f"step {self.step + 1}: the loss is {loss.item()}")
        self.adam.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), self.o.clip or math.inf)
        self.adam.step()
        return loss.item(), norm.item()

    def learn(self):
        o, per = self.o, (self.o.pictures + self.o.batch - 1) // self.o.batch
        log = open(o.log, "a" if self.step else "w", encoding="utf-8") if o.log else None
        if log and not self.step:
            print("step,epoch,loss,right,norm,rate,speed", file=log)
        print(f"{sum(p.numel() for p in self.net.parameters())} weights; {o.threads} threads",
              file=sys.stderr)
        begun, shown, first, live = time.time(), 0, self.step, sys.stderr.isatty()
        while self.epoch < o.epochs and not self.signal:
            if o.patience and self.since >= o.patience:
                break
            rate = o.lr * (0.5 + 0.5 * math.cos(math.pi * self.step / (per * o.epochs)))
            rate *= min(1, (self.step + 1) / o.warmup) if o.warmup else 1
            self.adam.param_groups[0]["lr"] = rate
            loss, norm = self.learn_step()
            self.step, self.position, figure = self.step + 1, self.position + 1, ""
            speed = (self.step - first) * o.batch / (time.time() - begun)
            if time.time() - shown > (0.1 if live else 5):
                shown = time.time()
                left = (per * o.epochs - self.step) * o.batch / speed
                print("\r\033[K" if live else "", f"epoch {self.epoch + 1}/{o.epochs}  "
                      f"{self.position}/{per}  loss {loss:.3f}  {speed:.0f} pictures/s  "
                      f"{left // 60:.0f}:{left % 60:02.0f} left", sep="",
                      end="" if live else "\n", file=sys.stderr, flush=True)
            if self.position == per:
                self.epoch, self.position, self.since = self.epoch + 1, 0, self.since + 1
                figure, *_ = judge(o, self.net, VALID, 2 * SOME)
                better = figure > self.best
                if better:
                    self.best, self.since = figure, 0
                    self.weights = {k: v.clone() for k, v in self.net.state_dict().items()}
                print("\r\033[K" if live else "", f"epoch {self.epoch}  right {figure:.4f}",
                      "  (best)" if better else "", sep="", file=sys.stderr)
            if log:
                print(self.step, self.epoch, f"{loss:.6f}", figure, f"{norm:.4g}", f"{rate:.4g}",
                      f"{speed:.0f}", sep=",", file=log, flush=True)
            if o.every and self.step % o.every == 0:
                self.save()
        if o.save:
            self.save()
        if self.weights:
            self.net.load_state_dict(self.weights)


def main():
    o, defaults = options()
    saved = settle(o, defaults)
    torch.set_num_threads(o.threads)
    torch.manual_seed(o.seed)
    net = Captioner(o)
    run = Run(o, net, saved)

    def stop(number, frame):
        run.signal = number
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    run.learn()
    if run.signal:
        print(f"stopped by signal {run.signal} after step {run.step}", file=sys.stderr)
        return 128 + run.signal
    right, colour, shape = judge(o, net, HELD_OUT, o.scenes, o.show)
    print(f"{o.scenes} held-out scenes: {100 * right:.1f} % of the sentences are exactly right")
    print(f"attention inside the thing's box: {colour:.3f} at its colour, {shape:.3f} at its shape")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Bad, OSError) as bad:
        print(f"torch_caption: {bad}", file=sys.stderr)
        sys.exit(1)
