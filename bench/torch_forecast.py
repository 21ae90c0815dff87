#!/usr/bin/env python3
"""Forecasts columns of a CSV file, many rows ahead: examples/forecast in PyTorch, by the same
recipe and with the same options. A GRU or LSTM reads a window of scaled numbers, of what is missing
and of the season's phase; what it adds to the last value and to what is linear in the way to it is
the forecast of all rows of the horizon. Judged from a rolling origin against the naive and the
seasonal naive forecast. usage: torch_forecast.py --help"""
import argparse
import csv
import math
import os
import random
import signal
import sys
import time

import torch
from torch import nn

MISSING = {"", "?", "na", "n/a", "nan", "null"}
KEPT = ("columns target horizon input season cell hidden layers dropout batch valid folds test "
        "epochs lr clip patience seed").split()
PLACE = "step epoch position since best".split()
FIXED = "horizon input season cell hidden layers".split()


class Bad(Exception):
    """What is said in one sentence."""


def options():
    p = argparse.ArgumentParser(description="Forecasts columns of numbers, many rows ahead.")

    def add(name, kind, default, text, low=None, high=None, **more):
        def read(word):
            value = kind(word)
            if (low is not None and not value >= low) or (high is not None and not value <= high):
                raise argparse.ArgumentTypeError(f"'{word}' is not from {low} to {high}")
            return value
        p.add_argument("--" + name, type=read, help=f"{text} ({default})", **more)
        defaults[name] = default

    defaults = {}
    add("data", str, None, "CSV, a row for each time (a series made up here)")
    add("columns", str, None, "names or numbers of columns, with commas")
    add("target", str, None, "those to forecast (all that are read)")
    add("horizon", int, 24, "rows to forecast at once", 1, 4096)
    add("input", int, 168, "rows that a forecast reads", 2, 65536)
    add("season", int, 24, "rows of a season; 1: none", 1, 1 << 20)
    add("cell", str, "gru", "gru or lstm", choices=["gru", "lstm"])
    add("hidden", int, 48, "units of a layer", 1, 4096)
    add("layers", int, 1, "layers", 1, 16)
    add("dropout", float, 0.3, "dropout", 0, 0.999)
    add("batch", int, 32, "windows of a step", 1, 65536)
    add("valid", float, 0.1, "part that chooses the epoch", 0.001, 0.9)
    add("folds", int, 4, "tests at the end, one after another; 0: none", 0, 1000)
    add("test", int, 0, "rows of a test; 0: all have a fifth of the rows", 0)
    add("ahead", int, 0, "prints N rows beyond the end as CSV, instead of errors", 0, 10**6)
    add("svg", str, None, "draws the last rows, and what was forecast of them")
    add("epochs", int, 20, "epochs in all, a saved model's included", 0)
    add("lr", float, 2e-3, "learning rate, by a cosine down to 0", 0, 1e3)
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
    for path in (o.save, o.log, o.svg):
        if path and os.path.isdir(path):
            raise Bad(f"{path} is a folder")
        if path and not os.path.isdir(os.path.dirname(path) or "."):
            raise Bad(f"{path}: its folder does not exist")
        if path and o.data and os.path.exists(path) and os.path.samefile(path, o.data):
            raise Bad(f"{path} would replace what is read")
    return saved


def made_series():
    """Hours of a load that follows day, week and, late, a temperature that wanders; gaps."""
    noise, weather, felt, gap = random.Random(1), 0.0, 0.0, 0
    lines = [["load", "temperature"]]
    for t in range(3000):
        hour, weekend = math.pi / 12 * t, t // 24 % 7 >= 5
        weather = 0.98 * weather + noise.gauss(0, 1)
        temperature = 10 + weather - 4 * math.cos(hour)
        felt += (temperature - felt) / 8
        load = 80 - 10 * math.cos(hour) - (12 if weekend else 5 * math.cos(2 * hour))
        load += noise.gauss(0, 1) - 2 * felt
        gap -= 1
        if gap < 0 and noise.random() < 0.01:
            gap = noise.randint(1, 12)
        lines.append(["NA" if gap > 0 else f"{load:.1f}", f"{temperature:.1f}"])
    return lines


def number(field, line):
    if field.strip().lower() in MISSING:
        return math.nan
    try:
        value = float(field)
    except ValueError:
        value = math.inf
    if not math.isfinite(value):
        raise Bad(f"line {line}: '{field}' is no number")
    return value


def is_numeric(fields):
    try:
        return not all(math.isnan(number(field, 0)) for field in fields)
    except Bad:
        return False


def read_table(path):
    if not path:
        lines = made_series()
    else:
        try:
            with open(path, encoding="utf-8-sig", newline="") as file:
                text = file.read()
            first = text.split("\n", 1)[0]
            separator = next((s for s in "\t;," if s in first), ",")
            lines = [line for line in csv.reader(text.splitlines(), delimiter=separator) if line]
        except (OSError, UnicodeDecodeError, csv.Error) as e:
            raise Bad(f"{path}: {e}") from None
    if not lines:
        raise Bad(f"{path} is empty")
    for i, line in enumerate(lines):
        if len(line) != len(lines[0]):
            raise Bad(f"{path}: line {i + 1} has {len(line)} fields, the first {len(lines[0])}")
    has_names = not any(is_numeric([field]) for field in lines[0])
    names = lines.pop(0) if has_names else [str(i) for i in range(len(lines[0]))]
    if not lines:
        raise Bad(f"{path} has no row")
    return [name.strip() for name in names], list(zip(*lines))


def select(names, wanted):
    out = []
    for name in wanted.split(","):
        if name in names:
            out.append(names.index(name))
        elif name.isdigit() and int(name) < len(names):
            out.append(int(name))
        else:
            raise Bad(f"there is no column '{name}'")
    return out


class Series:
    """truth (T, targets), NaN where a number is missing; input (T, n and phase), scaled and filled,
    targets first; mask of that form."""

    def __init__(self, o, saved):
        names, table = read_table(o.data)
        numeric = [i for i, fields in enumerate(table) if is_numeric(fields)]
        columns = select(names, o.columns) if o.columns else numeric
        targets = select(names, o.target) if o.target else columns
        columns = targets + [c for c in columns if c not in targets]
        if not columns:
            raise Bad("no column holds numbers alone; --columns names some")
        self.names, self.n = [names[c] for c in targets], len(targets)
        values = torch.tensor([[number(field, i + 2) for i, field in enumerate(table[c])]
                               for c in columns]).T
        self.truth, self.rows = values[:, :self.n].clone(), len(values)
        test = o.test or self.rows // 5 // max(o.folds, 1)
        self.learned = self.rows - o.folds * test
        self.tests = [(self.learned + k * test, self.learned + (k + 1) * test)
                      for k in range(o.folds)]
        if self.learned <= 0 or (o.folds and test < o.horizon):
            raise Bad(f"{self.rows} rows are too few for --folds, --test and --horizon")
        if o.season >= self.learned:
            raise Bad(f"--season {o.season} is not below the {self.learned} rows before the tests")
        angle = 2 * math.pi * (torch.arange(self.rows + o.ahead + o.horizon) % o.season) / o.season
        self.phase = torch.stack([angle.sin(), angle.cos()], 1)
        known = values[:self.learned]
        self.offset = known.nanmean(0)
        self.scale = (known - self.offset).square().nanmean(0).sqrt()
        self.scale[self.scale == 0] = 1
        if saved:
            self.offset, self.scale = saved["offset"], saved["scale"]
        if len(self.offset) != len(columns) or self.offset.isnan().any():
            raise Bad(f"{len(columns)} columns do not fit, or one has no number to learn from")
        self.mask, values = (~values.isnan()).float(), (values - self.offset) / self.scale
        for t in range(self.rows):
            before = values[t - 1] if t else torch.zeros(len(columns))
            values[t] = torch.where(values[t].isnan(), before, values[t])
        self.values = values
        lag = (self.truth[o.season:self.learned] - self.truth[:self.learned - o.season]).abs()
        self.mase = lag.nanmean(0)

    def window(self, o, at, ahead=()):
        """What a forecast of rows at .. reads; `ahead` are (values, mask) beyond the end."""
        values, mask = ahead or (self.values, self.mask)
        rows = slice(at - o.input, at)
        return torch.cat([values[rows], self.phase[rows], mask[rows]], 1)

    def origins(self, o, begin, end):
        there = self.mask[:, :self.n].sum(1)
        return [at for at in range(max(begin, o.input), end - o.horizon + 1)
                if there[at:at + o.horizon].sum() > 0]


class Net(nn.Module):
    def __init__(self, o, wide, targets):
        super().__init__()
        kind = nn.GRU if o.cell == "gru" else nn.LSTM
        self.shape = (targets, o.horizon)
        self.encoder = kind(wide, o.hidden, o.layers)
        self.dropout, self.head = nn.Dropout(o.dropout), nn.Linear(o.hidden, targets * o.horizon)
        self.line = nn.Linear(o.input, o.horizon)
        nn.init.zeros_(self.line.weight)

    def forward(self, x):
        """x (input, B, numbers and masks) to (horizon, B, targets)."""
        own = x[..., :self.shape[0]]
        line = self.line((own - own[-1]).permute(1, 2, 0))
        head = self.head(self.dropout(self.encoder(x)[0][-1])).view(-1, *self.shape)
        return (line + head).permute(2, 0, 1) + own[-1]


def last_seen(truth, season):
    """Of each row the last value that is there of its phase."""
    seen = truth.clone()
    for t in range(season, len(seen)):
        seen[t] = torch.where(seen[t].isnan(), seen[t - season], seen[t])
    return seen


@torch.no_grad()
def judge(o, series, net, begin, end):
    """MASE, MAE and RMSE of the net, the naive and the seasonal naive forecast."""
    net.eval()
    origins, off = series.origins(o, begin, end), [[], [], []]
    if not origins:
        raise Bad(f"rows {begin} to {end} have no window of --input and --horizon")
    n, lags = series.n, (1, o.season)
    seen = [last_seen(series.truth, lag) for lag in lags]
    for i in range(0, len(origins), o.batch):
        some = origins[i:i + o.batch]
        y = net(torch.stack([series.window(o, at) for at in some], 1))
        y = y * series.scale[:n] + series.offset[:n]
        for k, at in enumerate(some):
            came = series.truth[at:at + o.horizon]
            rows = [at - lag + torch.arange(o.horizon) % lag for lag in lags]
            for j, guess in enumerate((y[:, k], seen[0][rows[0]], seen[1][rows[1]])):
                off[j].append(guess - came)
    figures = []
    for errors in map(torch.stack, off):
        errors = errors.double()
        figures.append([(errors.abs() / series.mase).nanmean().item(),
                        errors.abs().nanmean().item(), errors.square().nanmean().sqrt().item()])
    return figures


def report(o, series, net):
    everything = [(series.learned, series.rows)] if series.tests else []
    for begin, end in series.tests + everything:
        e = judge(o, series, net, begin, end)
        below = 100 * (1 - e[0][0] / e[2][0]) if e[2][0] > 0 else 0
        print(f"rows {begin} to {end - 1}: MASE {e[0][0]:.3f}, {below:.1f} % below the seasonal "
              "naive forecast's")
    for name, (mase, mae, rmse) in zip(("net", "naive", "seasonal naive"), e) if everything else []:
        print(f"  {name:15} MASE {mase:.3f}  MAE {mae:.3f}  RMSE {rmse:.3f}")


@torch.no_grad()
def go_on(o, series, net):
    """Rows beyond the end as CSV; behind the horizon forecasts are read as if they had come."""
    net.eval()
    n, values, mask, rows = series.n, series.values, series.mask, []
    while len(rows) < o.ahead:
        x = series.window(o, len(values), (values, mask))
        y = net(x.unsqueeze(1))[:, 0]
        rest = values[-1:, n:].expand(o.horizon, -1)
        values = torch.cat([values, torch.cat([y, rest], 1)])
        mask = torch.cat([mask, torch.cat([torch.ones_like(y), torch.zeros_like(rest)], 1)])
        rows += (y * series.scale[:n] + series.offset[:n]).tolist()
    print(",".join(["row", *series.names]))
    for i, row in enumerate(rows[:o.ahead]):
        print(",".join([str(series.rows + i), *(f"{value:.6g}" for value in row)]))
    return rows[:o.ahead]


@torch.no_grad()
def draw(o, series, net, ahead):
    from matplotlib import pyplot
    net.eval()
    begin, drawn = series.rows, []
    while begin - o.horizon >= o.input and series.rows - begin < 8 * o.horizon:
        begin -= o.horizon
    for at in range(begin, series.rows, o.horizon):
        y = net(series.window(o, at).unsqueeze(1))[:, 0, 0]
        drawn += (y * series.scale[0] + series.offset[0]).tolist()
    drawn += [row[0] for row in ahead]
    pyplot.plot(range(begin, series.rows), series.truth[begin:, 0], label="what came")
    pyplot.plot(range(begin, begin + len(drawn)), drawn, "--",
                label=f"forecast, {o.horizon} rows at once")
    pyplot.title(series.names[0])
    pyplot.legend()
    pyplot.savefig(o.svg, format="svg")


class Run:
    """Where training stands; all that a file keeps."""

    def __init__(self, o, series, net, saved):
        self.o, self.series, self.net = o, series, net
        self.adam = torch.optim.Adam(net.parameters(), o.lr)
        self.step, self.epoch, self.position, self.since = 0, 0, 0, 0
        self.best, self.weights, self.signal = math.inf, None, 0
        if saved:
            try:
                net.load_state_dict(saved["now"])
                self.adam.load_state_dict(saved["adam"])
            except (RuntimeError, ValueError) as e:
                raise Bad(f"load {o.load}: {str(e).splitlines()[0]}") from None
            for name in PLACE:
                setattr(self, name, saved[name])
            self.weights = saved["weights"]

    def save(self):
        kept = {name: getattr(self, name) for name in PLACE}
        kept |= {"options": {name: getattr(self.o, name) for name in KEPT},
                 "now": self.net.state_dict(), "weights": self.weights,
                 "adam": self.adam.state_dict(),
                 "offset": self.series.offset, "scale": self.series.scale}
        part = f"{self.o.save}.{os.getpid()}"
        try:
            torch.save(kept, part)
            os.replace(part, self.o.save)
        except OSError as e:
            raise Bad(f"save {self.o.save}: {e}") from None

    def learn_step(self, some):
        """The mean absolute error of what is there."""
        o, series, n = self.o, self.series, self.series.n
        torch.manual_seed(o.seed * 1000003 + self.step)
        self.net.train()
        x = torch.stack([series.window(o, at) for at in some], 1)
        y = torch.stack([series.values[at:at + o.horizon, :n] for at in some], 1)
        there = torch.stack([series.mask[at:at + o.horizon, :n] for at in some], 1)
        loss = ((self.net(x) - y).abs() * there).sum() / there.sum()
        if not loss.isfinite():
            raise Bad(f"step {self.step + 1}: the loss is {loss.item()}")
        self.adam.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), o.clip or math.inf)
        self.adam.step()
        return loss.item(), norm.item()

    def learn(self):
        o, series = self.o, self.series
        valid = int(max(1, min((1 - o.valid) * series.learned, series.learned - o.horizon)))
        origins = series.origins(o, 0, valid)
        if not origins:
            raise Bad(f"{valid} rows have no window of --input and --horizon")
        per = (len(origins) + o.batch - 1) // o.batch
        log = open(o.log, "a" if self.step else "w", encoding="utf-8") if o.log else None
        if log and not self.step:
            print("step,epoch,loss,MASE,norm,rate,speed", file=log)
        print(f"{sum(p.numel() for p in self.net.parameters())} weights; {o.threads} threads",
              file=sys.stderr)
        begun, shown, first, live = time.time(), 0, self.step, sys.stderr.isatty()
        while self.epoch < o.epochs and not self.signal:
            if o.patience and self.since >= o.patience:
                break
            rate = o.lr * (0.5 + 0.5 * math.cos(math.pi * self.step / (per * o.epochs)))
            self.adam.param_groups[0]["lr"] = rate
            order = random.Random(f"{o.seed} {self.epoch}").sample(origins, len(origins))
            some = order[self.position * o.batch:(self.position + 1) * o.batch]
            loss, norm = self.learn_step(some)
            self.step, self.position, figure = self.step + 1, self.position + 1, ""
            speed = (self.step - first) * o.batch / (time.time() - begun)
            if time.time() - shown > (0.1 if live else 5):
                shown = time.time()
                left = (per * o.epochs - self.step) * o.batch / speed
                print("\r\033[K" if live else "", f"epoch {self.epoch + 1}/{o.epochs}  "
                      f"{self.position}/{per}  loss {loss:.3f}  {speed:.0f} windows/s  "
                      f"{left // 60:.0f}:{left % 60:02.0f} left", sep="",
                      end="" if live else "\n", file=sys.stderr, flush=True)
            if self.position == per:
                self.epoch, self.position, self.since = self.epoch + 1, 0, self.since + 1
                figure = judge(o, series, self.net, valid, series.learned)[0][0]
                better = figure < self.best
                if better:
                    self.best, self.since = figure, 0
                    self.weights = {k: v.clone() for k, v in self.net.state_dict().items()}
                print("\r\033[K" if live else "", f"epoch {self.epoch}  MASE {figure:.4f}",
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
    series = Series(o, saved)
    net = Net(o, 2 * len(series.offset) + 2, series.n)
    run = Run(o, series, net, saved)

    def stop(number, frame):
        run.signal = number
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    run.learn()
    if run.signal:
        print(f"stopped by signal {run.signal} after step {run.step}", file=sys.stderr)
        return 128 + run.signal
    ahead = []
    if o.ahead:
        ahead = go_on(o, series, net)
    else:
        report(o, series, net)
    if o.svg:
        draw(o, series, net, ahead)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Bad, OSError) as bad:
        print(f"torch_forecast: {bad}", file=sys.stderr)
        sys.exit(1)
